"""A packet port in memory, and a TCP peer on it: the test writes both sides, and time passes only where it says so."""

from collections import deque

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import TCP, IPv4, Packet, TCPFlag, build, parse
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.tcp_peer import TCPPeer


class MemoryPort:
    """A port without a kernel. A packet of the device that has not come is a timeout at once; `late` comes after it."""

    address, peer, timeout = "10.1.2.1", "10.1.2.2", 2.0

    def __init__(self, *, iss=5000, port=80, peer_port=40_000):
        self.injected, self.unread, self.late, self.now = [], deque(), deque(), 0
        self._iss, self._ports = iss, {"src_port": port, "dst_port": peer_port}

    def arrive(self, payload=b"", *, seq=0, ack=1, flags=0x10, after=0, **fields):
        """Let a segment of the device arrive, with relative numbers, some nanoseconds after the one before."""
        self.now += after
        numbers = {"seq": (self._iss + seq) % 2**32, "ack": (1_000_000 + ack) % 2**32}
        tcp = TCP(**(self._ports | numbers | {"flags": flags} | fields))
        data = build(IPv4(src=self.address, dst=self.peer), tcp, payload)
        self.unread.append(parse(data, time=self.now, clock="virtual"))

    def inject(self, *layers):
        """Keep a packet of the peer in `injected`."""
        self.injected.append(Packet.of(*layers))

    def expect(self, *wanted, timeout=None, among=None):
        expected, seen, others = CombinedExpectation.of(wanted), [], []
        try:
            while self.unread:
                packet = self.unread.popleft()
                differences = expected.difference(packet)
                if among is not None and not among(packet):
                    others.append(packet)
                elif not differences:
                    return packet
                seen.append("; ".join(map(str, differences)))
        finally:
            self.unread.extendleft(reversed(others))
        while self.late:
            self.unread.append(self.late.popleft())
            expected.matches(self.unread[-1])
        raise ExpectationError(wanted=str(expected), seen=seen, timeout=timeout)

    def expect_none(self, *unwanted, timeout=None):
        expected = CombinedExpectation.of(unwanted)
        found = [str(packet) for packet in self.unread if expected.may_match(packet)]
        if found:
            raise ExpectationError(wanted=f"no {expected}", seen=found, timeout=timeout)


def connected(**options):
    """Return a port in memory and its peer after the handshake; the device has the initial sequence number 5000."""
    port = MemoryPort()
    peer = TCPPeer(port, 80, **options)
    port.arrive(flags=TCPFlag.SYN | TCPFlag.ACK, options=peer.segment(flags=TCPFlag.SYN)[1].options, window=1000)
    peer.handshake()
    port.injected.clear()
    return port, peer


def failure(function, *args, **kwargs):
    """Return the text of the ExpectationError that a call raises."""
    with pytest.raises(ExpectationError) as caught:
        function(*args, **kwargs)
    return str(caught.value)
