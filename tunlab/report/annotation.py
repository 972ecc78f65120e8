"""Annotations: what the test did with a recorded packet, kept as data in the recording for the HTML page."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from tunlab.recorder import RecordedPacket
from tunlab.traffic.trace import FieldDifference, TraceEntry


class Annotation(Struct, frozen=True, omit_defaults=True):
    """Notes on a packet.

    Attributes:
        note: Origin and use of the packet, without the differences: "skipped at test_x.py:8; closest match".
        decisive: True if the test failed because of this packet.
        consumed: True if the test injected, matched, captured or read it.
        differences: Fields that differ from the expectation.
    """

    note: str = ""
    decisive: bool = False
    consumed: bool = False
    differences: tuple[FieldDifference, ...] = ()

    @property
    def comment(self) -> str:
        """Note and differences in one line, for the packet comment that Wireshark shows."""
        return "; ".join(filter(None, [self.note, *map(str, self.differences)]))

    def to_json(self) -> str:
        """Return the text for the custom option of the recorded packet."""
        return msgspec.json.encode(self).decode()


def from_entry(entry: TraceEntry) -> Annotation:
    """Return the annotation of a packet that a Tun has seen."""
    note = "; ".join(entry.notes) or ("not read by the test" if entry.direction == "out" else "")
    return Annotation(note, entry.decisive, entry.consumed, entry.differences)


def from_recording(packet: RecordedPacket) -> Annotation:
    """Return the annotation of a recorded packet. If it has none or an invalid one, its comment becomes the note."""
    try:
        return msgspec.json.decode(packet.annotation, type=Annotation)
    except msgspec.MsgspecError:
        return Annotation(packet.comment)
