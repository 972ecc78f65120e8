"""The gate at which a worker's program claims the stream of its container.

An abstract socket: it is no file, so nothing of it stays however this process ends. Who knocks must be of our user.
Source: unix(7), SO_PEERCRED and abstract names.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeAlias

_CREDENTIALS = struct.Struct("iII")
_LONGEST = 8192
_ACCEPTING = 30.0


Claim: TypeAlias = tuple[int, Callable[[bytes], None]]
"""The descriptor of a container's stream, and who is told the end of what the worker wrote to its standard error."""


class StreamBroker:
    """Listens from the start; `name` is for tunlab.engines.workers.stream_bridge."""

    def __init__(self, claimed: Callable[[int], Claim | None]) -> None:
        """Open the gate.

        claimed   answers a seat's number with what belongs to it, or None; the descriptor is closed once handed over
        """
        self._claimed = claimed
        self.name = f"tunlab-{os.getpid()}-{secrets.token_hex(8)}"
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind("\0" + self.name)
        self._door.listen()
        self._thread = threading.Thread(target=self._serve, name="tunlab gate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let nobody in any more."""
        if self._door.fileno() < 0:
            return
        self._door.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._thread.join()
        self._door.close()

    def _serve(self) -> None:
        while True:
            try:
                knocking, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._let_in, args=(knocking,), name="tunlab worker", daemon=True).start()

    def _let_in(self, knocking: socket.socket) -> None:
        with knocking:
            try:
                _, uid, _ = _CREDENTIALS.unpack(
                    knocking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                )
                if uid != os.geteuid():
                    return
                knocking.settimeout(_ACCEPTING)
                asked = b""
                while not asked.endswith(b"\n"):
                    octets = knocking.recv(16)
                    if not octets:
                        return
                    asked += octets
                if (claim := self._claimed(int(asked))) is None:
                    return
                descriptor, tell = claim
                try:
                    socket.send_fds(knocking, [b"\0"], [descriptor])
                finally:
                    os.close(descriptor)
                knocking.settimeout(None)
                said = bytearray()
                while octets := knocking.recv(_LONGEST):
                    said += octets
            except (OSError, ValueError):
                return
            tell(bytes(said[-_LONGEST:]))
