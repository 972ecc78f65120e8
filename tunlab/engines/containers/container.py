"""A container: made, spoken to, and removed by its id on every ending."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from tunlab.engines.connection.api_errors import NotFoundError
from tunlab.engines.containers import container_labels
from tunlab.engines.containers.attached_streams import AttachedStreams
from tunlab.engines.containers.cleanup import remove
from tunlab.errors import EngineError
from tunlab.kernel.process import defer_signals

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine

Privileges: TypeAlias = Literal["privileged", "least", "none"]
"""privileged: all there are. least: what tunlab needs, measured. none: the engine's default, for a lab's node."""

LEAST = {
    "cap_drop": ["ALL"],
    "cap_add": ["NET_ADMIN", "SYS_ADMIN", "NET_RAW"],
    # Always by name: some versions of runc give the node to every container, others to none.
    "devices": ["/dev/net/tun"],
    # docker-default denies mount(2) even with CAP_SYS_ADMIN; where there is no AppArmor this says nothing.
    "security_opt": ["apparmor=unconfined"],
}

_KILLED = 137
_ENDING_TIMEOUT = 5.0  # seconds


class Container:
    """A container of this process's; a context manager that removes it.

    id        by which everything is asked of it
    name      for people
    """

    def __init__(self, engine: Engine, id: str, name: str) -> None:  # noqa: A002
        """One that is there; `create` makes one."""
        self.engine, self.id, self.name = engine, id, name
        self._attached: list[AttachedStreams] = []

    @classmethod
    def create(
        cls,
        engine: Engine,
        image: str,
        command: Sequence[str] | None,
        *,
        run: str,
        role: str,
        name: str = "",
        privileges: Privileges = "least",
        capabilities: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
        mounts: Mapping[str, str] | None = None,
        hostname: str | None = None,
        hosts: Mapping[str, str] | None = None,
        network: str = "none",
        auto_remove: bool = True,
        stdin: bool = True,
        init: bool = True,
        log: bool = True,
    ) -> Self:
        """Make a container, not started yet.

        command      None: the image's own
        capabilities beside the least, as "SYS_PTRACE"
        run, role    for its labels: tunlab.engines.containers.container_labels
        directory    that it begins in; made if it is not there
        mounts       directories and files of the engine's machine by their paths inside, read-only
        hosts        addresses by name, for /etc/hosts
        auto_remove  by the engine, when it ends
        stdin        whether it has one; it is closed when the first who was attached to it has gone
        init         whether a process of the engine's is the first, and reaps
        log          whether the engine keeps what it prints, for `log`; what is attached has it in any case

        A Ctrl-C waits for the engine's answer: until then nobody could remove what it makes, not by its labels either.

        Raises EngineError, NotFoundError for no such image.
        """
        from docker.types.services import Mount

        api = engine.api
        # No `binds`: the engine would make what is not there, as root, on its machine.
        bound = [Mount(path, source, type="bind", read_only=True) for path, source in (mounts or {}).items()]
        with defer_signals(), engine.asking(f"make a container from the image {image}"):
            rights: dict[str, Any] = {"privileged": True} if privileges == "privileged" else {}
            if privileges == "least":
                rights = {**LEAST, "cap_add": [*LEAST["cap_add"], *capabilities]}
            host = api.create_host_config(
                init=init,
                network_mode=network,
                auto_remove=auto_remove,
                extra_hosts=dict(hosts or {}),
                mounts=bound,
                **rights,
                **({} if log else {"log_config": {"type": "none"}}),
            )
            made = api.create_container(
                image,
                list(command) if command is not None else None,
                name=name or None,
                environment=dict(environment or {}),
                working_dir=directory,
                hostname=hostname,
                labels=container_labels.labels(run, role),
                host_config=host,
                stdin_open=stdin,
            )
        return cls(engine, made["Id"], name or made["Id"][:12])

    def __repr__(self) -> str:
        return f"<Container {self.name} on {self.engine.name}>"

    def attach(self) -> AttachedStreams:
        """Its standard streams, from before it starts, so that nothing of them is missed; closed with it."""
        with self._asking("attach to the container"):
            streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            attached = AttachedStreams(self.engine.api.attach_socket(self.id, params=streams))
        self._attached.append(attached)
        return attached

    def start(self) -> None:
        """Start it. Raises EngineError: no such program in it, no /dev/net/tun on the engine's machine."""
        with self._asking("start the container"):
            self.engine.api.start(self.id)

    def put(self, directory: str, archive: bytes) -> None:
        """Unpack a tar in a directory that is there, whether it runs or not."""
        with self._asking(f"put files into {directory}"):
            self.engine.api.put_archive(self.id, directory, archive)

    def get(self, path: str) -> Iterator[bytes]:
        """A file or a directory as a tar, in pieces; it may have ended, if it was not removed."""
        with self._asking(f"get {path}"):
            pieces, _ = self.engine.api.get_archive(self.id, path)
            yield from pieces

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send a signal to its first process; nothing, where it has ended."""
        with contextlib.suppress(NotFoundError), self._asking(f"send it {signal}"):
            try:
                self.engine.api.kill(self.id, signal)
            except self._refusal() as error:
                if error.status_code != 409:  # it is not running
                    raise

    @property
    def pid(self) -> int:
        """Its first process, as the engine's machine counts; 0 if it does not run. Raises NotFoundError."""
        return int(self.inspect()["State"]["Pid"])

    def wait_until_exited(self, timeout: float) -> bool:
        """Whether it has ended, or does so within so many seconds."""
        try:
            with self._asking("wait for its end"):
                self.engine.api.wait(self.id, timeout=timeout)
        except NotFoundError:
            return True
        except EngineError:
            return False
        return True

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of it. Raises NotFoundError."""
        with self._asking("look at the container"):
            return dict(self.engine.api.inspect_container(self.id))

    def log(self, lines: int = 20) -> str:
        """The end of what it has printed; "" where it is gone."""
        try:
            with self._asking("read its log"):
                said = self.engine.api.logs(self.id, tail=lines)
        except EngineError:
            return ""
        return bytes(said).decode(errors="replace").rstrip()

    def ending(self) -> str:
        """How it has ended, in words, asked of the engine's memory of events, which outlives the container."""
        # The SDK waits for events without end, and an engine may be frozen.
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=lambda: answers.put(self._ending()), name="tunlab ending", daemon=True).start()
        try:
            return answers.get(timeout=_ENDING_TIMEOUT)
        except queue.Empty:
            return "the engine does not answer any more"

    def _ending(self) -> str:
        try:
            with self._asking("ask how it ended"):
                filters = {"container": [self.id], "event": ["die", "oom"]}
                events = list(self.engine.api.events(since=0, until=int(time.time()) + 1, filters=filters, decode=True))
        except EngineError:
            return "the engine does not answer any more"
        status = next((each["Actor"]["Attributes"].get("exitCode") for each in events if each["Action"] == "die"), None)
        if any(each["Action"] == "oom" for each in events):
            return "the kernel killed it: it had no memory left"
        if status is None:
            return "exit status unknown"
        return f"exit status {status}{': it was killed' if status == str(_KILLED) else ''}"

    def remove(self) -> None:
        """Kill and remove it, with what was attached to it; nothing if it is gone. Raises EngineError."""
        self.detach()
        remove(self.engine, self.id)

    def detach(self) -> None:
        """Close what was attached to it: whose life is bound to its standard input, that ends."""
        for attached in self._attached:
            attached.close()
        self._attached.clear()

    def _asking(self, doing: str) -> Any:
        return self.engine.asking(doing, container=self.name)

    @staticmethod
    def _refusal() -> type[Any]:
        from docker.errors import APIError

        return APIError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()
