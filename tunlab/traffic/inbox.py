"""The reader of a TUN: it records the packets that the kernel sends, and waits for expected packets.

No thread reads in the background: packets stay in the kernel's queue until the test asks for them.
"""

from __future__ import annotations

import errno
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

from tunlab.errors import ExpectationError, KernelError, UnmetExpectation
from tunlab.kernel import capture_drain
from tunlab.kernel.device.packet_socket import ETH_P_IP, ETH_P_IPV6
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Packet
from tunlab.traffic.assignment import Assignment
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.ethernet_fence import EthernetFence
from tunlab.traffic.ethernet_peer import EthernetPeer, is_listener_report
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.failure_text import (
    Candidate,
    expect_all_error,
    time_and_summary,
    timeout_error,
    unwanted_error,
)
from tunlab.traffic.fence import Fence
from tunlab.traffic.trace import PacketRecord, TraceEntry, caller_location

# Flags and EtherType: struct tun_pi of <linux/if_tun.h>.
_PACKET_INFORMATION = {4: struct.pack("!HH", 0, ETH_P_IP), 6: struct.pack("!HH", 0, ETH_P_IPV6)}
LINKTYPE_ETHERNET = 1
_DRAIN_INTERVAL = 16  # After this many packets the packet sockets that record traffic are read, so that none overflows.


class Inbox:
    """The reader of one TUN device.

    Attributes:
        record: The latest packets in both directions, in order: at most 100,000 packets and 64 MiB.
        packet_information: True if the device puts flags and protocol before each packet.
        timeouts: The last 100 expectations that timed out: nanoseconds since the epoch, and a description.
    """

    def __init__(self, netns: Netns, device: TunDevice, ethernet: EthernetPeer | None = None) -> None:
        """Read `device`; `ethernet` is the test's end of a TAP."""
        self.record = PacketRecord()
        self.timeouts: deque[tuple[int, str]] = deque(maxlen=100)
        self._netns, self._device = netns, device
        self.packet_information = False
        self._ethernet = ethernet
        self._unread: deque[TraceEntry] = deque()
        # The queue has a limit because a packet that another program reads is never removed from it.
        self._emitted: deque[tuple[bytes, str]] = deque(maxlen=10_000)
        self._expectations = self._recorded = 0
        self._fence: Fence | None = None
        self._fence_packets: deque[bytes] = deque()

    # ---- recording -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write a packet to the device, with packet information before it if the device uses that."""
        if self.packet_information:
            data = _PACKET_INFORMATION[6 if data and data[0] >> 4 == 6 else 4] + data
        self._device.write(data)

    def add_injected(self, data: bytes) -> None:
        """Record a packet that the test has injected."""
        self._add("in", data, f"injected at {caller_location()}")

    def add_emitted(self, data: bytes) -> None:
        """Remember a packet that `Tun.emit` has sent, so that it is recognized when it is read."""
        self._emitted.append((data, f"emitted at {caller_location()}"))

    def unread(self) -> list[TraceEntry]:
        """Return unread packets in arrival order, without consuming them."""
        self._fetch()
        return [entry for entry in self._unread if not entry.routine]

    def _fetch(self) -> None:
        """Move the packets in the kernel's queue to the record and to the unread packets."""
        while answers := self._read_queue():
            for answer in answers:  # the kernel then sends what waited for the address
                self.write(answer)
                self._add("in", answer, "address resolution")

    def _read_queue(self) -> list[bytes]:
        """Move the packets in the kernel's queue, and return the answers to those that ask for a MAC address."""
        answers = list[bytes]()
        for data in self._device.read_all():
            if self.packet_information:
                data = data[4:]
            if self._fence is not None and self._fence.owns(data):
                self._add("out", data, "fence").consumed = True
                self._fence_packets.append(data)
                continue
            entry = self._add("out", data)
            if self._emitted:
                self._note_emitted(entry)
            if not entry.consumed and (self._ethernet is not None or _is_multicast_with_options(data)):
                answers += self._note_routine(entry)
            self._unread.append(entry)
        return answers

    def _note_routine(self, entry: TraceEntry) -> list[bytes]:
        """Mark a packet that the test need not expect, and return the answer to it, if it needs one."""
        packet = entry.to_packet()
        answer = None if self._ethernet is None else self._ethernet.answer(packet)
        entry.routine = answer is not None or is_listener_report(packet)
        if entry.routine:
            entry.consume("unsolicited" if answer is None else "answered by the Tap")
        return [] if answer is None else [answer]

    def _note_emitted(self, entry: TraceEntry) -> None:
        """Mark the packet if the test emitted it (`Tun.emit`), and forget it and all packets emitted before it."""
        for number, (data, note) in enumerate(self._emitted):
            if data == entry.data:
                entry.consume(note)
                for _ in range(number + 1):
                    self._emitted.popleft()
                return

    def _add(self, direction: Literal["in", "out"], data: bytes, *notes: str) -> TraceEntry:
        entry = TraceEntry(direction, time.time_ns(), data, list(notes), direction == "in")
        if self._ethernet is not None:
            entry.link_type = LINKTYPE_ETHERNET
        self.record.append(entry)
        self._recorded += 1
        if not self._recorded % _DRAIN_INTERVAL:
            capture_drain.drain_all()
        return entry

    def _entries(self, deadline: Deadline, *, extend: bool = True) -> Iterator[TraceEntry]:
        """Yield packets as they arrive, until the deadline."""
        while True:
            if not self._unread:
                self._fetch()
            while self._unread:
                yield self._unread.popleft()
            capture_drain.drain_all()
            # The deadline is checked after reading: a packet in time counts even if this process wakes late.
            remaining = deadline.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not (extend and deadline.extend()):
                return

    # ---- expectations ----------------------------------------------------------------------------------------------

    def expect(
        self, expected: CombinedExpectation, timeout: float, among: Callable[[Packet], bool] | None = None
    ) -> Packet:
        """Wait for a packet that meets the expectation, and return it, as `Tun.expect` does."""
        __tracebackhide__ = True
        self._expectations += 1
        here, seen, deadline = caller_location(), list[Candidate](), Deadline(timeout)
        others = list[TraceEntry]()
        try:
            for entry in self._entries(deadline):
                if entry.routine and not expected.names_routine:
                    continue
                packet = entry.to_packet()
                differences = expected.difference(packet)
                if among is not None and not among(packet):
                    others.append(entry)
                elif differences:
                    entry.notes.append(f"skipped at {here}")
                else:
                    entry.consume(f"matched expectation {self._expectations} at {here}")
                    return packet
                seen.append(Candidate(entry, differences if packet.headers else None))
        finally:
            self._unread.extendleft(reversed(others))
        error = timeout_error(expected, seen, deadline)
        self._watch_for_late_match(error, deadline, lambda entry: _matches(expected, entry), expected.matches)
        raise error

    def expect_all(self, wanted: Sequence[CombinedExpectation], ordered: bool, timeout: float) -> list[Packet]:
        """Wait for one packet per expectation, and return the packets, as `Tun.expect_all` does."""
        __tracebackhide__ = True
        here, deadline, assignment = caller_location(), Deadline(timeout), Assignment(len(wanted), ordered=ordered)
        first, seen = self._expectations + 1, list[tuple[TraceEntry, Packet]]()
        self._expectations += len(wanted)

        def offer(entry: TraceEntry) -> bool:
            return assignment.offer([n for n, each in enumerate(wanted) if _matches(each, entry)])

        if not assignment.complete:
            for entry in self._entries(deadline):
                seen.append((entry, entry.to_packet()))
                offer(entry)
                if assignment.complete:
                    break
        matches = [None if number is None else seen[number] for number in assignment.packets]
        for number, match in enumerate(matches):
            if match is not None:
                match[0].consume(f"matched expectation {first + number} at {here}")
        others = [each for number, each in enumerate(seen) if number not in assignment.packets]
        for entry, _ in others:
            entry.notes.append(f"skipped at {here}")
        if assignment.complete:
            return [match[1] for match in matches if match is not None]
        next_expected = wanted[assignment.packets.index(None)]
        error = expect_all_error(
            wanted,
            [None if match is None else match[0] for match in matches],
            [
                Candidate(entry, next_expected.difference(packet) if packet.headers else None)
                for entry, packet in others
            ],
            deadline,
            ordered=ordered,
            in_any_order=ordered and assignment.in_any_order().complete,
        )
        unmatched = [each for each, match in zip(wanted, matches, strict=True) if match is None]
        self._watch_for_late_match(
            error,
            deadline,
            lambda entry: offer(entry) and assignment.complete,
            lambda packet: any(each.matches(packet) for each in unmatched),
        )
        raise error

    def expect_none(
        self, wanted: str, is_unwanted: Callable[[TraceEntry], bool], timeout: float | None, fence: Callable[[], object]
    ) -> None:
        """Assert that no unread packet is unwanted, as `Tun.expect_none` does. Call `fence` if `timeout` is None."""
        __tracebackhide__ = True
        deadline = Deadline(timeout or 0.0)
        if self._wait(deadline, is_unwanted) is None and timeout is None:
            fence()
        found = [entry for entry in self._unread if is_unwanted(entry)]
        if found:
            raise unwanted_error(wanted, found, list(self._unread), deadline)

    def capture(self, count: int | None, timeout: float) -> list[Packet]:
        """Return the unread packets and consume them, as `Tun.capture` does."""
        __tracebackhide__ = True
        found, here, deadline = list[Packet](), caller_location(), Deadline(timeout)
        seen = list[TraceEntry]()
        if count != 0:
            for entry in self._entries(deadline, extend=count is not None):
                if entry.routine:
                    continue
                entry.consume(f"captured at {here}")
                seen.append(entry)
                found.append(entry.to_packet())
                if len(found) == count:
                    break
        if count is not None and len(found) < count:
            error = timeout_error(f"{count} packet{'' if count == 1 else 's'}", [], deadline)
            error.seen, error.count = tuple(time_and_summary(each, deadline.started_ns) for each in seen), len(seen)
            self._watch_for_late_match(error, deadline, lambda entry: not entry.routine, lambda _: True)
            raise error
        return found

    def read(self, timeout: float) -> bytes:
        """Return the bytes of the next packet, as `Tun.read` does."""
        __tracebackhide__ = True
        deadline = Deadline(timeout)
        for entry in self._entries(deadline):
            if entry.routine:
                continue
            entry.consume(f"read at {caller_location()}")
            return entry.data
        error = timeout_error("any packet", [], deadline)
        self._watch_for_late_match(error, deadline, lambda entry: not entry.routine, lambda _: True)
        raise error

    def _wait(self, deadline: Deadline, is_wanted: Callable[[TraceEntry], bool]) -> TraceEntry | None:
        """Return the first wanted packet, or None at the deadline; every packet stays unread."""
        capture_drain.drain_all()
        checked = 0
        while True:
            self._fetch()
            for entry in islice(self._unread, checked, None):
                if is_wanted(entry):
                    return entry
            checked = len(self._unread)
            remaining = deadline.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not deadline.extend():
                return None

    def _watch_for_late_match(
        self,
        error: ExpectationError,
        deadline: Deadline,
        is_wanted: Callable[[TraceEntry], bool],
        matches: Callable[[Packet], bool],
    ) -> None:
        """Wait a little longer for a match, so that the error can say if the packet is late or missing.

        A late packet stays unread.

        Args:
            error: The error to complete: `late_by` is set if a match arrives, else `unmet`.
            deadline: The wait that has timed out.
            is_wanted: Returns True for the packet that ends this second wait.
            matches: Returns True for a packet that meets an expectation which no packet has met.
        """
        ended_ns, here = time.time_ns(), caller_location()
        self.timeouts.append((ended_ns, f"{here} waited {deadline.elapsed * 1000:.3g} ms for {error.wanted}"))
        late = self._wait(deadline.grace(), is_wanted)
        if late is not None:
            error.late_by = deadline.elapsed - deadline.timeout
            for entry in self._unread:
                if entry is late or matches(entry.to_packet()):
                    after = (entry.time_ns - ended_ns) / 1e6
                    entry.blame(f"matches, but arrived {after:.3g} ms after {here} timed out")
        error.late_packets = len([entry for entry in self._unread if not entry.routine])
        if error.late_by is None:
            error.unmet = UnmetExpectation(matches, self._netns.identity, self._device.ifname, time.time_ns())

    # ---- the fence -------------------------------------------------------------------------------------------------

    def fence(self, src: str, dst: str, timeout: float, settle: float = 0.0) -> list[Packet]:
        """Wait for the kernel's answers to all injected packets, and return the unread packets, as `Tun.fence` does."""
        if settle:
            self._wait(Deadline(settle), lambda _: False)
        if self._fence is None:
            if self._ethernet is None:
                self._fence = Fence(self._netns, self._device, self.write)
            else:
                self._fence = EthernetFence(self._netns, self._device, self.write, self._ethernet.kernel_address)
        fence = self._fence
        data, payload = fence.next_request(src, dst)
        try:
            self.write(data)
        except KernelError as error:
            if error.errno != errno.EIO:
                raise
            raise fence.error("the link is down", errno.ENETDOWN, "call tun.device.up()") from None
        self._add("in", data, "fence")
        deadline, checked = Deadline(timeout), False
        while not self._is_answered(fence, payload):
            if not checked:
                fence.check_preconditions(dst)
                checked = True
            remaining = deadline.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not deadline.extend():
                raise fence.no_reply_error(data, timeout)
        return [entry.to_packet() for entry in self._unread if not entry.routine]

    def _is_answered(self, fence: Fence, payload: bytes) -> bool:
        self._fetch()
        while self._fence_packets:
            data = self._fence_packets.popleft()
            if fence.is_reply(data, payload):
                return True
            if (error := fence.icmp_error(data)) is not None:
                raise error
        return False


def _matches(expected: CombinedExpectation, entry: TraceEntry) -> bool:
    return (not entry.routine or expected.names_routine) and expected.matches(entry.to_packet())


def _is_multicast_with_options(data: bytes) -> bool:
    """Return True for an IPv6 packet to a link-local group with hop-by-hop options, as an MLD report has."""
    return data[24:26] == b"\xff\x02" and data[6:7] == b"\0" and data[0] >> 4 == 6
