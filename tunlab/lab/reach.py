"""Who reaches whom: echo requests from every node to every other, many under way at once, without a program.

Source: icmp(7) for ping sockets; ip(7) for IP_RECVERR, by which an ICMP error comes to the socket that it is about.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TypeAlias

from tunlab.kernel.neighbours import forget_neighbours
from tunlab.kernel.netns import Netns
from tunlab.kernel.refusal import refusal
from tunlab.kernel.rtnl import Rtnl

Pair: TypeAlias = tuple[str, str]
"""From whom, to whom."""

_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_RECEIVE_BUFFER = 1024 * 1024
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ECHO_REQUEST, _ECHO_REQUEST_IPV6 = 8, 128

_UNDER_WAY = 256
"""Requests that may be unanswered at one time: the kernel queues a thousand packets between two namespaces."""

_TRIES = 4
"""A link may lose packets on purpose; and the machine has one table of neighbours for all labs (arp(7), gc_thresh3)."""

# No way there, as the sender's own routing table has it, or its neighbour.
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EINVAL)


class _Request:
    """One question: does `pair[0]` reach `pair[1]` at this address?"""

    def __init__(self, pair: Pair, address: str, pinger: _Pinger) -> None:
        self.pair, self.address, self.pinger = pair, address, pinger
        self.tries = 0
        self.number = pinger.add(self)


class _Pinger:
    """The ping socket of one node, of one address family."""

    def __init__(self, netns: Netns, family: int) -> None:
        proto = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        self.socket = netns.socket(family, socket.SOCK_DGRAM, proto)
        self.socket.setblocking(False)
        self._kind = _ECHO_REQUEST_IPV6 if family == socket.AF_INET6 else _ECHO_REQUEST
        self._requests: list[_Request] = []
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # in a user namespace: up to the host's net.core.rmem_max
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def add(self, request: _Request) -> int:
        self._requests.append(request)
        return len(self._requests) - 1

    def send(self, request: _Request) -> int:
        """Ask; returns the error number where the kernel would not send it."""
        octets = struct.pack("!BBHHH", self._kind, 0, 0, 0, request.number) + b"tunlab"
        for _ in range(_TRIES):  # a call may tell of an earlier request's error, and send nothing
            code = self._try(octets, request.address)
            if not code:
                break
        return code

    def _try(self, octets: bytes, address: str) -> int:
        try:
            self.socket.sendto(octets, (address, 0))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def answers(self) -> list[tuple[_Request, bool]]:
        """The requests that were answered (True), and those of which an ICMP error has come (False)."""
        settled = []
        for flags, reached in ((0, True), (socket.MSG_ERRQUEUE, False)):
            while True:
                try:
                    octets, _, _, _ = self.socket.recvmsg(512, 512, flags)
                except BlockingIOError:
                    break
                except OSError:  # the pending error: the error queue has it too, and what it is about
                    continue
                if len(octets) >= 8:
                    (number,) = struct.unpack_from("!H", octets, 6)
                    settled.append((self._requests[number], reached))
        return settled


def ping_all(nodes: Mapping[str, tuple[Netns, Sequence[str]]], *, timeout: float = 1.0) -> dict[Pair, bool]:
    """For each two nodes, whether the second answers the first on any of the addresses that are given for it.

    nodes     by name: the namespace, and the addresses at which it is to be reached
    timeout   seconds without any answer until those that are missing are asked for again, and in the end given up

    Raises KernelError for what is neither an answer nor a known reason for none.
    """
    with ExitStack() as stack:
        pingers: dict[tuple[str, int], _Pinger] = {}
        by_fd: dict[int, _Pinger] = {}
        poll = select.poll()
        requests: deque[_Request] = deque()
        reached: dict[Pair, bool] = {}
        for one, (netns, _) in nodes.items():
            for other, (_, addresses) in nodes.items():
                if one == other:
                    continue
                reached[one, other] = False
                for address in addresses:
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    if (one, family) not in pingers:
                        pinger = pingers[one, family] = _Pinger(netns, family)
                        stack.enter_context(pinger.socket)
                        poll.register(pinger.socket, select.POLLIN)
                        by_fd[pinger.socket.fileno()] = pinger
                    requests.append(_Request((one, other), address, pingers[one, family]))
        under_way: set[_Request] = set()
        while requests or under_way:
            while requests and len(under_way) < _UNDER_WAY:
                request = requests.popleft()
                if not reached[request.pair] and _send(request, nodes):
                    under_way.add(request)
            ready = poll.poll(timeout * 1000) if under_way else []
            for fd, _ in ready:
                for request, answered in by_fd[fd].answers():
                    if request in under_way:
                        under_way.remove(request)
                        reached[request.pair] |= answered
            if not ready:
                if under_way:  # perhaps there was no room for a neighbour where the request came to
                    _forget(nodes)
                requests.extend(request for request in under_way if request.tries < _TRIES)
                under_way.clear()
    return reached


def _send(request: _Request, nodes: Mapping[str, tuple[Netns, Sequence[str]]]) -> bool:
    request.tries += 1
    code = request.pinger.send(request)
    if code == errno.ENOBUFS:
        # The machine's table of neighbours is full of what the requests so far have taught.
        _forget(nodes)
        code = request.pinger.send(request)
    if code and code not in _NO_WAY:
        raise refusal(OSError(code, ""), f"ping {request.address} from node {request.pair[0]}")
    return not code


def _forget(nodes: Mapping[str, tuple[Netns, Sequence[str]]]) -> None:
    for netns, _ in nodes.values():
        with Rtnl(netns) as rtnl:
            forget_neighbours(rtnl)
