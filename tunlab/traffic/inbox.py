"""What the kernel sends out of a TUN, read in order: the record, what waits to be asked for, and the asking.

There is one reader and no thread: datagrams wait in the kernel until somebody asks.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

from tunlab.errors import ExpectationError, KernelError, PacketError, UnmetExpectation
from tunlab.kernel import upkeep
from tunlab.kernel.netns import Netns
from tunlab.kernel.tun import TunDevice
from tunlab.packet import Packet, parse
from tunlab.traffic.assignment import Assignment
from tunlab.traffic.crossing import Crossing, place
from tunlab.traffic.expectation import Expected
from tunlab.traffic.explanation import TOO_LATE, Seen, at, missed, missing, unwanted
from tunlab.traffic.fence import Fence
from tunlab.traffic.timing import Window

_OFTEN = 16
"""After so many datagrams, at most, whatever records them is looked after."""


class Inbox:
    """The reader of one device.

    record     every datagram that crossed, in order, both ways; the last 100,000 of them
    given_up   when a wait ended in vain, in nanoseconds since the epoch, and for what it was; the last 100 of them
    """

    def __init__(self, netns: Netns, device: TunDevice) -> None:
        self.record: deque[Crossing] = deque(maxlen=100_000)
        self.given_up: deque[tuple[int, str]] = deque(maxlen=100)
        self._netns, self._device = netns, device
        self._unread: deque[Crossing] = deque()
        self._emitted: deque[tuple[bytes, str]] = deque(maxlen=10_000)  # somebody else may read the device
        self._expectations = self._remembered = 0
        self._fence: Fence | None = None
        self._answers: deque[bytes] = deque()  # what came with the fence's mark

    # ---- in and out of the record ----------------------------------------------------------------------------------

    def injected(self, octets: bytes) -> None:
        """Octets were written to the device."""
        self._remember("in", octets, f"injected at {place()}")

    def emitted(self, octets: bytes) -> None:
        """Octets were put before the reader, by the test itself."""
        self._emitted.append((octets, f"emitted at {place()}"))

    def unread(self) -> list[Crossing]:
        """What was sent and not asked for yet."""
        self._fetch()
        return list(self._unread)

    def _fetch(self) -> None:
        """Read what waits in the kernel: into the record, and to be asked for."""
        for octets in self._device.read_all():
            if self._fence is not None and self._fence.mark in octets:
                self._remember("out", octets, "fence").taken = True
                self._answers.append(octets)
                continue
            crossing = self._remember("out", octets)
            if self._emitted:
                self._recognise(crossing)
            self._unread.append(crossing)

    def _recognise(self, crossing: Crossing) -> None:
        """Say of what the test has put there itself that it has, and where; what was put there before it was lost."""
        for number, (octets, comment) in enumerate(self._emitted):
            if octets == crossing.octets:
                crossing.note(comment, taken=True)
                for _ in range(number + 1):
                    self._emitted.popleft()
                return

    def _remember(self, direction: Literal["in", "out"], octets: bytes, comment: str = "") -> Crossing:
        try:
            packet = parse(octets)
        except PacketError:
            packet = None
        crossing = Crossing(direction, time.time_ns(), octets, packet, comment, direction == "in")
        self.record.append(crossing)
        self._remembered += 1
        if not self._remembered % _OFTEN:
            upkeep.look_after()
        return crossing

    def _crossings(self, window: Window, *, widened: bool = True) -> Iterator[Crossing]:
        """What the kernel sends, each as soon as it is there, until nothing more has come by the window's end."""
        while True:
            if not self._unread:
                self._fetch()
            while self._unread:
                yield self._unread.popleft()
            upkeep.look_after()
            # Looked at only when all that waited was given: a late test has not missed a packet that came in time.
            remaining = window.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not (widened and window.widen()):
                return

    # ---- asking ----------------------------------------------------------------------------------------------------

    def expect(self, expected: Expected, timeout: float) -> Packet:
        """See `Tun.expect`."""
        __tracebackhide__ = True
        self._expectations += 1
        here, seen, window = place(), list[Seen](), Window(timeout)
        for crossing in self._crossings(window):
            packet = crossing.packet
            differences = None if packet is None else expected.difference(packet)
            if packet is not None and not differences:
                crossing.note(f"matched expectation {self._expectations} at {here}", taken=True)
                return packet
            crossing.note(f"passed over at {here}", taken=crossing.taken)
            seen.append(Seen(crossing, differences))
        error = missed(expected, seen, window)
        self._watch_on(
            error,
            window,
            lambda crossing: crossing.packet is not None and expected.met_by(crossing.packet),
            expected.met_by,
        )
        raise error

    def expect_all(self, wanted: Sequence[Expected], ordered: bool, timeout: float) -> list[Packet]:
        """See `Tun.expect_all`."""
        __tracebackhide__ = True
        here, window, assignment = place(), Window(timeout), Assignment(len(wanted), ordered=ordered)
        first, seen = self._expectations + 1, list[tuple[Crossing, Packet]]()
        self._expectations += len(wanted)
        strange = list[Crossing]()

        def offer(crossing: Crossing) -> bool:
            packet = crossing.packet
            return packet is not None and assignment.offer([n for n, each in enumerate(wanted) if each.met_by(packet)])

        if not assignment.complete:
            for crossing in self._crossings(window):
                if crossing.packet is None:
                    strange.append(crossing)
                    continue
                seen.append((crossing, crossing.packet))
                offer(crossing)
                if assignment.complete:
                    break
        holders = [None if number is None else seen[number] for number in assignment.holders]
        for number, holder in enumerate(holders):
            if holder is not None:
                holder[0].note(f"matched expectation {first + number} at {here}", taken=True)
        others = [each for number, each in enumerate(seen) if number not in assignment.holders]
        for crossing in (*strange, *(crossing for crossing, _ in others)):
            crossing.note(f"passed over at {here}", taken=crossing.taken)
        if assignment.complete:
            return [holder[1] for holder in holders if holder is not None]
        upcoming = wanted[assignment.holders.index(None)]
        error = missing(
            wanted,
            [None if holder is None else holder[0] for holder in holders],
            [Seen(crossing, upcoming.difference(packet)) for crossing, packet in others]
            + [Seen(crossing, None) for crossing in strange],
            window,
            ordered=ordered,
            in_any_order=ordered and assignment.in_any_order().complete,
        )
        lacking = [each for each, holder in zip(wanted, holders, strict=True) if holder is None]
        self._watch_on(
            error,
            window,
            lambda crossing: offer(crossing) and assignment.complete,
            lambda packet: any(each.met_by(packet) for each in lacking),
        )
        raise error

    def expect_none(
        self, wanted: str, is_unwanted: Callable[[Crossing], bool], within: float | None, fence: Callable[[], object]
    ) -> None:
        """See `Tun.expect_none`; `fence` is called where no time to wait is given."""
        __tracebackhide__ = True
        window = Window(0.0 if within is None else within)
        if self._wait(window if within is not None else Window(0.0), is_unwanted) is None and within is None:
            fence()
        found = [crossing for crossing in self._unread if is_unwanted(crossing)]
        if found:
            raise unwanted(wanted, found, list(self._unread), window)

    def capture(self, count: int | None, timeout: float) -> list[Packet]:
        """See `Tun.capture`."""
        __tracebackhide__ = True
        found, here, window = list[Packet](), place(), Window(timeout)
        seen = list[Crossing]()
        if count != 0:
            for crossing in self._crossings(window, widened=count is not None):
                crossing.note(f"captured at {here}", taken=True)
                seen.append(crossing)
                if crossing.packet is not None:
                    found.append(crossing.packet)
                if len(found) == count:
                    break
        if count is not None and len(found) < count:
            error = missed(f"{count} packet{'' if count == 1 else 's'}", [], window)
            error.seen, error.count = tuple(at(each, window.started_ns) for each in seen), len(seen)
            self._watch_on(error, window, lambda crossing: crossing.packet is not None, lambda _: True)
            raise error
        return found

    def read(self, timeout: float) -> bytes:
        """See `Tun.read`."""
        __tracebackhide__ = True
        window = Window(timeout)
        for crossing in self._crossings(window):
            crossing.note(f"read at {place()}", taken=True)
            return crossing.octets
        error = missed("any datagram", [], window)
        self._watch_on(error, window, lambda _: True, lambda _: True)
        raise error

    def _wait(self, window: Window, is_wanted: Callable[[Crossing], bool]) -> Crossing | None:
        """Let come what comes, to be asked for later, until the window's end or something that is wanted."""
        upkeep.look_after()
        looked_at = 0
        while True:
            self._fetch()
            for crossing in islice(self._unread, looked_at, None):
                if is_wanted(crossing):
                    return crossing
            looked_at = len(self._unread)
            remaining = window.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not window.widen():
                return None

    def _watch_on(
        self,
        error: ExpectationError,
        window: Window,
        is_wanted: Callable[[Crossing], bool],
        is_met: Callable[[Packet], bool],
    ) -> None:
        """Whether what was wanted comes after all tells a miss by time from one by behaviour; it stays unread.

        is_met   whether a packet is one of those that were wanted and did not come
        """
        ended_ns, here = time.time_ns(), place()
        self.given_up.append((ended_ns, f"{here} waited {window.elapsed * 1000:.3g} ms for {error.wanted}"))
        late = self._wait(window.grace(), is_wanted)
        if late is not None:
            error.late_by = window.elapsed - window.seconds
            for crossing in self._unread:
                if crossing is late or (crossing.packet is not None and is_met(crossing.packet)):
                    after = (crossing.time_ns - ended_ns) / 1e6
                    crossing.note(f"{TOO_LATE}; {after:.3g} ms after {here} gave up", taken=crossing.taken)
        error.late_packets = len(self._unread)
        if error.late_by is None:
            error.unmet = UnmetExpectation(is_met, self._netns.identity, self._device.ifname, time.time_ns())

    # ---- the fence -------------------------------------------------------------------------------------------------

    def fence(self, src: str, dst: str, timeout: float, window: float = 0.0) -> list[Packet]:
        """See `Tun.fence`."""
        if window:
            self._wait(Window(window), lambda _: False)
        if self._fence is None:
            self._fence = Fence(self._netns, self._device)
        fence = self._fence
        octets, payload = fence.request(src, dst)
        try:
            self._device.write(octets)
        except KernelError as error:
            if error.errno != errno.EIO:
                raise
            raise fence.refused("the link is down", errno.ENETDOWN, "set it up") from None
        self._remember("in", octets, "fence")
        waiting, checked = Window(timeout), False
        while not self._is_answered(fence, payload):
            if not checked:
                fence.check(dst)
                checked = True
            remaining = waiting.remaining()
            if (remaining <= 0 or not self._device.wait(remaining)) and not waiting.widen():
                raise fence.unanswered(octets, timeout)
        return [crossing.packet for crossing in self._unread if crossing.packet is not None]

    def _is_answered(self, fence: Fence, payload: bytes) -> bool:
        self._fetch()
        while self._answers:
            octets = self._answers.popleft()
            if fence.is_reply(octets, payload):
                return True
            if (refusal := fence.rejected(octets)) is not None:
                raise refusal
        return False
