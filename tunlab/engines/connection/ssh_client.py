"""The SDK's client for an engine behind ssh, with an end to each process that it starts.

The SDK runs one `ssh` for each request, and leaves that, its pipes and an unused socket to the garbage collector: a
client that is asked for hours would gather them. Source: docker.transport.sshconn of the SDK, which needs paramiko.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from docker.api.client import APIClient
from docker.transport.sshconn import SSHConnection, SSHConnectionPool, SSHHTTPAdapter


class SSHAPIClient(APIClient):
    """As the SDK's; each ssh ends when its answer has been read, those of streams with `close`."""

    def __init__(self, **given: Any) -> None:
        """As the SDK's. Raises DockerException."""
        self._doors: list[Any] = []
        try:
            super().__init__(use_ssh_client=True, **given)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()
            raise

    def mount(self, prefix: Any, adapter: Any) -> None:
        """Called by the SDK when it is made, before its first request."""
        super().mount(prefix, adapter)
        if isinstance(adapter, SSHHTTPAdapter):

            def one(url: str, proxies: object = None) -> _Pool:  # noqa: ARG001
                return _Pool(self._doors, adapter)

            adapter.get_connection = one  # type: ignore[method-assign]

    def close(self) -> None:
        """End what is still there of the connections."""
        super().close()
        while self._doors:
            close_ssh_socket(self._doors.pop())


class _Pool(SSHConnectionPool):
    """For one request, as the SDK has it."""

    def __init__(self, doors: list[Any], adapter: Any) -> None:
        super().__init__(timeout=adapter.timeout, maxsize=1, host=adapter.ssh_host)  # type: ignore[no-untyped-call]
        self._doors, self._timeout = doors, adapter.timeout

    def _new_conn(self) -> Any:
        return _Connection(self._doors, self._timeout, self.ssh_host)

    def _put_conn(self, conn: Any) -> None:
        """Given back: its answer was read."""
        if conn is not None:
            conn.end()


class _Connection(SSHConnection):
    def __init__(self, doors: list[Any], timeout: float, host: str) -> None:
        super().__init__(timeout=timeout, host=host)  # type: ignore[no-untyped-call]
        self._doors = doors
        self._own: list[Any] = []

    def connect(self) -> None:
        super().connect()  # type: ignore[no-untyped-call]
        self._own.append(self.sock)
        self._doors.append(self.sock)

    def end(self) -> None:
        for door in self._own:
            close_ssh_socket(door)
            if door in self._doors:
                self._doors.remove(door)
        self._own.clear()


def close_ssh_socket(door: Any) -> None:
    """End what the SDK takes for a socket over ssh: its own close writes into the stream, and leaves the process."""
    process = door.proc
    # First of all: a thread that waits in one of the pipes lets nobody close it. Not SIGTERM: an ssh that was started
    # while we ignored that ignores it as well.
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()
    socket.socket.close(door)  # it derives from it, and never uses it
