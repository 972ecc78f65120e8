"""The receiving half of a TCP connection: reassembly, and the window that is offered to the peer."""

from examples.tcp.sequence import add, distance


class Receiver:
    """A receive buffer that puts segments in order, and the window that it offers.

    Attributes:
        next: The next expected sequence number (RCV.NXT).
        scale: Window scale of the windows that we offer (RFC 7323 section 2).
        buffer: Bytes in order that the application has not read.
        finished: True after the peer's FIN and all data before it have arrived.
    """

    def __init__(self, capacity: int) -> None:
        self.next = 0
        self.scale = 0
        self.buffer = bytearray()
        self.finished = False
        self._capacity = capacity
        self._edge = 0
        self._early: list[tuple[int, bytes]] = []
        self._fin: int | None = None

    def begin(self, number: int) -> None:
        """Set the first expected sequence number: the peer's initial sequence number plus one for its SYN."""
        self.next = self._edge = number

    @property
    def window(self) -> int:
        """Number of bytes from `next` on that the peer may send (RCV.WND), as our last segment offered."""
        return max(0, distance(self.next, self._edge))

    def offer(self, segment_size: int, scaled: bool = True) -> int:
        """Return the window field for the next segment, and open the window if there is enough room.

        The right edge of the window never moves left. It moves right by at least a full segment or half of the buffer,
        so that the peer does not send tiny segments (RFC 9293 section 3.8.6.2.2).
        """
        scale = self.scale if scaled else 0
        free = self._capacity - len(self.buffer)
        if free - self.window >= min(segment_size, self._capacity // 2):
            field = min(free >> scale, 0xFFFF)
        else:
            field = min(self.window >> scale, 0xFFFF)
        if distance(self._edge, add(self.next, field << scale)) > 0:
            self._edge = add(self.next, field << scale)
        return field

    def can_offer_more(self, segment_size: int) -> bool:
        """Return True if the window can grow by enough to send a window update."""
        return self._capacity - len(self.buffer) - self.window >= min(segment_size, self._capacity // 2)

    def accepts(self, number: int, length: int) -> bool:
        """Return True if a segment of this length is inside the window (RFC 9293 section 3.10.7.4, first check)."""
        offset, window = distance(self.next, number), self.window
        if window == 0 or length == 0:
            return offset == 0 or 0 <= offset < window
        return 0 <= offset < window or 0 <= offset + length - 1 < window

    def insert(self, number: int, data: bytes, fin: bool) -> bool:
        """Store the part of a segment that is inside the window. Return True if it was the next segment in order."""
        offset = distance(self.next, number)
        if offset < 0:
            data, offset = data[-offset:], 0
        room = self.window - offset
        if len(data) > room:
            data, fin = data[: max(0, room)], False
        start = add(self.next, offset)
        if fin:
            self._fin = add(start, len(data))
        if data:
            self._store(start, data)
        before = self.next
        while self._early and distance(self.next, self._early[0][0]) <= 0:
            at, piece = self._early.pop(0)
            self.buffer += piece[distance(at, self.next) :]
            self.next = add(at, len(piece))
        if self._fin == self.next and not self.finished:
            self.finished = True
            self.next = add(self.next, 1)
        return self.next != before

    def _store(self, start: int, data: bytes) -> None:
        """Add data that arrived early. Where it overlaps with earlier data, the earlier bytes stay."""
        apart = []
        for at, piece in self._early:
            if distance(at, start) > len(piece) or distance(start, at) > len(data):
                apart.append((at, piece))
                continue
            first = start if distance(start, at) > 0 else at
            length = max(distance(first, start) + len(data), distance(first, at) + len(piece))
            merged = bytearray(length)
            for begin, content in ((start, data), (at, piece)):
                merged[distance(first, begin) : distance(first, begin) + len(content)] = content
            start, data = first, bytes(merged)
        apart.append((start, data))
        self._early = sorted(apart, key=lambda each: distance(self.next, each[0]))

    def read(self, count: int) -> bytes:
        """Remove up to `count` bytes from the buffer, and return them."""
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data
