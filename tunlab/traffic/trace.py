"""A datagram that crossed a device, and what is known of it: where it came from, what became of it."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Literal

from msgspec import Struct

from tunlab.packet import Packet, summary

DECISIVE_COMMENTS = ("the nearest to what was wanted", "not wanted", "not expected", "as wanted, but too late")
"""Comments on the packets by which a test failed: who looks at a recording should see these first."""

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")  # noqa: PTH118, PTH120, PTH100


class TraceEntry(Struct):
    """A datagram that crossed the TUN.

    direction   "in": injected, received by the kernel; "out": sent by the kernel, read here
    time_ns     nanoseconds since the epoch, taken when it was written or read
    packet      None where the octets begin with no IPv4 header
    comment     where it came from and what became of it: "injected at test_x.py:42", "matched expectation 3 at …",
                "passed over at …", "fence"; "" while it waits to be read. DECISIVE_COMMENTS mark the packets by
                which a test failed; the nearest one's is followed by its differences
    consumed    whether an expectation met it, or it was captured or read; what crossed inwards always is
    """

    direction: Literal["in", "out"]
    time_ns: int
    octets: bytes
    packet: Packet | None
    comment: str = ""
    consumed: bool = False

    def note(self, comment: str, *, consumed: bool) -> None:
        """Say what became of it, behind what is said already."""
        self.comment = f"{self.comment}; {comment}" if self.comment else comment
        self.consumed = consumed

    def __str__(self) -> str:
        return summary(self.packet or self.octets)


def caller_location() -> str:
    """Where the code stands that called this package: "test_x.py:42", of the nearest frame outside it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "an unknown place"
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"  # noqa: PTH119  # a third of Path's time
