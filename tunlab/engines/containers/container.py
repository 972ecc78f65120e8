"""A container of this process: creation, streams, files, state and removal."""

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
from tunlab.engines.containers.cleanup import remove_container
from tunlab.errors import EngineError
from tunlab.kernel.process import defer_signals

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine

Privileges: TypeAlias = Literal["privileged", "least", "none"]
"""privileged: Docker's --privileged. least: only what tunlab needs. none: the engine's default, for a lab's node."""

LEAST_PRIVILEGES = {
    "cap_drop": ["ALL"],
    "cap_add": ["NET_ADMIN", "SYS_ADMIN", "NET_RAW"],
    # /dev/net/tun is listed explicitly, because some versions of runc add it to every container and others to none.
    "devices": ["/dev/net/tun"],
    # AppArmor's docker-default profile denies mount(2) even with CAP_SYS_ADMIN. Without AppArmor this option has no
    # effect.
    "security_opt": ["apparmor=unconfined"],
}

_SIGKILL_STATUS = 137
_EXIT_REASON_TIMEOUT = 5.0  # seconds to wait for the engine's events
_NO_ANSWER = "the engine no longer answers"


class Container:
    """A container; a context manager that removes it.

    Attributes:
        engine: The engine that runs it.
        id: The container's ID.
        name: The container's name, for messages.
    """

    def __init__(self, engine: Engine, id: str, name: str) -> None:  # noqa: A002
        """Wrap an existing container; `create` creates one."""
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
        """Create a container without starting it.

        SIGINT is deferred until the engine has answered: before that the container's ID is unknown.

        Args:
            engine: The engine that runs it.
            image: The image's name.
            command: The program and its arguments; None for the image's default command.
            run: The run's ID, for the labels; see container_labels.
            role: The container's role, for the labels.
            name: The container's name; by default the engine chooses one.
            privileges: "least" for what tunlab needs, "privileged" for all, "none" for Docker's default.
            capabilities: Capabilities to add to `least`, such as "SYS_PTRACE".
            environment: Environment variables.
            directory: The working directory; created if it does not exist.
            mounts: Files and directories of the engine's machine by their path in the container; mounted read-only.
            hostname: The container's host name.
            hosts: Entries of /etc/hosts: addresses by name.
            network: Docker's network mode.
            auto_remove: True if the engine removes the container when it exits.
            stdin: True if it has a standard input. It is closed when the first attached client disconnects.
            init: True if Docker's init is process 1 and reaps zombies.
            log: True if the engine stores the output for `log`. Attached clients receive it either way.

        Raises:
            NotFoundError: The image does not exist.
            EngineError: The request failed, or the engine does not answer.
        """
        from docker.types.services import Mount

        api = engine.api
        # Use mounts, not `binds`, for which the engine creates missing source directories on its machine.
        bound = [Mount(path, source, type="bind", read_only=True) for path, source in (mounts or {}).items()]
        with defer_signals(), engine.translate_errors(f"create a container from the image {image}"):
            rights: dict[str, Any] = {"privileged": True} if privileges == "privileged" else {}
            if privileges == "least":
                rights = {**LEAST_PRIVILEGES, "cap_add": [*LEAST_PRIVILEGES["cap_add"], *capabilities]}
            host = api.create_host_config(
                init=init,
                network_mode=network,
                auto_remove=auto_remove,
                extra_hosts=dict(hosts or {}),
                mounts=bound,
                **rights,
                **({} if log else {"log_config": {"type": "none"}}),
            )
            created = api.create_container(
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
        return cls(engine, created["Id"], name or created["Id"][:12])

    def __repr__(self) -> str:
        return f"<Container {self.name} on {self.engine.name}>"

    def attach(self) -> AttachedStreams:
        """Return the container's standard streams. Attach before `start` to receive all output."""
        with self._translate_errors("attach to the container"):
            streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            attached = AttachedStreams(self.engine.api.attach_socket(self.id, params=streams))
        self._attached.append(attached)
        return attached

    def start(self) -> None:
        """Start the container.

        Raises:
            EngineError: The image lacks the program, or the engine's machine lacks /dev/net/tun.
        """
        with self._translate_errors("start the container"):
            self.engine.api.start(self.id)

    def put(self, directory: str, archive: bytes) -> None:
        """Unpack a tar archive in an existing directory of the container, running or not."""
        with self._translate_errors(f"copy files to {directory}"):
            self.engine.api.put_archive(self.id, directory, archive)

    def get(self, path: str) -> Iterator[bytes]:
        """Yield the chunks of a tar archive of a file or directory of the container, running or exited."""
        with self._translate_errors(f"copy {path} from the container"):
            chunks, _ = self.engine.api.get_archive(self.id, path)
            yield from chunks

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send a signal to the container's first process if it is running."""
        with contextlib.suppress(NotFoundError), self._translate_errors(f"send {signal}"):
            try:
                self.engine.api.kill(self.id, signal)
            except _api_error() as error:
                if error.status_code != 409:  # HTTP 409: the container is not running.
                    raise

    @property
    def pid(self) -> int:
        """The PID of its first process on the engine's machine; 0 if it is not running. Raises NotFoundError."""
        return int(self.inspect()["State"]["Pid"])

    def wait_until_exited(self, timeout: float) -> bool:
        """Wait until the container exits; return False after `timeout` seconds."""
        try:
            with self._translate_errors("wait for its exit"):
                self.engine.api.wait(self.id, timeout=timeout)
        except NotFoundError:
            return True
        except EngineError:
            return False
        return True

    def inspect(self) -> dict[str, Any]:
        """Return the output of `docker inspect`. Raises NotFoundError."""
        with self._translate_errors("inspect the container"):
            return dict(self.engine.api.inspect_container(self.id))

    def log(self, lines: int = 20) -> str:
        """Return the last lines of its output, "" if the container was removed."""
        try:
            with self._translate_errors("read its log"):
                output = self.engine.api.logs(self.id, tail=lines)
        except EngineError:
            return ""
        return bytes(output).decode(errors="replace").rstrip()

    def exit_reason(self) -> str:
        """Return why the container exited, such as "exit status 1".

        The reason comes from the engine's events, which are kept after the container is removed.
        """
        # Read in a thread, because the SDK reads events without a timeout and the engine may be frozen.
        reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
        read = threading.Thread(target=lambda: reasons.put(self._read_exit_reason()), name="tunlab events", daemon=True)
        read.start()
        try:
            return reasons.get(timeout=_EXIT_REASON_TIMEOUT)
        except queue.Empty:
            return _NO_ANSWER

    def _read_exit_reason(self) -> str:
        try:
            with self._translate_errors("read its events"):
                filters = {"container": [self.id], "event": ["die", "oom"]}
                events = list(self.engine.api.events(since=0, until=int(time.time()) + 1, filters=filters, decode=True))
        except EngineError:
            return _NO_ANSWER
        status = next((each["Actor"]["Attributes"].get("exitCode") for each in events if each["Action"] == "die"), None)
        if any(each["Action"] == "oom" for each in events):
            return "the kernel killed it: out of memory"
        if status is None:
            return "exit status unknown"
        return f"exit status {status}{': it was killed' if status == str(_SIGKILL_STATUS) else ''}"

    def remove(self) -> None:
        """Close the attached streams, then kill and remove the container if it exists. Raises EngineError."""
        self.detach()
        remove_container(self.engine, self.id)

    def detach(self) -> None:
        """Close the attached streams. This ends a container that exits when its standard input closes."""
        for attached in self._attached:
            attached.close()
        self._attached.clear()

    def _translate_errors(self, action: str) -> Any:
        return self.engine.translate_errors(action, container=self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


def _api_error() -> type[Any]:
    from docker.errors import APIError

    return APIError
