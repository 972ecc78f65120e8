"""A container with one worker of pytest-xdist in it.

It begins by saying what is installed (worker_boot), then waits for pytest-xdist at its standard input, and ends when
that is closed.
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
_HELLO_TIMEOUT = 120.0
_ENDING_TIMEOUT = 5.0
_HEADER = struct.Struct(">BxxxI")
_TAIL = 4096


@dataclass(frozen=True)
class Settings:
    """What all workers of a run have in common.

    run          the run's name, for labels
    directory    that the workers begin in
    archive      the project's files: a tar with paths below "/"
    environment  variables for them
    mounts       of the engine's machine, by their paths inside, read-only
    """

    run: str
    directory: str
    archive: bytes
    privileges: Privileges = "least"
    capabilities: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)


class WorkerContainer:
    """A worker's container that has said hello.

    engine   that it runs on
    side     what is installed in it
    said     the end of what it wrote to its standard error
    """

    def __init__(self, engine: Engine, image: str, container: Container, attached: AttachedStreams) -> None:
        """For `start`."""
        self.engine, self.image, self.container = engine, image, container
        self._attached = attached
        self.said = ""
        self.ended = threading.Event()
        self.side: Environment

    @classmethod
    def start(cls, engine: Engine, image: str, settings: Settings, made: list[Container]) -> Self:
        """Make one, and wait for its hello.

        made   gets the container as soon as there is one, so that another thread can remove it

        Raises EngineError: what the engine refuses, an image without Python, one that does not answer.
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
        made.append(container)
        try:
            # Attached before it starts: from then on it ends with us.
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
        patience = threading.Timer(_HELLO_TIMEOUT, self._attached.close)
        patience.daemon = True
        patience.start()
        out, err = b"", b""
        try:
            for stream, piece in self._attached.pieces():
                if stream == "err":
                    err += piece
                else:
                    out += piece
                if out.endswith(b"\n"):
                    break
        finally:
            patience.cancel()
        line = out.decode(errors="replace")
        if not line.startswith(HELLO) or not line.endswith("\n"):
            said = (err or out)[-_TAIL:].decode(errors="replace").rstrip()
            raise EngineError(
                f"a worker in the image {self.image} does not start ({self.container.ending()})",
                engine=self.engine.name,
                container=self.container.name,
                log=said,
                remedy="name an image with Python 3.11 or later, pytest and tunlab in --tunlab-image",
            )
        self.side = Environment.of(json.loads(line.removeprefix(HELLO)))

    def stream(self) -> int:
        """A descriptor of the stream, for another process; whoever gets it closes it."""
        door = self._attached.door
        if type(door) is socket.socket:  # the SDK's own for ssh derives from it, and is not connected
            return os.dup(door.fileno())
        # What ssh or TLS carries is known to this process alone: it stays between.
        near, far = socket.socketpair()
        for work in (self._outward, self._inward):
            threading.Thread(target=work, args=(near,), name="tunlab bridge", daemon=True).start()
        return far.detach()

    def _outward(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for stream, piece in self._attached.pieces():
                near.sendall(_HEADER.pack(2 if stream == "err" else 1, len(piece)) + piece)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)

    def _inward(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while octets := near.recv(65_536):
                self._attached.send(octets)
            self._attached.end_input()

    def tell(self, said: bytes) -> None:
        """What the worker's program brought back when it ended."""
        self.said = said.decode(errors="replace").rstrip()
        self.ended.set()

    def evidence(self) -> str:
        """How it ended, and the end of what it said."""
        self.ended.wait(_ENDING_TIMEOUT)
        told = f"container {self.container.name} on {self.engine.name}: {self.container.ending()}"
        return f"{told}\n{self.said}" if self.said else told

    def cut(self) -> None:
        """Close the stream from here, as if the engine had: one that is frozen does not."""
        self._attached.close()

    def remove(self) -> None:
        """Remove the container; nothing where it is gone. Raises EngineError."""
        self.container.remove()
