"""The sending half of a connection: unacknowledged bytes, the peer's window, congestion control (RFC 5681)."""

from typing import NamedTuple

from examples.tcp.retransmission_timer import RetransmissionTimer
from examples.tcp.sequence import add, distance


class Chunk(NamedTuple):
    """A part of the byte stream that is sent as one segment."""

    number: int
    data: bytes
    fin: bool
    push: bool


class Sender:
    """A send buffer with the peer's window, the congestion window and the retransmission timer.

    Attributes:
        unacknowledged: The oldest sequence number without an acknowledgement (SND.UNA).
        next: The next sequence number to send. After a timeout it goes back to `unacknowledged`.
        highest: The sequence number after the last byte ever sent (SND.NXT).
        window: The peer's window in bytes (SND.WND).
        scale: Window scale of the peer's windows.
        segment_size: Maximum number of data bytes in a segment.
        closing: True if a FIN follows the data.
        timer: The retransmission timer, which also times window probes.
    """

    def __init__(self, initial: int, capacity: int) -> None:
        self.unacknowledged = self.next = self.highest = initial
        self.window = self.largest_window = 0
        self.scale = 0
        self.segment_size = 536
        self.closing = False
        self.timer = RetransmissionTimer()
        self._capacity = capacity
        self._buffer = bytearray()
        self._base = add(initial, 1)  # The sequence number of the first byte in the buffer.
        self._window_from = (initial, initial)  # SND.WL1 and SND.WL2 of RFC 9293.
        self._congestion_window = self._threshold = 0
        self._duplicates = 0
        self._lost = False
        self._timed: tuple[int, int] | None = None

    @property
    def room(self) -> int:
        """Number of bytes for which the buffer has room."""
        return self._capacity - len(self._buffer)

    @property
    def outstanding(self) -> int:
        """Number of bytes (with SYN and FIN) that are sent but not acknowledged."""
        return distance(self.unacknowledged, self.highest)

    @property
    def pending(self) -> bool:
        """True while data or the FIN is not acknowledged."""
        return bool(self._buffer) or (self.closing and not self.fin_acknowledged)

    @property
    def fin_acknowledged(self) -> bool:
        """True once the peer has acknowledged the FIN."""
        return self.closing and distance(add(self._base, len(self._buffer)), self.unacknowledged) > 0

    def write(self, data: bytes) -> int:
        """Add data to the buffer, as far as it has room. Return the number of bytes added."""
        taken = data[: self.room]
        self._buffer += taken
        return len(taken)

    def begin(self, segment_size: int) -> None:
        """Set the segment size and the initial congestion window (RFC 6928) once the peer's SYN is known."""
        self.segment_size = segment_size
        self._congestion_window = min(10 * segment_size, max(2 * segment_size, 14600))
        self._threshold = 1 << 30

    def sent(self, number: int, length: int, now: int) -> None:
        """Record that a segment is sent. Start the timer, and measure the round trip if the data is new."""
        end = add(number, length)
        self._lost = False
        if distance(self.highest, end) > 0:
            if self._timed is None and number == self.highest:
                self._timed = end, now
            self.highest = end
        if distance(self.next, end) > 0:
            self.next = end
        if length:
            self.timer.start(now)

    def due(self) -> Chunk | None:
        """Return the next part of the stream that may be sent now, or None. Call `sent` after sending it."""
        if self._lost:
            return self._chunk(self._base, min(len(self._buffer), self.segment_size))
        left = len(self._buffer) - distance(self._base, self.next)
        usable = min(self.window, self._congestion_window) - distance(self.unacknowledged, self.next)
        size = min(left, self.segment_size, usable)
        if size < 0 or (size == 0 and not (self.closing and left == 0 and usable > 0)):
            return None
        if size < left and size < self.segment_size and size < self.largest_window // 2:
            return None  # Wait for more data, to avoid tiny segments (RFC 9293 section 3.8.6.2.1).
        return self._chunk(self.next, size)

    def _chunk(self, number: int, size: int) -> Chunk:
        start = distance(self._base, number)
        last = start + size == len(self._buffer)
        return Chunk(number, bytes(self._buffer[start : start + size]), self.closing and last, last)

    def acknowledge(self, number: int, now: int) -> None:
        """Remove acknowledged bytes, and adapt congestion window and timer (RFC 5681 section 3, RFC 6298 section 5)."""
        acknowledged = distance(self.unacknowledged, number)
        self.unacknowledged = number
        if distance(self.next, number) > 0:
            self.next = number
        covered = min(max(0, distance(self._base, number)), len(self._buffer))
        del self._buffer[:covered]
        self._base = add(self._base, covered)
        if self._timed is not None and distance(self._timed[0], number) >= 0:
            self.timer.measure(now - self._timed[1])
            self._timed = None
        self.timer.acknowledged()
        if self._duplicates >= 3:
            self._congestion_window = self._threshold
        elif self._congestion_window < self._threshold:
            self._congestion_window += min(acknowledged, self.segment_size)
        else:
            self._congestion_window += max(1, self.segment_size**2 // max(1, self._congestion_window))
        self._duplicates = 0
        if self.outstanding:
            self.timer.restart(now)
        else:
            self.timer.stop()

    def duplicate(self) -> None:
        """Count a duplicate acknowledgement; the third one means that a segment was lost (RFC 5681 section 3.2)."""
        self._duplicates += 1
        if self._duplicates == 3:
            self._threshold = max(self.outstanding // 2, 2 * self.segment_size)
            self._congestion_window = self._threshold + 3 * self.segment_size
            self._lost, self._timed = True, None
        elif self._duplicates > 3:
            self._congestion_window += self.segment_size

    def update_window(self, number: int, acknowledgement: int, window: int) -> bool:
        """Set the peer's window from a segment, unless the segment is old. Return True if the window changed."""
        last_number, last_acknowledgement = self._window_from
        if distance(last_number, number) < 0 or (
            number == last_number and distance(last_acknowledgement, acknowledgement) < 0
        ):
            return False
        changed = window != self.window
        self._window_from = number, acknowledgement
        self.window = window
        self.largest_window = max(self.largest_window, window)
        return changed

    def first_window(self, number: int, acknowledgement: int, window: int) -> None:
        """Set the peer's window from a segment of the handshake."""
        self._window_from = number, acknowledgement
        self.window = self.largest_window = window

    def expire(self, now: int) -> Chunk | None:
        """Handle a timeout: resend from the oldest unacknowledged byte, or return a probe if the window is small."""
        self._timed = None
        self._duplicates = 0
        self.timer.back_off(now)
        if self.pending and (self.window == 0 or not self.outstanding):
            self.next = self.unacknowledged
            return self._chunk(self._base, min(max(1, self.window), len(self._buffer), self.segment_size))
        self._threshold = max(self.outstanding // 2, 2 * self.segment_size)
        self._congestion_window = self.segment_size
        self.next = self.unacknowledged
        return None

    def probe_later(self, now: int) -> None:
        """Start the timer for a window probe if data waits for a larger window and nothing is outstanding."""
        if self.pending and not self.outstanding:
            self.timer.start(now)
