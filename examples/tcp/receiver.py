"""The receiving half of a connection: reassembly and the window that is offered."""

from examples.tcp.sequence import add, distance


class Receiver:
    """Bytes that arrived, in order for the application and early ones for later.

    Attributes:
        next: The next sequence number expected (RCV.NXT).
        scale: The shift of the windows that we offer (RFC 7323 section 2).
        buffer: Bytes in order that the application has not read.
        finished: True once the peer's FIN has arrived and everything before it.
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
        """Expect `number` first: the peer's initial sequence number plus one for its SYN."""
        self.next = self._edge = number

    @property
    def window(self) -> int:
        """The bytes from `next` on that the peer may send (RCV.WND): what the last segment offered."""
        return max(0, distance(self.next, self._edge))

    def offer(self, segment_size: int, scaled: bool = True) -> int:
        """Move the window's right edge if that helps, and return the header's window field.

        The edge never moves left, and moves right by a full segment or half of the buffer at least, so that the peer is
        not led to send tiny segments (RFC 9293 section 3.8.6.2.2).
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
        """Return True if a window update is worth a segment."""
        return self._capacity - len(self.buffer) - self.window >= min(segment_size, self._capacity // 2)

    def accepts(self, number: int, length: int) -> bool:
        """Return True if a segment of this length is inside the window (RFC 9293 section 3.10.7.4, first check)."""
        offset, window = distance(self.next, number), self.window
        if window == 0 or length == 0:
            return offset == 0 or 0 <= offset < window
        return 0 <= offset < window or 0 <= offset + length - 1 < window

    def insert(self, number: int, data: bytes, fin: bool) -> bool:
        """Take the part of a segment that is inside the window; return True if it was the next one in order."""
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
        """Merge data with what arrived early. Where both have a byte, the first that arrived stays."""
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
        """Return and remove up to `count` bytes in order."""
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data
