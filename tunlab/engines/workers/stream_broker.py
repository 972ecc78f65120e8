"""A server that passes the streams of the workers' containers to the programs that pytest-xdist starts for them.

It listens at an abstract socket, which has no file to remove, and accepts only processes of the same user.
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

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_TAIL = 8192  # maximum number of bytes of standard error to read
_REQUEST_TIMEOUT = 30.0  # seconds to wait for a client's request


WorkerStream: TypeAlias = tuple[int, Callable[[bytes], None]]
"""The file descriptor of a container's stream, and a function that takes the last part of its standard error."""


class StreamBroker:
    """A server thread that starts with the object. `name` is the abstract socket's name, for stream_bridge."""

    def __init__(self, open_stream: Callable[[int], WorkerStream | None]) -> None:
        """Listen for requests.

        Args:
            open_stream: Returns the stream for a slot's number, None if the slot has no container. The broker closes
                the descriptor after passing it.
        """
        self._open_stream = open_stream
        self.name = f"tunlab-{os.getpid()}-{secrets.token_hex(8)}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("\0" + self.name)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="tunlab broker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting requests."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)  # shutdown makes accept() in the thread return.
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), name="tunlab worker", daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        """Pass a worker's stream to a client, and read the last part of the worker's standard error from it."""
        with connection:
            try:
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                _, uid, _ = _CREDENTIALS.unpack(credentials)
                if uid != os.geteuid():
                    return
                connection.settimeout(_REQUEST_TIMEOUT)
                request = b""
                while not request.endswith(b"\n"):
                    data = connection.recv(16)
                    if not data:
                        return
                    request += data
                if (stream := self._open_stream(int(request))) is None:
                    return
                descriptor, set_stderr_tail = stream
                try:
                    socket.send_fds(connection, [b"\0"], [descriptor])
                finally:
                    os.close(descriptor)
                connection.settimeout(None)
                tail = bytearray()
                while data := connection.recv(_TAIL):
                    tail += data
            except (OSError, ValueError):
                return
            set_stderr_tail(bytes(tail[-_TAIL:]))
