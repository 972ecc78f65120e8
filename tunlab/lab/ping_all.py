"""Ping every node from every other, many at once, through the kernel's ping sockets.

Source: icmp(7) for ping sockets; ip(7) for IP_RECVERR, which delivers ICMP errors to the socket that caused them.
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
"""The names of the node that pings and of the node that is pinged."""

_SO_RCVBUFFORCE = 33  # number in <asm-generic/socket.h>; Python has no constant for it
_RECEIVE_BUFFER = 1024 * 1024
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ECHO_REQUEST, _ECHO_REQUEST_IPV6 = 8, 128

_BATCH_SIZE = 256
"""Maximum number of requests in flight. The kernel queues 1,000 packets between two namespaces, and each request may
create two entries in the neighbour table, which holds 1,024 for the whole machine (arp(7), gc_thresh3). So the entries
are flushed between batches."""

_TRIES = 4
"""Maximum number of requests per address: a link may lose packets, and other programs may fill the neighbour table."""

# These errors of sendto(2) mean that the destination is unreachable.
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EINVAL)


class _Request:
    """An echo request from `pair[0]` to an address of `pair[1]`."""

    def __init__(self, pair: Pair, address: str, pinger: _Pinger) -> None:
        self.pair, self.address, self.pinger = pair, address, pinger
        self.tries = 0
        self.number = pinger.add(self)


class _Pinger:
    """A node's ping socket for one address family."""

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
        except PermissionError:  # in a user namespace, the buffer cannot exceed the host's net.core.rmem_max
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def add(self, request: _Request) -> int:
        self._requests.append(request)
        return len(self._requests) - 1

    def send(self, request: _Request) -> int:
        """Send an echo request; return the kernel's error number, or 0 if it was sent."""
        data = struct.pack("!BBHHH", self._kind, 0, 0, 0, request.number) + b"tunlab"
        for _ in range(_TRIES):  # sendto(2) may return an ICMP error of an earlier request; then try again
            code = self._try(data, request.address)
            if not code:
                break
        return code

    def _try(self, data: bytes, address: str) -> int:
        try:
            self.socket.sendto(data, (address, 0))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def results(self) -> list[tuple[_Request, bool]]:
        """Return (request, True) for each reply and (request, False) for each ICMP error since the last call."""
        found = []
        for flags, replied in ((0, True), (socket.MSG_ERRQUEUE, False)):
            while True:
                try:
                    data, _, _, _ = self.socket.recvmsg(512, 512, flags)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP error is pending, and is read from the error queue later
                    continue
                if len(data) >= 8:
                    (number,) = struct.unpack_from("!H", data, 6)
                    found.append((self._requests[number], replied))
        return found


def ping_all(
    nodes: Mapping[str, tuple[Netns, Sequence[str]]],
    *,
    timeout: float = 1.0,
    progress: Callable[[int, int], None] = lambda _sent, _total: None,
) -> dict[Pair, bool]:
    """Ping every node from every other; return {(from, to): True if `to` replied on any address}.

    Args:
        nodes: each node's namespace and addresses, by name.
        timeout: seconds without any reply until unanswered pings are sent again, up to four times.
        progress: called with the number of requests sent and their total.

    Raises:
        KernelError: if a request fails for another reason than an unreachable address.
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
        for start in range(0, len(requests), _BATCH_SIZE):
            progress(start, len(requests))
            batch = requests[start : start + _BATCH_SIZE]
            involved = {name: nodes[name][0] for request in batch for name in request.pair}
            _ping_batch(batch, reached, involved, timeout)
            if start + _BATCH_SIZE < len(requests):
                _flush_neighbours(involved)
    return reached


def _ping_batch(
    requests: Sequence[_Request], reached: dict[Pair, bool], involved: Mapping[str, Netns], timeout: float
) -> None:
    """Send each request until it has a result or no tries are left; set `reached` to True for pairs with a reply."""
    by_fd = {request.pinger.socket.fileno(): request.pinger for request in requests}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    to_send = list(requests)
    while to_send:
        in_flight = {request for request in to_send if not reached[request.pair] and _send(request, involved)}
        while in_flight and (ready := poll.poll(timeout * 1000)):
            for fd, _ in ready:
                for request, replied in by_fd[fd].results():
                    if request in in_flight:
                        in_flight.remove(request)
                        reached[request.pair] |= replied
        if in_flight:  # a full neighbour table may have made receivers drop requests
            _flush_neighbours(involved)
        to_send = [request for request in in_flight if request.tries < _TRIES]


def _send(request: _Request, involved: Mapping[str, Netns]) -> bool:
    """Send a request; return True if it is in flight, False if its destination is unreachable.

    If the neighbour table is full, return True as well, because the caller repeats requests that get no reply.
    """
    request.tries += 1
    code = request.pinger.send(request)
    if code == errno.ENOBUFS:
        _flush_neighbours(involved)
        code = request.pinger.send(request)
    if code == errno.ENOBUFS and request.tries < _TRIES:
        return True
    if code and code not in _UNREACHABLE:
        raise kernel_error(
            OSError(code, ""), f"ping {request.address} from node {request.pair[0]}", reasons=SOCKET_REASONS
        )
    return not code


def _flush_neighbours(involved: Mapping[str, Netns]) -> None:
    def flush() -> None:
        for netns in involved.values():
            netns.enter()
            with Rtnl(netns, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as rtnl:
                flush_neighbours(rtnl)

    run_in_thread(flush)  # one thread flushes all namespaces, because starting a thread takes longer than a flush
