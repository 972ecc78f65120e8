"""Capture: the packets that pass an interface of a node.

Source: packet(7). The kernel may leave a checksum for the device to fill in; Capture fills it in as the device would.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from tunlab.errors import PacketError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.netns_capture import ARPHRD_ETHER, ARPHRD_LOOPBACK
from tunlab.kernel.device.packet_socket import PacketSocket, ReceivedPacket
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Packet, parse
from tunlab.recorder import LINKTYPE_ETHERNET
from tunlab.traffic import DEFAULT_TIMEOUT, Expectation, TraceEntry
from tunlab.traffic.checksum_offload import complete_packet_checksum
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.failure_text import Candidate, timeout_error


class Capture(Closeable):
    """A capture of the packets that pass an interface, from the creation of this object on.

    Attributes:
        timeout: seconds that `expect` waits by default.
        record: all packets read so far, in order, with their link headers. `packet` is None if one cannot be read.
    """

    def __init__(self, netns: Netns, ifname: str, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Start to capture. Raises PrivilegeError without CAP_NET_RAW, KernelError (ENODEV) without the interface."""
        self.timeout = timeout
        self.record: list[TraceEntry] = []
        self._socket = PacketSocket(netns, ifname)
        self._next = 0

    @property
    def ifname(self) -> str:
        """The interface's name."""
        return self._socket.ifname

    @property
    def dropped(self) -> int:
        """The number of packets lost because they were not read in time."""
        return self._socket.dropped

    def fileno(self) -> int:
        """Return the descriptor for poll(2)."""
        return self._socket.fileno()

    def take(self) -> list[TraceEntry]:
        """Return new packets without waiting. Their direction is "out" if the node sent them, "in" otherwise."""
        self._read()
        new = self.record[self._next :]
        self._next = len(self.record)
        return new

    def packets(self) -> list[Packet]:
        """Return new packets without waiting, ARP and IPv6 included."""
        return [entry.packet for entry in self.take() if entry.packet is not None]

    def expect(self, *wanted: Expectation, timeout: float | None = None) -> Packet:
        """Return the next packet that matches, in either direction, and skip the packets before it.

        Raises:
            ExpectationError: after `timeout` seconds, with every packet seen and how it differs.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(wanted)
        seen: list[Candidate] = []
        deadline = Deadline(self.timeout if timeout is None else timeout)
        for entry in self._entries(deadline):
            differences = None if entry.packet is None else expected.difference(entry.packet)
            if entry.packet is not None and not differences:
                return entry.packet
            seen.append(Candidate(entry, differences))
        raise timeout_error(expected, seen, deadline)

    def _entries(self, deadline: Deadline) -> Iterator[TraceEntry]:
        while True:
            self._read()
            while self._next < len(self.record):
                self._next += 1
                yield self.record[self._next - 1]
            remaining = deadline.remaining()
            if (remaining <= 0 or not self._socket.wait(remaining)) and not deadline.extend():
                return

    def _read(self) -> None:
        self.record += map(to_trace_entry, self._socket.recv_all())

    def close(self) -> None:
        """Stop the capture. May be repeated."""
        self._socket.close()


def to_trace_entry(captured: ReceivedPacket) -> TraceEntry:
    """Return a captured packet as a TraceEntry, with its checksum filled in if the kernel left that to the device.

    On a veth pair there is no hardware that would fill it in.
    """
    link_type = LINKTYPE_ETHERNET if captured.hardware_type in (ARPHRD_ETHER, ARPHRD_LOOPBACK) else None
    data = captured.data
    if not captured.checksum_ready:
        with suppress(PacketError):
            data = complete_packet_checksum(parse(data, link_type))
    return TraceEntry("out" if captured.outgoing else "in", captured.time, data, link_type=link_type)
