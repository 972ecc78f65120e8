"""The SNAP header: IEEE 802 clause 10, and RFC 1042 for IP."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import TruncatedError
from tunlab.packet.findings import INPUT
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Link
from tunlab.packet.tables import ETHERTYPES, LLC_PAYLOADS, MAX_LENGTH, ethertype_name, ethertype_of
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 5
SERVICE_ACCESS_POINT = 0xAA

_PACKED = struct.Struct("!BHH")


class SNAP(Link, frozen=True, gc=False):
    """A SNAP header. It follows an LLC header.

    Attributes:
        oui: The organization that defines `type`; 0: `type` is an EtherType.
        type: The protocol of the content; None: computed from the next header.
    """

    LAYOUT: ClassVar = (("oui", 24), ("type", 16))
    DERIVED: ClassVar = frozenset({"type"})

    oui: int = 0
    type: int | None = None

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            present = end - start
            raise TruncatedError(
                layer="SNAP", field="", offset=start, needed=LENGTH, present=present, length_from=INPUT
            )
        high, low, kind = _PACKED.unpack_from(data, start)
        oui = high << 16 | low
        following = ETHERTYPES.get(kind) if not oui and kind > MAX_LENGTH else None
        return _snap(oui, kind), start + LENGTH, end, following

    def to_bytes(self) -> bytes:
        try:
            return _PACKED.pack(self.oui >> 16, self.oui & 0xFFFF, self.type)
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with its type computed if it is None.

        Raises:
            MalformedError: If it cannot be computed.
        """
        return self if self.type is not None else replace(self, type=ethertype_of("SNAP", inner, content))

    @property
    def title(self) -> str:
        return self.field_text("type", self.type)

    def field_text(self, name: str, value: object) -> str:
        if name == "oui" and isinstance(value, int):
            return value.to_bytes(3, "big").hex(":")
        if name == "type" and isinstance(value, int):
            return f"{value:#06x}" if self.oui or value <= MAX_LENGTH else ethertype_name(value)
        return super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return text or f"SNAP, oui {self.field_text('oui', self.oui)}, type {self.title}, length {layer.size}"


_snap = SNAP.unchecked()
LLC_PAYLOADS[SERVICE_ACCESS_POINT] = SNAP.read
