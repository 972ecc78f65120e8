"""An SDK client for engines over ssh that ends its ssh processes.

The SDK runs one `ssh` process per request and leaves the process, its pipes and an unused socket to the garbage
collector, so they accumulate during a long run. Source: docker.transport.sshconn of the SDK, which needs paramiko.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from docker.api.client import APIClient
from docker.transport.sshconn import SSHConnection, SSHConnectionPool, SSHHTTPAdapter


class SSHAPIClient(APIClient):
    """The SDK's APIClient, except that each ssh process ends once its response is read, or on `close`."""

    def __init__(self, **arguments: Any) -> None:
        """Connect; the arguments are those of APIClient. Raises DockerException."""
        self._sockets: list[Any] = []
        try:
            super().__init__(use_ssh_client=True, **arguments)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()
            raise

    def mount(self, prefix: Any, adapter: Any) -> None:
        """Have the SDK's ssh adapter use the connections of this module. APIClient calls this when it is created."""
        super().mount(prefix, adapter)
        if isinstance(adapter, SSHHTTPAdapter):

            def get_connection(url: str, proxies: object = None) -> _Pool:  # noqa: ARG001
                return _Pool(self._sockets, adapter)

            adapter.get_connection = get_connection  # type: ignore[method-assign]

    def close(self) -> None:
        """Close the connections and end their ssh processes."""
        super().close()
        while self._sockets:
            close_ssh_socket(self._sockets.pop())


class _Pool(SSHConnectionPool):
    """A connection pool for one request: the SDK creates one pool per request."""

    def __init__(self, sockets: list[Any], adapter: Any) -> None:
        super().__init__(timeout=adapter.timeout, maxsize=1, host=adapter.ssh_host)  # type: ignore[no-untyped-call]
        self._sockets, self._timeout = sockets, adapter.timeout

    def _new_conn(self) -> Any:
        return _Connection(self._sockets, self._timeout, self.ssh_host)

    def _put_conn(self, conn: Any) -> None:
        """End the connection's ssh process: urllib3 returns a connection once its response has been read."""
        if conn is not None:
            conn.close_sockets()


class _Connection(SSHConnection):
    def __init__(self, sockets: list[Any], timeout: float, host: str) -> None:
        super().__init__(timeout=timeout, host=host)  # type: ignore[no-untyped-call]
        self._sockets = sockets
        self._own: list[Any] = []

    def connect(self) -> None:
        super().connect()  # type: ignore[no-untyped-call]
        self._own.append(self.sock)
        self._sockets.append(self.sock)

    def close_sockets(self) -> None:
        for each in self._own:
            close_ssh_socket(each)
            if each in self._sockets:
                self._sockets.remove(each)
        self._own.clear()


def close_ssh_socket(ssh_socket: Any) -> None:
    """Close an SSHSocket of the SDK and end its ssh process. SSHSocket.close would write to the stream instead."""
    process = ssh_socket.proc
    # Kill ssh before closing the pipes, because close() blocks while another thread reads. Use SIGKILL, because an ssh
    # that was started while this process ignored SIGTERM ignores SIGTERM too.
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()
    socket.socket.close(ssh_socket)  # Close the base class's file descriptor, which SSHSocket does not use.
