"""Listening, connected and bound sockets inside a namespace. Their errors name the cause and a remedy."""

from __future__ import annotations

import errno
import os
import socket

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import SOCKET_REASONS, translate_os_errors
from tunlab.kernel.validation import parse_address


def listen(netns: Netns, port: int, address: str, backlog: int, timeout: float) -> socket.socket:
    """Open a TCP socket that listens on `address` ("" for every address). Raises KernelError if the kernel refuses."""
    operation = f"listen on port {port}"
    listener = netns.socket()
    with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(_socket_address(address, port, operation))
        listener.listen(backlog)
        listener.settimeout(timeout)
    return listener


def connect(netns: Netns, address: str, port: int, src_port: int, timeout: float) -> socket.socket:
    """Open a TCP socket and send its SYN, without waiting for the answer. Raises KernelError if the kernel refuses."""
    operation = f"connect to {address} port {port}"
    client = netns.socket()
    with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(client):
        client.setblocking(False)
        if src_port:
            client.bind(_socket_address("", src_port, operation))
        result = client.connect_ex(_socket_address(address, port, operation))
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, os.strerror(result))
        client.settimeout(timeout)
    return client


def bind(netns: Netns, port: int, address: str, timeout: float) -> socket.socket:
    """Open a UDP socket on a port of `address` ("" for every address). Raises KernelError if the kernel refuses."""
    operation = f"bind to port {port}"
    receiver = netns.socket(type=socket.SOCK_DGRAM)
    with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(receiver):
        receiver.bind(_socket_address(address, port, operation))
        receiver.settimeout(timeout)
    return receiver


def open_ping_socket(netns: Netns, identifier: int) -> socket.socket:
    """Open a ping socket, which sends echo requests and receives replies (icmp(7)).

    Raises KernelError if the kernel refuses.
    """
    operation = f"ping with the identifier {identifier}"
    ping_socket = netns.socket(type=socket.SOCK_DGRAM, proto=socket.IPPROTO_ICMP)
    with translate_os_errors(operation, reasons=SOCKET_REASONS), _close_on_error(ping_socket):
        ping_socket.bind(_socket_address("", identifier, operation))
    return ping_socket


class _close_on_error:  # noqa: N801  # named like contextlib.closing
    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._opened.close()


def _socket_address(address: str, port: int, operation: str) -> tuple[str, int]:
    """Return a socket address. Raises KernelError for a host name: it would be resolved outside the namespace."""
    if address:
        parse_address(address, operation)
    if not isinstance(port, int) or not 0 <= port <= 0xFFFF:
        remedy = "give one from 0 to 65535; 0 lets the kernel choose"
        raise KernelError(errno.EINVAL, operation, reason=f"{port!r} is not a 16-bit number", remedy=remedy)
    return address, port
