"""The trace of a TUN: the packets that crossed it, where each came from, and how the test used it."""

from __future__ import annotations

import os
import sys
from collections import deque
from types import FrameType
from typing import Literal

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.packet import Packet, parse, summary

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")  # noqa: PTH118, PTH120, PTH100


class FieldDifference(Struct, frozen=True):
    """A field that differs from the expected value, as text for reports and recordings.

    Attributes:
        field: Layer and field: "TCP.flags"; "TCP" if the layer is missing.
        wanted: The expected value.
        got: The actual value.
        byte_ranges: First and last byte of each part that differs, counted from the start of the field. Empty if
            the field does not hold bytes.
    """

    field: str
    wanted: str
    got: str
    byte_ranges: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.field}: wanted {self.wanted}, got {self.got}"


class TraceEntry(Struct):
    """A packet that crossed the TUN.

    Attributes:
        direction: "in" if it was injected, "out" if the kernel sent it.
        time_ns: Nanoseconds of `clock`: when the packet was written, or sent by the other side.
        data: The bytes of the packet.
        link_type: The link type of `data`, as for `parse`; None for an IP packet.
        notes: Origin and use: "injected at test_x.py:42", "matched expectation 3 at …", "skipped at …", "fence".
        consumed: True if it was injected, matched an expectation, or was captured or read.
        decisive: True if a test failed because of this packet.
        routine: True for an MLD report, and for a question that a `Tap` answered. Only expectations that name them see
            them.
        clock: Name of the clock: "realtime" (since the epoch) or "virtual".
        differences: Fields that differ from the expectation; set on the closest match of a failed expectation.
    """

    direction: Literal["in", "out"]
    time_ns: int
    data: bytes
    notes: list[str] = []
    consumed: bool = False
    decisive: bool = False
    differences: tuple[FieldDifference, ...] = ()
    link_type: int | None = None
    routine: bool = False
    clock: str = "realtime"

    @property
    def packet(self) -> Packet | None:
        """The parsed packet with its time, or None if the bytes are not a packet. Each access parses again."""
        try:
            return parse(self.data, self.link_type, time=self.time_ns, clock=self.clock)
        except PacketError:
            return None

    def to_packet(self) -> Packet:
        """Return the packet, or a Packet without headers whose payload is the bytes that cannot be read."""
        return self.packet or Packet((), self.data, time=self.time_ns, clock=self.clock)

    @property
    def comment(self) -> str:
        """One line of notes and differences, the packet comment in Wireshark; "" for a packet not yet used."""
        return "; ".join([*self.notes, *map(str, self.differences)])

    def consume(self, note: str) -> None:
        """Add a note, and mark the packet as consumed."""
        self.notes.append(note)
        self.consumed = True

    def blame(self, note: str, differences: tuple[FieldDifference, ...] = ()) -> None:
        """Add a note and the differences, and mark the packet as the one that made the test fail."""
        self.notes.append(note)
        self.decisive, self.differences = True, differences

    def __str__(self) -> str:
        return summary(self.data, link_type=self.link_type)


class PacketRecord(deque[TraceEntry]):
    """The latest packets: at most 100,000, and at most 64 MiB of their data."""

    MAX_PACKETS = 100_000
    MAX_BYTES = 1 << 26

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def append(self, entry: TraceEntry) -> None:
        """Add a packet, and drop the oldest packets beyond the limits."""
        if not self:
            self._size = 0
        super().append(entry)
        self._size += len(entry.data)
        while len(self) > self.MAX_PACKETS or self._size > self.MAX_BYTES:
            self._size -= len(self.popleft().data)


def caller_location() -> str:
    """Return file and line of the nearest caller outside tunlab: "test_x.py:42"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "an unknown location"
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"  # noqa: PTH119  # three times as fast as Path
