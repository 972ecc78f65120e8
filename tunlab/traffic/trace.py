"""The trace of a TUN: the packets that crossed it, where each came from, and how the test used it."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Literal

from msgspec import Struct

from tunlab.packet import Packet, summary

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")  # noqa: PTH118, PTH120, PTH100


class FieldDifference(Struct, frozen=True):
    """A field that differs from the expected value, as text for reports and recordings.

    Attributes:
        field: Layer and field: "TCP.flags"; "TCP" if the layer is missing.
        wanted: The expected value.
        got: The actual value.
        byte_ranges: First and last byte of each part that differs, counted from the start of the field; empty
            unless bytes were compared.
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
        time_ns: Nanoseconds since the epoch, taken when the packet was written or read.
        data: The bytes of the packet.
        packet: The parsed packet; None if the bytes are not IPv4.
        notes: Origin and use: "injected at test_x.py:42", "matched expectation 3 at …", "skipped at …", "fence".
        consumed: True if it was injected, matched an expectation, or was captured or read.
        decisive: True if a test failed because of this packet.
        differences: Fields that differ from the expectation; set on the closest match of a failed expectation.
    """

    direction: Literal["in", "out"]
    time_ns: int
    data: bytes
    packet: Packet | None
    notes: list[str] = []
    consumed: bool = False
    decisive: bool = False
    differences: tuple[FieldDifference, ...] = ()

    @property
    def comment(self) -> str:
        """Notes and differences in one line, for a packet comment in Wireshark; "" for a packet not yet used."""
        return "; ".join([*self.notes, *map(str, self.differences)])

    def consume(self, note: str) -> None:
        """Add a note, and mark the packet as consumed."""
        self.notes.append(note)
        self.consumed = True

    def blame(self, note: str, differences: tuple[FieldDifference, ...] = ()) -> None:
        """Add a note, and mark the packet as the one by which the test failed."""
        self.notes.append(note)
        self.decisive, self.differences = True, differences

    def __str__(self) -> str:
        return summary(self.packet or self.data)


def caller_location() -> str:
    """Return file and line of the nearest caller outside tunlab: "test_x.py:42"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "an unknown location"
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"  # noqa: PTH119  # three times as fast as Path
