"""A container with one worker of pytest-xdist.

Its program (worker_boot) first reports what is installed, then reads pytest-xdist's commands from its standard input,
and exits when that closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Self

from tunlab.engines.workers.compat import Environment
from tunlab.engines.workers.worker_boot import HELLO
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers.attached_streams import AttachedStreams
    from tunlab.engines.containers.container import Container, Privileges

ROLE = "worker"
_HELLO_TIMEOUT = 120.0  # seconds to wait for the worker's first line
_STDERR_TIMEOUT = 5.0  # seconds to wait for the end of the worker's standard error
_HEADER = struct.Struct(">BxxxI")
_TAIL = 4096  # maximum number of bytes of output in an error


@dataclass(frozen=True)
class ContainerSettings:
    """The settings that all worker containers of a run share.

    Attributes:
        run: The run's ID, for the labels.
        directory: The working directory.
        archive: The project's files as a tar archive, with paths relative to "/".
        privileges: "privileged", "least" or "none", as for Container.create.
        capabilities: Capabilities to add to `least`, such as "SYS_PTRACE".
        environment: Environment variables.
        mounts: Files and directories of the engine's machine by their path in the container; mounted read-only.
    """

    run: str
    directory: str
    archive: bytes
    privileges: Privileges = "least"
    capabilities: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)


class WorkerContainer:
    """A worker's container that has reported its versions.

    Attributes:
        engine: The engine that runs it.
        image: The container's image.
        container: The container.
        environment: The versions that are installed in it.
        stderr_tail: The last part of the worker's standard error, once the worker has exited.
    """

    def __init__(self, engine: Engine, image: str, container: Container, attached: AttachedStreams) -> None:
        """Wrap a started container; `start` starts one."""
        self.engine, self.image, self.container = engine, image, container
        self._attached = attached
        self.stderr_tail = ""
        self._stderr_received = threading.Event()
        self.environment: Environment

    @classmethod
    def start(cls, engine: Engine, image: str, settings: ContainerSettings, created: list[Container]) -> Self:
        """Start a container, and wait until it has reported its versions.

        Args:
            engine: The engine that runs it.
            image: The container's image.
            settings: The settings of the run's containers.
            created: The container is appended once it exists, so that another thread can remove it.

        Raises:
            EngineError: A request failed, the image has no Python, or the container does not answer.
        """
        from tunlab.engines.containers.container import Container

        boot = resources.files("tunlab.engines.workers").joinpath("worker_boot.py").read_text(encoding="utf-8")
        container = Container.create(
            engine,
            image,
            ["python3", "-u", "-c", boot],
            run=settings.run,
            role=ROLE,
            privileges=settings.privileges,
            capabilities=settings.capabilities,
            environment=settings.environment,
            mounts=settings.mounts,
            directory=settings.directory,
            log=False,
        )
        created.append(container)
        try:
            # Attach before the start, so that the container exits when this process does.
            attached = container.attach()
            container.put("/", settings.archive)
            container.start()
            worker = cls(engine, image, container, attached)
            worker._wait_for_hello()
        except BaseException:
            with contextlib.suppress(EngineError):
                container.remove()
            raise
        return worker

    def _wait_for_hello(self) -> None:
        timer = threading.Timer(_HELLO_TIMEOUT, self._attached.close)
        timer.daemon = True
        timer.start()
        out, err = b"", b""
        try:
            for stream, data in self._attached.read_output():
                if stream == "err":
                    err += data
                else:
                    out += data
                if out.endswith(b"\n"):
                    break
        finally:
            timer.cancel()
        line = out.decode(errors="replace")
        if not line.startswith(HELLO) or not line.endswith("\n"):
            output = (err or out)[-_TAIL:].decode(errors="replace").rstrip()
            raise EngineError(
                f"a worker in the image {self.image} does not start ({self.container.exit_reason()})",
                engine=self.engine.name,
                container=self.container.name,
                log=output,
                remedy="name an image with Python 3.11 or later, pytest and tunlab in --tunlab-image",
            )
        self.environment = Environment.from_worker(json.loads(line.removeprefix(HELLO)))

    def open_stream(self) -> int:
        """Return a file descriptor of the container's stream, for another process. The caller closes it."""
        attached = self._attached.socket
        if type(attached) is socket.socket:
            # The SDK's SSHSocket is a subclass of socket, but its own descriptor is not connected.
            return os.dup(attached.fileno())
        # Another process cannot use the state of a TLS or ssh connection, so threads of this process copy the data.
        near, far = socket.socketpair()
        for copy in (self._copy_output, self._copy_input):
            threading.Thread(target=copy, args=(near,), name="tunlab bridge", daemon=True).start()
        return far.detach()

    def _copy_output(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for stream, data in self._attached.read_output():
                near.sendall(_HEADER.pack(2 if stream == "err" else 1, len(data)) + data)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)

    def _copy_input(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := near.recv(65_536):
                self._attached.send(data)
            self._attached.close_stdin()

    def set_stderr_tail(self, tail: bytes) -> None:
        """Store the last part of the worker's standard error. The broker calls this when the worker has exited."""
        self.stderr_tail = tail.decode(errors="replace").rstrip()
        self._stderr_received.set()

    def exit_report(self) -> str:
        """Return why the container exited, and the last part of the worker's standard error."""
        self._stderr_received.wait(_STDERR_TIMEOUT)
        reason = f"container {self.container.name} on {self.engine.name}: {self.container.exit_reason()}"
        return f"{reason}\n{self.stderr_tail}" if self.stderr_tail else reason

    def close_stream(self) -> None:
        """Close the stream, which a frozen engine would leave open, so that pytest-xdist notices the lost worker."""
        self._attached.close()

    def remove(self) -> None:
        """Remove the container if it exists. Raises EngineError."""
        self.container.remove()
