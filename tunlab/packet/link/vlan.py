"""The VLAN tag: IEEE 802.1Q clause 9, also as the service tag of 802.1ad (QinQ)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar

from tunlab.errors import TruncatedError
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Layer, Reading, layer_of
from tunlab.packet.link.typed_link import TypedLink
from tunlab.packet.tables import ETHERTYPES, ethertype_name
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 4
C_TAG, S_TAG, OLD_S_TAG = 0x8100, 0x88A8, 0x9100
"""EtherTypes before a tag: customer, service (802.1ad), and the one in use before 802.1ad."""

_PACKED = struct.Struct("!HH")
_unpack = _PACKED.unpack_from


class VLAN(TypedLink, frozen=True, gc=False):
    """A VLAN tag. The header before it has the type 0x8100 for a customer tag, 0x88a8 for a service tag.

    Attributes:
        pcp: The priority code point.
        dei: 1 if the frame may be dropped first (drop eligible indicator).
        vid: The VLAN identifier; 0 for a frame that has a priority only.
        type: The EtherType of the next header; up to 1500 the length of the content, which then begins with LLC. None:
            computed.
    """

    LAYOUT: ClassVar = (("pcp", 3), ("dei", 1), ("vid", 12), ("type", 16))
    LENGTH_FROM: ClassVar = "VLAN.type"

    pcp: int = 0
    dei: int = 0
    vid: int = 0
    type: int | None = None

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            present = end - start
            raise TruncatedError(
                layer="VLAN", field="", offset=start, needed=LENGTH, present=present, length_from=INPUT
            )
        tag, kind = _unpack(data, start)
        return cls._reading(_vlan(tag >> 13, tag >> 12 & 1, tag & 0xFFF, kind), kind, start + LENGTH, end)

    def to_bytes(self) -> bytes:
        pcp, dei, vid = self.pcp, self.dei, self.vid
        try:
            if pcp >> 3 or dei >> 1 or vid >> 12:
                raise self.field_error()
            return _PACKED.pack(pcp << 13 | dei << 12 | vid, self.type)
        except (struct.error, TypeError):
            raise self.field_error() from None

    def ethertype(self, content: bytes) -> int | None:
        """Return the EtherType of this tag for the header before it: a service tag if another tag follows."""
        reader = ETHERTYPES.get(-1 if self.type is None else self.type)
        return S_TAG if reader is not None and layer_of(reader) is VLAN else C_TAG

    def findings(self, layer: Layer) -> list[Finding]:
        found = super().findings(layer)
        if self.vid == 0xFFF:
            rule = "4095 is reserved (IEEE 802.1Q table 9-2)"
            found.insert(0, layer.finding("vid", FindingKind.RESERVED, 0, rule))
        return found

    @property
    def title(self) -> str:
        return f"{self.vid}, priority {self.pcp}"

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        priority = f", p {self.pcp}" if self.pcp else ""
        return f"vlan {self.vid}{priority}, {text or f'{ethertype_name(self.type)}, length {layer.size}'}"


_vlan = VLAN.unchecked()
ETHERTYPES[C_TAG] = VLAN.read
ETHERTYPES[S_TAG] = VLAN.read
ETHERTYPES[OLD_S_TAG] = VLAN.read
