"""The reader of a port: it records the packets that cross it, and waits for expected packets.

No thread reads in the background: packets stay in the kernel's queue until the test asks for them.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

from tunlab.errors import ExpectationError, KernelError, UnmetExpectation, duration_text
from tunlab.kernel import capture_drain
from tunlab.packet import Packet
from tunlab.traffic.assignment import Assignment
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.ethernet_peer import EthernetPeer, is_listener_report
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.failure_text import (
    Candidate,
    expect_all_error,
    find_injected_match,
    time_and_summary,
    timeout_error,
    unwanted_error,
)
from tunlab.traffic.fence import Fence
from tunlab.traffic.ports.port import Port
from tunlab.traffic.trace import PacketRecord, TraceEntry, caller_location

_DRAIN_INTERVAL = 16  # After this many packets the packet sockets that record traffic are read, so that none overflows.


class Inbox:
    """The reader of one port.

    Attributes:
        record: The latest packets in both directions, in order: at most 100,000 packets and 64 MiB.
        timeouts: The last 100 expectations that timed out: nanoseconds since the epoch, and a description.
        reader: The only thread that may read packets; None for any.
    """

    def __init__(self, port: Port, ethernet: EthernetPeer | None = None) -> None:
        """Read `port`; `ethernet` is the test's end of a port with Ethernet frames."""
        self.record = PacketRecord()
        self.timeouts: deque[tuple[int, str]] = deque(maxlen=100)
        self._port = port
        self._ethernet = ethernet
        self._unread: deque[TraceEntry] = deque()
        # Limit the queue: a packet stays in it if another program reads that packet from the device.
        self._emitted: deque[tuple[bytes, str]] = deque(maxlen=10_000)
        self._expectations = self._recorded = 0
        self._fence: Fence | None = None
        self.reader: threading.Thread | None = None
        self._fence_packets: deque[bytes] = deque()

    # ---- recording -------------------------------------------------------------------------------------------------

    def inject(self, data: bytes, note: str = "") -> None:
        """Send a packet, and record it with the time at which it was sent. `note` is its origin."""
        time_ns = self._port.clock.time_ns()
        self._port.write(data)
        self._add("in", time_ns, data, note or f"injected at {caller_location()}")

    def add_emitted(self, data: bytes) -> None:
        """Remember a packet that `Endpoint.emit` has sent, so that it is recognized when it is read."""
        self._emitted.append((data, f"emitted at {caller_location()}"))

    def unread(self) -> list[TraceEntry]:
        """Return unread packets in arrival order, without consuming them."""
        self._fetch()
        return [entry for entry in self._unread if not entry.routine]

    def take(self, note: str) -> list[bytes]:
        """Return the bytes of the unread packets, and consume them with a note."""
        self._fetch()
        taken = list(self._unread)
        self._unread.clear()
        for entry in taken:
            entry.consume(note)
        return [entry.data for entry in taken]

    def _fetch(self) -> None:
        """Move the packets in the kernel's queue to the record and to the unread packets."""
        if self.reader is not None and self.reader is not threading.current_thread():
            reason, remedy = "a stack receives its packets", "read them after the block of `serve`"
            raise KernelError(errno.EBUSY, f"read {self._port.name}", reason=reason, remedy=remedy)
        while answers := self._read_queue():
            for answer in answers:  # each answer lets the kernel send the packets that waited for it
                self.inject(answer, "address resolution")

    def _read_queue(self) -> list[bytes]:
        """Move the packets in the kernel's queue, and return the answers to those that ask for a MAC address."""
        answers = list[bytes]()
        for time_ns, data in self._port.read():
            if self._fence is not None and self._fence.owns(data):
                self._add("out", time_ns, data, "fence").consumed = True
                self._fence_packets.append(data)
                continue
            entry = self._add("out", time_ns, data)
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
        """Mark the packet if the test emitted it (`Endpoint.emit`), and forget it and all packets emitted before it."""
        for number, (data, note) in enumerate(self._emitted):
            if data == entry.data:
                entry.consume(note)
                for _ in range(number + 1):
                    self._emitted.popleft()
                return

    def _add(self, direction: Literal["in", "out"], time_ns: int, data: bytes, *notes: str) -> TraceEntry:
        entry = TraceEntry(direction, time_ns, data, list(notes), direction == "in", link_type=self._port.link_type)
        entry.clock = self._port.clock.name
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
            if not self._wait_until(deadline) and not (extend and deadline.extend()):
                return

    def _deadline(self, timeout: float) -> Deadline:
        return Deadline(timeout, self._port.clock)

    def _wait_until(self, deadline: Deadline) -> bool:
        return deadline.remaining() > 0 and self._port.wait(deadline.instant)

    # ---- expectations ----------------------------------------------------------------------------------------------

    def expect(
        self, expected: CombinedExpectation, timeout: float, among: Callable[[Packet], bool] | None = None
    ) -> Packet:
        """Wait for a packet that meets the expectation, and return it, as `Endpoint.expect` does."""
        __tracebackhide__ = True
        self._expectations += 1
        here, seen, deadline = caller_location(), list[Candidate](), self._deadline(timeout)
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
        error.injected = find_injected_match(self.record, expected)
        raise error

    def expect_all(self, wanted: Sequence[CombinedExpectation], ordered: bool, timeout: float) -> list[Packet]:
        """Wait for one packet per expectation, and return the packets, as `Endpoint.expect_all` does."""
        __tracebackhide__ = True
        here, deadline, assignment = (
            caller_location(),
            self._deadline(timeout),
            Assignment(len(wanted), ordered=ordered),
        )
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

    def expect_none(self, unwanted: CombinedExpectation, timeout: float | None, fence: Callable[[], object]) -> None:
        """Assert that no unread packet is unwanted, as `Endpoint.expect_none` does. Without `timeout` call `fence`."""
        __tracebackhide__ = True

        def is_unwanted(entry: TraceEntry) -> bool:
            return (not entry.routine or unwanted.names_routine) and unwanted.may_match(entry.to_packet())

        deadline = self._deadline(timeout or 0.0)
        if self._wait(deadline, is_unwanted) is None and timeout is None:
            fence()
        found = [entry for entry in self._unread if is_unwanted(entry)]
        if found:
            raise unwanted_error(unwanted, found, list(self._unread), deadline)

    def capture(self, count: int | None, timeout: float) -> list[Packet]:
        """Return the unread packets and consume them, as `Endpoint.capture` does."""
        __tracebackhide__ = True
        found, here, deadline = list[Packet](), caller_location(), self._deadline(timeout)
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
        """Return the bytes of the next packet, as `Endpoint.read` does."""
        __tracebackhide__ = True
        deadline = self._deadline(timeout)
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
            if not self._wait_until(deadline) and not deadline.extend():
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
        ended_ns, here = self._port.clock.time_ns(), caller_location()
        self.timeouts.append((ended_ns, f"{here} waited {duration_text(deadline.elapsed)} for {error.wanted}"))
        late = self._wait(deadline.grace(), is_wanted)
        if late is not None:
            error.late_by = deadline.elapsed - deadline.timeout
            for entry in self._unread:
                if entry is late or matches(entry.to_packet()):
                    after = max(0, entry.time_ns - ended_ns) / 1e6  # it may have waited in the queue
                    entry.blame(f"matches, but arrived {after:.3g} ms after {here} timed out")
        error.late_packets = len([entry for entry in self._unread if not entry.routine])
        if error.late_by is None:
            error.unmet = UnmetExpectation(matches, self._port.netns, self._port.name, self._port.clock.time_ns())

    # ---- the fence -------------------------------------------------------------------------------------------------

    def fence(self, fence: Fence, src: str, dst: str, timeout: float, settle: float = 0.0) -> list[Packet]:
        """Wait for the answers to all injected packets, and return the unread packets, as `Endpoint.fence` does."""
        if settle:
            self.settle(settle)
        self._fence = fence
        data, payload = fence.next_request(src, dst)
        try:
            self.inject(data, "fence")
        except KernelError as error:
            if error.errno != errno.EIO:
                raise
            raise fence.error("the link is down", errno.ENETDOWN, "call tun.device.up()") from None
        deadline, checked = self._deadline(timeout), False
        while not self._is_answered(fence, payload):
            if not checked:
                fence.check_preconditions(dst)
                checked = True
            if not self._wait_until(deadline) and not deadline.extend():
                raise fence.no_reply_error(data, timeout)
        return self.unread_packets()

    def settle(self, seconds: float) -> None:
        """Wait for `seconds`, whatever arrives."""
        self._wait(self._deadline(seconds), lambda _: False)

    def unread_packets(self) -> list[Packet]:
        """Return the packets that have been read from the port, without consuming them."""
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
