"""What passes an interface of a node, as packets, beside whoever sends and receives them.

Source: packet(7). What the kernel has left to the device to finish (a checksum that is not ready) is finished here, as
the device would: it is no fault of the packet.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunlab.errors import PacketError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import PacketSocket, ReceivedPacket
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Packet, parse
from tunlab.traffic import DEFAULT_TIMEOUT, Expectation, TraceEntry
from tunlab.traffic.checksum_offload import complete_packet_checksum
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.failure_text import Candidate, timeout_error


class Capture(Closeable):
    """What has passed an interface since this was made.

    record   all that was taken from it so far, in order; an ARP or IPv6 packet has its octets, from after the link
             header on, and no `packet`
    """

    def __init__(self, netns: Netns, ifname: str, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Raises PrivilegeError without CAP_NET_RAW, KernelError (ENODEV)."""
        self.timeout = timeout
        self.record: list[TraceEntry] = []
        self._socket = PacketSocket(netns, ifname, link_header=False)
        self._next = 0

    @property
    def ifname(self) -> str:
        """The interface's name."""
        return self._socket.ifname

    @property
    def dropped(self) -> int:
        """How many packets were lost because nobody took them in time."""
        return self._socket.dropped

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def take(self) -> list[TraceEntry]:
        """What has passed and was not taken yet; "out" is what the node has sent. Does not wait."""
        self._read()
        taken = self.record[self._next :]
        self._next = len(self.record)
        return taken

    def packets(self) -> list[Packet]:
        """As `take`, the IPv4 packets alone."""
        return [entry.packet for entry in self.take() if entry.packet is not None]

    def expect(self, *wanted: Expectation, timeout: float | None = None) -> Packet:
        """The next packet that is as wanted in every respect, in either direction; those before it are passed over.

        Raises ExpectationError after `timeout` seconds, with every packet that passed meanwhile and how it differs.
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
        """Close it. May be repeated."""
        self._socket.close()


def to_trace_entry(captured: ReceivedPacket) -> TraceEntry:
    """What passed, as a datagram: with the checksum that the kernel has left for the device to make.

    Between veths nobody makes it, for the other kernel knows that it was never needed; a cable would carry it.
    """
    octets, packet = captured.data, None
    try:
        packet = parse(octets)
    except PacketError:
        pass
    else:
        if not captured.checksum_ready:
            octets = complete_packet_checksum(packet)
            packet = parse(octets)
    return TraceEntry("out" if captured.outgoing else "in", captured.time, octets, packet)
