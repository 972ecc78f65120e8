"""The run of a suite in one container: copy the project in, relay pytest's output, copy the changed files back."""

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
from tunlab.engines.project.archive import pack, unpack
from tunlab.engines.suite_run import container_runner
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers.attached_streams import AttachedStreams

Write: TypeAlias = Callable[[str, bytes], None]
"""Called with a stream's name, "out" or "err", and data of pytest's output."""

_Events: TypeAlias = "queue.SimpleQueue[tuple[str, bytes | int]]"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite and the container that it runs in.

    Attributes:
        root: The project's directory, the same path in the container as on this machine.
        directory: The working directory: root or a directory below it.
        names: The project's files, relative to root.
        arguments: pytest's arguments.
        outside: Files and directories outside root that the run writes and that are copied back.
        privileges: "privileged", "least" or "none", as for Container.create.
        capabilities: Capabilities to add to `least`, such as "SYS_PTRACE".
        environment: Environment variables.
        mounts: Files and directories of the engine's machine by their path in the container.
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
    """The result of a run.

    Attributes:
        status: pytest's exit status; 128 + n if signal n killed pytest.
        files: The files that were copied back.
    """

    status: int
    files: Sequence[Path]


def run(engine: Engine, image: str, suite: Suite, write: Write) -> Outcome:
    """Run a suite, and remove the container however the run ends. Call this in the main thread.

    The first SIGINT is sent to pytest, as by a terminal. A second SIGINT, or SIGTERM, stops the run.

    Args:
        engine: The engine that runs the container.
        image: The container's image, with Python and pytest.
        suite: The suite.
        write: Called with pytest's output as it arrives.

    Raises:
        EngineError: The image or /dev/net/tun does not exist, or the container exited before pytest did.
        KeyboardInterrupt: On a second SIGINT.
        SystemExit: On SIGTERM.
    """
    run_id = container_labels.new_run_id()
    token = uuid.uuid4().hex
    request = {
        "token": token,
        "project": str(suite.root),
        "outside": [str(path) for path in suite.outside],
        "command": ["python3", "-m", "pytest", *suite.arguments],
    }
    try:
        container = Container.create(
            engine,
            image,
            ["python3", "-u", "-c", inspect.getsource(container_runner), json.dumps(request)],
            run=run_id,
            role="test",
            privileges=suite.privileges,
            capabilities=suite.capabilities,
            environment=suite.environment,
            directory=str(suite.directory),
            mounts=suite.mounts,
        )
        events: _Events = queue.SimpleQueue()
        with container.attach() as attached, _reader_thread(attached, events):
            # Start the container before copying: only a started container exits when this process does.
            container.start()
            container.put(str(suite.root), pack(suite.root, suite.names))
            attached.send(b"begin\n")
            status = _relay_output(container, events, token, write)
            files = _copy_back(container, token, suite)
    finally:
        with _ignore_signals():
            cleanup.remove_run_containers(engine, run_id)
    return Outcome(status, files)


def _relay_output(container: Container, events: _Events, token: str, write: Write) -> int:
    """Write pytest's output until pytest exits; return its exit status."""
    status: int | None = None
    with _signals_as_events(events):
        splitter = _OutputSplitter(container_runner.end_marker(token))
        interrupted = False
        while status is None:
            kind, value = events.get()
            if isinstance(value, int):
                if kind == "end":
                    write("out", splitter.flush())
                    break
                if value == signal.SIGTERM:
                    raise SystemExit(128 + signal.SIGTERM)
                if interrupted:
                    raise KeyboardInterrupt
                interrupted = True
                # Send the signal in a thread: if the engine is frozen, the main thread must still see a second SIGINT.
                threading.Thread(target=_interrupt, args=(container,), name="tunlab-interrupt", daemon=True).start()
            elif kind == "out":
                output, status = splitter.feed(value)
                write("out", output)
            else:
                write("err", value)
    if status is None:
        problem = f"the container exited before pytest did ({container.exit_reason()}); the files it wrote are lost"
        remedy = "run the command again, or use --tunlab-workers, with which a lost container fails only one test"
        raise EngineError(problem, engine=container.engine.name, container=container.name, remedy=remedy)
    return status


def _interrupt(container: Container) -> None:
    with suppress(EngineError):  # If the signal fails, the user can press Ctrl-C again.
        container.kill("SIGINT")


@contextmanager
def _reader_thread(attached: AttachedStreams, events: _Events) -> Iterator[None]:
    """Read the output in a thread, so that the main thread sees signals while pytest prints nothing."""

    def read() -> None:
        for stream, data in attached.read_output():
            events.put((stream, data))
        events.put(("end", 0))

    reader = threading.Thread(target=read, name="tunlab-output", daemon=True)
    reader.start()
    try:
        yield
    finally:
        # Close the streams first: otherwise the reader waits for the container, which waits for its stdin to close.
        attached.close()
        reader.join()


@contextmanager
def _signals_as_events(events: _Events) -> Iterator[None]:
    """Queue SIGINT and SIGTERM instead of raising exceptions, which could lose output that was just read."""

    def note(number: int, _: FrameType | None) -> None:
        events.put(("signal", number))  # A signal handler may call SimpleQueue.put.

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _ignore_signals() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, so that they cannot interrupt the removal of containers."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _OutputSplitter:
    """A splitter that separates pytest's output, in chunks of any size, from the marker and exit status at its end."""

    def __init__(self, marker: bytes) -> None:
        self._marker, self._held = marker, b""

    def feed(self, chunk: bytes) -> tuple[bytes, int | None]:
        """Return the output that can be shown now, and the exit status if it has arrived."""
        held = self._held + chunk
        at = held.find(self._marker)
        if at >= 0 and held.endswith(b"\n"):
            self._held = b""
            return held[:at], int(held[at + len(self._marker) :])
        at = at if at >= 0 else _partial_marker(held, self._marker)
        self._held = held[at:]
        return held[:at], None

    def flush(self) -> bytes:
        """Return the output that `feed` withheld because it could have been the start of the marker."""
        return self._held


def _partial_marker(held: bytes, marker: bytes) -> int:
    """Return the index in `held` from which the rest may be the start of the marker; len(held) if there is none."""
    for length in range(min(len(held), len(marker) - 1), 0, -1):
        if held.endswith(marker[:length]):
            return len(held) - length
    return len(held)


def _copy_back(container: Container, token: str, suite: Suite) -> list[Path]:
    """Copy the files that the run has written to this machine; return their paths."""
    with tempfile.TemporaryFile() as outer, tempfile.TemporaryFile() as inner:
        for chunk in container.get(container_runner.archive_path(token)):
            outer.write(chunk)
        outer.seek(0)
        _extract_first_file(outer, inner)
        files = []
        for prefix, root in (
            (container_runner.PROJECT, suite.root),
            *((f"{container_runner.OUTSIDE}/{index}", path) for index, path in enumerate(suite.outside)),
        ):
            inner.seek(0)
            files += unpack(inner, root, below=prefix)
    return files


def _extract_first_file(outer: IO[bytes], inner: IO[bytes]) -> None:
    with tarfile.open(fileobj=outer) as tar:
        entry = tar.next()
        content = tar.extractfile(entry) if entry is not None else None
        if content is None:
            raise EngineError("the container did not return the files that the run has written")
        with content:
            while chunk := content.read(1 << 20):
                inner.write(chunk)
    inner.flush()
