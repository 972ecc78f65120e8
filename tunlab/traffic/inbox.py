"""What the kernel sends out of a TUN, read in order: the record, what waits to be asked for, and the asking.

There is one reader and no thread: datagrams wait in the kernel until somebody asks.
"""

from __future__ import annotations

import errno
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

from tunlab.errors import ExpectationError, KernelError, PacketError, UnmetExpectation
from tunlab.kernel import capture_drain
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Packet, parse
from tunlab.traffic.assignment import Assignment
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.failure_text import (
    TOO_LATE,
    Candidate,
    expect_all_error,
    time_and_summary,
    timeout_error,
    unwanted_error,
)
from tunlab.traffic.fence import Fence
from tunlab.traffic.trace import TraceEntry, caller_location

PACKET_INFORMATION = struct.pack("!HH", 0, 0x0800)  # flags, ETH_P_IP: struct tun_pi of <linux/if_tun.h>
_OFTEN = 16
"""After so many datagrams, at most, whatever records them is looked after."""


class Inbox:
    """The reader of one device.

    record     every datagram that crossed, in order, both ways; the last 100,000 of them
    timeouts   when a wait ended in vain, in nanoseconds since the epoch, and for what it was; the last 100 of them
    """

    def __init__(self, netns: Netns, device: TunDevice) -> None:
        self.record: deque[TraceEntry] = deque(maxlen=100_000)
        self.timeouts: deque[tuple[int, str]] = deque(maxlen=100)
        self._netns, self._device = netns, device
        self.prefix = b""  # the packet information of each datagram, if the device has it
        self._unread: deque[TraceEntry] = deque()
        self._emitted: deque[tuple[bytes, str]] = deque(maxlen=10_000)  # somebody else may read the device
        self._expectations = self._remembered = 0
        self._fence: Fence | None = None
        self._answers: deque[bytes] = deque()  # what came with the fence's mark

    # ---- in and out of the record ----------------------------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        """Write a datagram to the device, after the packet information if the device has it."""
        self._device.write(self.prefix + octets)

    def injected(self, octets: bytes) -> None:
        """Octets were written to the device."""
        self._remember("in", octets, f"injected at {caller_location()}")

    def emitted(self, octets: bytes) -> None:
        """Octets were put before the reader, by the test itself."""
        self._emitted.append((octets, f"emitted at {caller_location()}"))

    def unread(self) -> list[TraceEntry]:
        """What was sent and not asked for yet."""
        self._fetch()
        return list(self._unread)

    def _fetch(self) -> None:
        """Read what waits in the kernel: into the record, and to be asked for."""
        for data in self._device.read_all():
            octets = data[len(self.prefix) :]
            if self._fence is not None and self._fence.mark in octets:
                self._remember("out", octets, "fence").consumed = True
                self._answers.append(octets)
                continue
            entry = self._remember("out", octets)
            if self._emitted:
                self._recognise(entry)
            self._unread.append(entry)

    def _recognise(self, entry: TraceEntry) -> None:
        """Say of what the test has put there itself that it has, and where; what was put there before it was lost."""
        for number, (octets, comment) in enumerate(self._emitted):
            if octets == entry.octets:
                entry.note(comment, consumed=True)
                for _ in range(number + 1):
                    self._emitted.popleft()
                return

    def _remember(self, direction: Literal["in", "out"], octets: bytes, comment: str = "") -> TraceEntry:
        try:
            packet = parse(octets)
        except PacketError:
            packet = None
        entry = TraceEntry(direction, time.time_ns(), octets, packet, comment, direction == "in")
        self.record.append(entry)
        self._remembered += 1
        if not self._remembered % _OFTEN:
            capture_drain.drain_all()
        return entry

    def _entries(self, deadline: Deadline, *, extended: bool = True) -> Iterator[TraceEntry]:
        """What the kernel sends, each as soon as it is there, until nothing more has come by the window's end."""
        while True:
            if not self._unread:
                self._fetch()
            while self._unread:
                yield self._unread.popleft()
            capture_drain.drain_all()
            # Looked at only when all that waited was given: a late test has not missed a packet that came in time.
            remaining = deadline.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not (extended and deadline.extend()):
                return

    # ---- asking ----------------------------------------------------------------------------------------------------

    def expect(self, expected: CombinedExpectation, timeout: float) -> Packet:
        """See `Tun.expect`."""
        __tracebackhide__ = True
        self._expectations += 1
        here, seen, deadline = caller_location(), list[Candidate](), Deadline(timeout)
        for entry in self._entries(deadline):
            packet = entry.packet
            differences = None if packet is None else expected.difference(packet)
            if packet is not None and not differences:
                entry.note(f"matched expectation {self._expectations} at {here}", consumed=True)
                return packet
            entry.note(f"passed over at {here}", consumed=entry.consumed)
            seen.append(Candidate(entry, differences))
        error = timeout_error(expected, seen, deadline)
        self._watch_on(
            error,
            deadline,
            lambda entry: entry.packet is not None and expected.matches(entry.packet),
            expected.matches,
        )
        raise error

    def expect_all(self, wanted: Sequence[CombinedExpectation], ordered: bool, timeout: float) -> list[Packet]:
        """See `Tun.expect_all`."""
        __tracebackhide__ = True
        here, deadline, assignment = caller_location(), Deadline(timeout), Assignment(len(wanted), ordered=ordered)
        first, seen = self._expectations + 1, list[tuple[TraceEntry, Packet]]()
        self._expectations += len(wanted)
        strange = list[TraceEntry]()

        def offer(entry: TraceEntry) -> bool:
            packet = entry.packet
            return packet is not None and assignment.offer([n for n, each in enumerate(wanted) if each.matches(packet)])

        if not assignment.complete:
            for entry in self._entries(deadline):
                if entry.packet is None:
                    strange.append(entry)
                    continue
                seen.append((entry, entry.packet))
                offer(entry)
                if assignment.complete:
                    break
        holders = [None if number is None else seen[number] for number in assignment.holders]
        for number, holder in enumerate(holders):
            if holder is not None:
                holder[0].note(f"matched expectation {first + number} at {here}", consumed=True)
        others = [each for number, each in enumerate(seen) if number not in assignment.holders]
        for entry in (*strange, *(entry for entry, _ in others)):
            entry.note(f"passed over at {here}", consumed=entry.consumed)
        if assignment.complete:
            return [holder[1] for holder in holders if holder is not None]
        upcoming = wanted[assignment.holders.index(None)]
        error = expect_all_error(
            wanted,
            [None if holder is None else holder[0] for holder in holders],
            [Candidate(entry, upcoming.difference(packet)) for entry, packet in others]
            + [Candidate(entry, None) for entry in strange],
            deadline,
            ordered=ordered,
            in_any_order=ordered and assignment.in_any_order().complete,
        )
        lacking = [each for each, holder in zip(wanted, holders, strict=True) if holder is None]
        self._watch_on(
            error,
            deadline,
            lambda entry: offer(entry) and assignment.complete,
            lambda packet: any(each.matches(packet) for each in lacking),
        )
        raise error

    def expect_none(
        self, wanted: str, is_unwanted: Callable[[TraceEntry], bool], timeout: float | None, fence: Callable[[], object]
    ) -> None:
        """See `Tun.expect_none`; `fence` is called where no time to wait is given."""
        __tracebackhide__ = True
        deadline = Deadline(0.0 if timeout is None else timeout)
        if self._wait(deadline if timeout is not None else Deadline(0.0), is_unwanted) is None and timeout is None:
            fence()
        found = [entry for entry in self._unread if is_unwanted(entry)]
        if found:
            raise unwanted_error(wanted, found, list(self._unread), deadline)

    def capture(self, count: int | None, timeout: float) -> list[Packet]:
        """See `Tun.capture`."""
        __tracebackhide__ = True
        found, here, deadline = list[Packet](), caller_location(), Deadline(timeout)
        seen = list[TraceEntry]()
        if count != 0:
            for entry in self._entries(deadline, extended=count is not None):
                entry.note(f"captured at {here}", consumed=True)
                seen.append(entry)
                if entry.packet is not None:
                    found.append(entry.packet)
                if len(found) == count:
                    break
        if count is not None and len(found) < count:
            error = timeout_error(f"{count} packet{'' if count == 1 else 's'}", [], deadline)
            error.seen, error.count = tuple(time_and_summary(each, deadline.started_ns) for each in seen), len(seen)
            self._watch_on(error, deadline, lambda entry: entry.packet is not None, lambda _: True)
            raise error
        return found

    def read(self, timeout: float) -> bytes:
        """See `Tun.read`."""
        __tracebackhide__ = True
        deadline = Deadline(timeout)
        for entry in self._entries(deadline):
            entry.note(f"read at {caller_location()}", consumed=True)
            return entry.octets
        error = timeout_error("any datagram", [], deadline)
        self._watch_on(error, deadline, lambda _: True, lambda _: True)
        raise error

    def _wait(self, deadline: Deadline, is_wanted: Callable[[TraceEntry], bool]) -> TraceEntry | None:
        """Let come what comes, to be asked for later, until the window's end or something that is wanted."""
        capture_drain.drain_all()
        looked_at = 0
        while True:
            self._fetch()
            for entry in islice(self._unread, looked_at, None):
                if is_wanted(entry):
                    return entry
            looked_at = len(self._unread)
            remaining = deadline.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not deadline.extend():
                return None

    def _watch_on(
        self,
        error: ExpectationError,
        deadline: Deadline,
        is_wanted: Callable[[TraceEntry], bool],
        matches: Callable[[Packet], bool],
    ) -> None:
        """Whether what was wanted comes after all tells a miss by time from one by behaviour; it stays unread.

        matches   whether a packet is one of those that were wanted and did not come
        """
        ended_ns, here = time.time_ns(), caller_location()
        self.timeouts.append((ended_ns, f"{here} waited {deadline.elapsed * 1000:.3g} ms for {error.wanted}"))
        late = self._wait(deadline.grace(), is_wanted)
        if late is not None:
            error.late_by = deadline.elapsed - deadline.timeout
            for entry in self._unread:
                if entry is late or (entry.packet is not None and matches(entry.packet)):
                    after = (entry.time_ns - ended_ns) / 1e6
                    entry.note(f"{TOO_LATE}; {after:.3g} ms after {here} gave up", consumed=entry.consumed)
        error.late_packets = len(self._unread)
        if error.late_by is None:
            error.unmet = UnmetExpectation(matches, self._netns.identity, self._device.ifname, time.time_ns())

    # ---- the fence -------------------------------------------------------------------------------------------------

    def fence(self, src: str, dst: str, timeout: float, settle: float = 0.0) -> list[Packet]:
        """See `Tun.fence`."""
        if settle:
            self._wait(Deadline(settle), lambda _: False)
        if self._fence is None:
            self._fence = Fence(self._netns, self._device, self.write)
        fence = self._fence
        octets, payload = fence.request(src, dst)
        try:
            self.write(octets)
        except KernelError as error:
            if error.errno != errno.EIO:
                raise
            raise fence.refused("the link is down", errno.ENETDOWN, "set it up") from None
        self._remember("in", octets, "fence")
        waiting, checked = Deadline(timeout), False
        while not self._is_answered(fence, payload):
            if not checked:
                fence.check(dst)
                checked = True
            remaining = waiting.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not waiting.extend():
                raise fence.unanswered(octets, timeout)
        return [entry.packet for entry in self._unread if entry.packet is not None]

    def _is_answered(self, fence: Fence, payload: bytes) -> bool:
        self._fetch()
        while self._answers:
            octets = self._answers.popleft()
            if fence.is_reply(octets, payload):
                return True
            if (refusal := fence.rejected(octets)) is not None:
                raise refusal
        return False
