"""Annotations: what the test did with a packet. A pcapng recording stores them beside the packet for the HTML page."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from tunlab.recorder import RecordedPacket
from tunlab.traffic.trace import FieldDifference, TraceEntry


class Annotation(Struct, frozen=True, omit_defaults=True):
    """An annotation of a recorded packet: what the test did with it.

    Attributes:
        note: Origin and use of the packet, without the differences: "skipped at test_x.py:8; closest match".
        decisive: True if the test failed because of this packet.
        consumed: True if the test injected, matched, captured or read the packet.
        differences: Fields that differ from the expectation.
    """

    note: str = ""
    decisive: bool = False
    consumed: bool = False
    differences: tuple[FieldDifference, ...] = ()

    @property
    def comment(self) -> str:
        """The note and the differences in one line. Wireshark shows it as the packet comment."""
        return "; ".join(filter(None, [self.note, *map(str, self.differences)]))

    def to_json(self) -> str:
        """Return the annotation as JSON, for a custom option of the packet in a pcapng file."""
        return msgspec.json.encode(self).decode()


def from_entry(entry: TraceEntry) -> Annotation:
    """Return the annotation for a packet in the record of a Tun."""
    note = "; ".join(entry.notes) or ("not read by the test" if entry.direction == "out" else "")
    return Annotation(note, entry.decisive, entry.consumed, entry.differences)


def from_recording(packet: RecordedPacket) -> Annotation:
    """Return the annotation of a recorded packet. Without a valid one, the packet's comment becomes the note."""
    try:
        return msgspec.json.decode(packet.annotation, type=Annotation)
    except msgspec.MsgspecError:
        return Annotation(packet.comment)
