"""Connected and bound sockets inside a namespace, of IPv4 and IPv6. Their errors name the cause and a remedy."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import IPv6Address
from typing import Protocol, TypeAlias

from msgspec import Struct

from tunlab.errors import KernelError
from tunlab.kernel.os_errors import SOCKET_REASONS, translate_os_errors
from tunlab.kernel.validation import parse_address

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class SocketOpener(Protocol):
    """An object that opens sockets, as a `Netns` does."""

    def socket(self, family: int = ..., type: int = ..., proto: int = ...) -> socket.socket:  # noqa: A002
        """Open a socket."""


class CurrentNamespace:
    """The namespace of the calling thread."""

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:  # noqa: A002
        """Open a socket."""
        return socket.socket(family, type, proto)


class SocketFactory(Struct, frozen=True):
    """A maker of sockets in the namespace of a device.

    Attributes:
        ifname: The device's name.
        ifindex: The device's index, the scope of link-local addresses.
        families: AF_INET and AF_INET6, as far as the device has addresses of them.
        timeout: Timeout of the sockets in seconds.
    """

    netns: SocketOpener
    ifname: str = ""
    ifindex: int = 0
    families: frozenset[int] = frozenset()
    timeout: float = 0.0

    def listen(self, port: int, address: str, backlog: int) -> socket.socket:
        """Open a listening TCP socket; "" is every address of the device's families. Raises KernelError."""
        operation = f"listen on port {port}"
        family, where = self._socket_address(address, port, operation)
        listener = self.netns.socket(family)
        with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(listener):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._bind(listener, where, both=not address)
            listener.listen(backlog)
            listener.settimeout(self.timeout)
        return listener

    def connect(self, address: str, port: int, src_port: int) -> socket.socket:
        """Open a TCP socket and send its SYN, without waiting for the answer. Raises KernelError."""
        operation = f"connect to {address} port {port}"
        family, where = self._socket_address(address, port, operation)
        client = self.netns.socket(family)
        with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(client):
            client.setblocking(False)
            if src_port:
                self._bind(client, ("", _check_port(src_port, operation)), both=False)
            result = client.connect_ex(where)
            if result not in (0, errno.EINPROGRESS):
                raise OSError(result, os.strerror(result))
            client.settimeout(self.timeout)
        return client

    def bind(self, port: int, address: str) -> socket.socket:
        """Open a UDP socket on a port; "" is every address of the device's families. Raises KernelError."""
        operation = f"bind to port {port}"
        family, where = self._socket_address(address, port, operation)
        receiver = self.netns.socket(family, socket.SOCK_DGRAM)
        with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(receiver):
            self._bind(receiver, where, both=not address)
            receiver.settimeout(self.timeout)
        return receiver

    def ping(self, address: str, identifier: int) -> tuple[socket.socket, SocketAddress]:
        """Open a ping socket, which sends echo requests and receives replies (icmp(7)), and return the destination.

        Raises KernelError.
        """
        family, where = self._socket_address(address, 0, f"ping {address}")
        operation = f"ping with the identifier {identifier}"
        proto = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        ping_socket = self.netns.socket(family, socket.SOCK_DGRAM, proto)
        with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(ping_socket):
            ping_socket.bind(("", _check_port(identifier, operation)))
        return ping_socket, where

    def _bind(self, opened: socket.socket, where: SocketAddress, *, both: bool) -> None:
        if opened.family == socket.AF_INET6:  # a socket of both families shows IPv4 peers as ::ffff:10.1.2.2
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not (both and socket.AF_INET in self.families))
        opened.bind(where)

    def _socket_address(self, address: str, port: int, operation: str) -> tuple[int, SocketAddress]:
        """Return the family and the socket address; "" is every address.

        Raises KernelError for a host name, which would be resolved outside the namespace.
        """
        _check_port(port, operation)
        if not address:
            return (socket.AF_INET6 if socket.AF_INET6 in self.families else socket.AF_INET), ("", port)
        parsed = parse_address(address, operation)
        if not isinstance(parsed, IPv6Address):
            return socket.AF_INET, (address, port)
        if parsed.scope_id not in (None, self.ifname, str(self.ifindex)):
            reason = f"the scope of {address} is not {self.ifname}"
            raise KernelError(errno.EINVAL, operation, reason=reason, remedy="give the address without a scope")
        scope = self.ifindex if parsed.is_link_local else 0
        return socket.AF_INET6, (address.partition("%")[0], port, 0, scope)


class _close_on_error:  # noqa: N801  # named like contextlib.closing
    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._opened.close()


def _check_port(port: int, operation: str) -> int:
    if isinstance(port, int) and 0 <= port <= 0xFFFF:
        return port
    remedy = "give 1 to 65535, or 0 to let the kernel choose"
    raise KernelError(errno.EINVAL, operation, reason=f"{port!r} is not a 16-bit number", remedy=remedy)
