"""A suite run in one container: the project carried in, pytest's output and files carried out, its exit status."""

from __future__ import annotations

import inspect
import json
import queue
import signal
import tarfile
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, TypeAlias

from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.containers.container import Container, Privileges
from tunlab.engines.project.archive import packed, unpacked
from tunlab.engines.suite_run import container_runner
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers.attached_streams import AttachedStreams

Write: TypeAlias = Callable[[str, bytes], None]
"""Told which stream, "out" or "err", and what came."""

_Events: TypeAlias = "queue.SimpleQueue[tuple[str, bytes | int]]"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What is to be run, and where.

    root         the project's directory, here and inside
    directory    in which pytest starts: root, or below it
    names        the project's files, relative to root
    arguments    pytest's
    capabilities beside the least, as "SYS_PTRACE"
    outside      files and directories not below root that the run writes, to be carried out as well
    mounts       of the engine's machine, by their paths inside
    """

    root: Path
    directory: Path
    names: Sequence[str]
    arguments: Sequence[str]
    outside: Sequence[Path] = ()
    privileges: Privileges = "least"
    capabilities: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    status   pytest's exit status; 128 + n if signal n ended it
    files    what was carried out
    """

    status: int
    files: Sequence[Path]


def run(engine: Engine, image: str, suite: Suite, write: Write) -> Outcome:
    """Run a suite; the calling thread is the process's main one. No container is left on any ending.

    SIGINT goes to pytest, as from a terminal; a second one, or SIGTERM, ends the container, and is raised as
    KeyboardInterrupt or SystemExit. Raises EngineError: for no image, no /dev/net/tun there, a container that ends
    before pytest does.
    """
    own = container_labels.new_run_id()
    word = uuid.uuid4().hex
    given = {
        "word": word,
        "project": str(suite.root),
        "outside": [str(path) for path in suite.outside],
        "command": ["python3", "-m", "pytest", *suite.arguments],
    }
    try:
        container = Container.create(
            engine,
            image,
            ["python3", "-u", "-c", inspect.getsource(container_runner), json.dumps(given)],
            run=own,
            role="test",
            privileges=suite.privileges,
            capabilities=suite.capabilities,
            environment=suite.environment,
            directory=str(suite.directory),
            mounts=suite.mounts,
        )
        events: _Events = queue.SimpleQueue()
        with container.attach() as attached, _reading(attached, events):
            container.start()  # first: from now on it ends with us
            container.put(str(suite.root), packed(suite.root, suite.names))
            attached.send(b"begin\n")
            status = _follow(container, events, word, write)
            files = _fetch(container, word, suite)
    finally:
        with _undisturbed():
            cleanup.remove_run_containers(engine, own)
    return Outcome(status, files)


def _follow(container: Container, events: _Events, word: str, write: Write) -> int:
    """Hand on what is printed until pytest has ended; its exit status."""
    status: int | None = None
    with _signals_to(events):
        split = _Split(container_runner.end_of_output(word))
        interrupted = False
        while status is None:
            kind, what = events.get()
            if isinstance(what, int):
                if kind == "end":
                    write("out", split.rest())
                    break
                if what == signal.SIGTERM:
                    raise SystemExit(128 + signal.SIGTERM)
                if interrupted:
                    raise KeyboardInterrupt
                interrupted = True
                # Not by this thread: an engine that is frozen would keep the second one from being seen.
                threading.Thread(target=_interrupt, args=(container,), name="tunlab-interrupt", daemon=True).start()
            elif kind == "out":
                shown, status = split.take(what)
                write("out", shown)
            else:
                write("err", what)
    if status is None:
        problem = f"the container ended before pytest did ({container.ending()}); what it had written is lost with it"
        remedy = "run it again; with --tunlab-workers a lost container costs one test only"
        raise EngineError(problem, engine=container.engine.name, container=container.name, remedy=remedy)
    return status


def _interrupt(container: Container) -> None:
    with suppress(EngineError):  # a second Ctrl-C does without
        container.kill("SIGINT")


@contextmanager
def _reading(attached: AttachedStreams, events: _Events) -> Iterator[None]:
    """Another thread reads, for a signal must be seen while nothing is printed, on whatever kind of connection."""

    def read() -> None:
        for piece in attached.pieces():
            events.put(piece)
        events.put(("end", 0))

    reader = threading.Thread(target=read, name="tunlab-output", daemon=True)
    reader.start()
    try:
        yield
    finally:
        attached.close()  # else it would wait for the container, which waits for us
        reader.join()


@contextmanager
def _signals_to(events: _Events) -> Iterator[None]:
    """SIGINT and SIGTERM are events like others: raised between two reads they would cost a piece of output."""

    def note(number: int, _: FrameType | None) -> None:
        events.put(("signal", number))  # SimpleQueue may be put to by a signal handler

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is removed is removed: a second Ctrl-C may not keep it from that."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Split:
    """Parts the output from the line at its end that says the exit status, wherever the pieces are cut."""

    def __init__(self, end: bytes) -> None:
        self._end, self._held = end, b""

    def take(self, piece: bytes) -> tuple[bytes, int | None]:
        """What may be shown now, and the status once it was said."""
        held = self._held + piece
        at = held.find(self._end)
        if at >= 0 and held.endswith(b"\n"):
            self._held = b""
            return held[:at], int(held[at + len(self._end) :])
        at = at if at >= 0 else _beginning(held, self._end)
        self._held = held[at:]
        return held[:at], None

    def rest(self) -> bytes:
        """What was held back."""
        return self._held


def _beginning(held: bytes, end: bytes) -> int:
    """Where in `held` a beginning of `end` stands at its very end; its length if none does."""
    for length in range(min(len(held), len(end) - 1), 0, -1):
        if held.endswith(end[:length]):
            return len(held) - length
    return len(held)


def _fetch(container: Container, word: str, suite: Suite) -> list[Path]:
    """Carry out what the run has written."""
    with tempfile.TemporaryFile() as outer, tempfile.TemporaryFile() as inner:
        for piece in container.get(container_runner.changes_file(word)):
            outer.write(piece)
        outer.seek(0)
        _first_file(outer, inner)
        files = []
        for prefix, root in (
            (container_runner.PROJECT, suite.root),
            *((f"{container_runner.OUTSIDE}/{number}", place) for number, place in enumerate(suite.outside)),
        ):
            inner.seek(0)
            files += unpacked(inner, root, below=prefix)
    return files


def _first_file(outer: IO[bytes], inner: IO[bytes]) -> None:
    with tarfile.open(fileobj=outer) as tar:
        entry = tar.next()
        content = tar.extractfile(entry) if entry is not None else None
        if content is None:
            raise EngineError("the container gave no list of what the run has written")
        with content:
            while piece := content.read(1 << 20):
                inner.write(piece)
    inner.flush()
