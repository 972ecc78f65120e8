"""Who reaches whom: echo requests from every node to every other, many under way at once, without a program.

Source: icmp(7) for ping sockets; ip(7) for IP_RECVERR, by which an ICMP error comes to the socket that it is about.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import TypeAlias

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.netns_thread import run_in_thread
from tunlab.kernel.network.neighbours import flush_neighbours
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import SOCKET_REASONS, kernel_error

Pair: TypeAlias = tuple[str, str]
"""From whom, to whom."""

_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_RECEIVE_BUFFER = 1024 * 1024
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ECHO_REQUEST, _ECHO_REQUEST_IPV6 = 8, 128

_AT_ONCE = 256
"""Requests that are under way at one time. The kernel queues a thousand packets between two namespaces; and each may
teach two nodes a neighbour, of which the whole machine has room for a thousand (arp(7), gc_thresh3): what so many have
taught is forgotten before the next are sent, so that others who use the machine find room."""

_TRIES = 4
"""A link may lose packets on purpose; and others may have filled the machine's table of neighbours."""

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


def ping_all(
    nodes: Mapping[str, tuple[Netns, Sequence[str]]],
    *,
    timeout: float = 1.0,
    told: Callable[[int, int], None] = lambda _asked, _of: None,
) -> dict[Pair, bool]:
    """For each two nodes, whether the second answers the first on any of the addresses that are given for it.

    nodes     by name: the namespace, and the addresses at which it is to be reached
    timeout   seconds without any answer until those that are missing are asked for again, and in the end given up
    told      told from time to time how many of how many have been asked

    Raises KernelError for what is neither an answer nor a known reason for none.
    """
    reached = {(one, other): False for one in nodes for other in nodes if one != other}
    with ExitStack() as stack:
        pingers: dict[tuple[str, int], _Pinger] = {}
        requests: list[_Request] = []
        for one, other in (pair for each in combinations(nodes, 2) for pair in (each, each[::-1])):
            for address in nodes[other][1]:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                if (one, family) not in pingers:
                    pinger = pingers[one, family] = _Pinger(nodes[one][0], family)
                    stack.enter_context(pinger.socket)
                requests.append(_Request((one, other), address, pingers[one, family]))
        for start in range(0, len(requests), _AT_ONCE):
            told(start, len(requests))
            asked = requests[start : start + _AT_ONCE]
            asking = {name: nodes[name][0] for request in asked for name in request.pair}
            _settle(asked, reached, asking, timeout)
            if start + _AT_ONCE < len(requests):
                _forget(asking)
    return reached


def _settle(
    requests: Sequence[_Request], reached: dict[Pair, bool], asking: Mapping[str, Netns], timeout: float
) -> None:
    """Ask until each is answered, or was asked often enough."""
    by_fd = {request.pinger.socket.fileno(): request.pinger for request in requests}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    to_ask = list(requests)
    while to_ask:
        under_way = {request for request in to_ask if not reached[request.pair] and _send(request, asking)}
        while under_way and (ready := poll.poll(timeout * 1000)):
            for fd, _ in ready:
                for request, answered in by_fd[fd].answers():
                    if request in under_way:
                        under_way.remove(request)
                        reached[request.pair] |= answered
        if under_way:  # perhaps there was no room for a neighbour where the request came to
            _forget(asking)
        to_ask = [request for request in under_way if request.tries < _TRIES]


def _send(request: _Request, asking: Mapping[str, Netns]) -> bool:
    """Whether it is under way; what finds no room in the table of neighbours is, as if it had been lost."""
    request.tries += 1
    code = request.pinger.send(request)
    if code == errno.ENOBUFS:
        _forget(asking)
        code = request.pinger.send(request)
    if code == errno.ENOBUFS and request.tries < _TRIES:
        return True
    if code and code not in _NO_WAY:
        raise kernel_error(
            OSError(code, ""), f"ping {request.address} from node {request.pair[0]}", reasons=SOCKET_REASONS
        )
    return not code


def _forget(asking: Mapping[str, Netns]) -> None:
    def forget() -> None:
        for netns in asking.values():
            netns.enter()
            with Rtnl(netns, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as rtnl:
                flush_neighbours(rtnl)

    run_in_thread(forget)  # one for all of them: a thread takes longer than the rest
