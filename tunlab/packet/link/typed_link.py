"""The base of link headers that end with an EtherType or a length: Ethernet and VLAN tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import replace

from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Link
from tunlab.packet.tables import MAX_LENGTH, ethertype_name, ethertype_of, ethertype_reader
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error


class TypedLink(Link, frozen=True, gc=False):
    """A link header whose last two bytes are the field `type`."""

    DERIVED: ClassVar = frozenset({"type"})
    VIEWS: ClassVar = {"length": ("type",)}

    if TYPE_CHECKING:

        @property
        def type(self) -> int | None:
            """The EtherType of the next header, or up to 1500 the length of the content; None: computed."""

    @property
    def length(self) -> int | None:
        """Bytes of the content if `type` is a length; None if it is an EtherType."""
        return self.type if self.type is not None and self.type <= MAX_LENGTH else None

    @staticmethod
    def _reading(header: TypedLink, kind: int, body: int, end: int) -> Reading:
        if kind <= MAX_LENGTH:
            end = min(body + kind, end)
        return header, body, end, ethertype_reader(kind)

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with its type computed if it is None.

        Raises:
            MalformedError: If it cannot be computed.
        """
        if self.type is not None:
            return self
        return replace(self, type=ethertype_of(self.layer_name, inner, content))

    def content_end(self, start: int, limit: int) -> int:
        length = self.length
        return limit if length is None else start + self.header_length + length

    def findings(self, layer: Layer) -> list[Finding]:
        at, length = self.header_length - 2, self.length
        if length is not None and length > layer.limit - layer.body + layer.missing:
            rule, present = "the frame is cut short", layer.limit - layer.body
            return [layer.finding("type", FindingKind.TRUNCATED, at, rule, length, present, layer.length_from)]
        if self.type is not None and MAX_LENGTH < self.type < 0x600:
            rule = "1501 to 1535 are neither a length nor an EtherType (IEEE 802.3 clause 3.2.6)"
            return [layer.finding("type", FindingKind.VALUE, at, rule)]
        return []

    def field_text(self, name: str, value: object) -> str:
        if name == "type" and isinstance(value, int):
            return ethertype_name(value)
        return super().field_text(name, value)
