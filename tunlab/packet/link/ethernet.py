"""The Ethernet header: Ethernet II and IEEE 802.3."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from msgspec import UNSET

from tunlab.errors import TruncatedError
from tunlab.packet.address import MACAddressLike, mac_address, mac_bytes, mac_text
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Layer, Reading
from tunlab.packet.link.typed_link import TypedLink
from tunlab.packet.tables import ETHERTYPES, LINK_TYPES, ethertype_name
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 14
MIN_FRAME = 60
"""Bytes of the shortest frame on a wire, without its frame check sequence; senders pad shorter ones."""
LINKTYPE_ETHERNET = 1
TRANSPARENT_ETHERNET_BRIDGING = 0x6558

_PACKED = struct.Struct("!6s6sH")
_unpack = _PACKED.unpack_from


class Ethernet(TypedLink, frozen=True, gc=False):
    """An Ethernet header, without preamble and frame check sequence.

    Attributes:
        dst: Given as text ("02:00:00:00:00:01") or six bytes, held as text.
        type: The EtherType of the next header; up to 1500 the length of the content, which then begins with LLC (IEEE
            802.3 clause 3.2.6). None: computed.
    """

    LAYOUT: ClassVar = (("dst", 48), ("src", 48), ("type", 16))
    COERCE: ClassVar = {"dst": mac_address, "src": mac_address}
    LENGTH_FROM: ClassVar = "Ethernet.type"

    dst: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword
    src: str = UNSET  # type: ignore[assignment]
    type: int | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            dst: MACAddressLike,
            src: MACAddressLike,
            type: int | None = None,  # noqa: A002
        ) -> None: ...

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            present = end - start
            raise TruncatedError(
                layer="Ethernet", field="", offset=start, needed=LENGTH, present=present, length_from=INPUT
            )
        dst, src, kind = _unpack(data, start)
        return cls._reading(_ethernet(mac_text(dst), mac_text(src), kind), kind, start + LENGTH, end)

    def to_bytes(self) -> bytes:
        try:
            return _PACKED.pack(mac_bytes(self.dst), mac_bytes(self.src), self.type)
        except struct.error:
            raise self.field_error() from None

    def findings(self, layer: Layer) -> list[Finding]:
        found = super().findings(layer)
        if layer.data[layer.start + 6] & 1:
            rule = "a group address cannot be the source (IEEE 802.3 clause 3.2.3)"
            found.insert(0, layer.finding("src", FindingKind.ADDRESS, 6, rule))
        return found

    @property
    def title(self) -> str:
        return f"{self.src} → {self.dst}"

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return text or f"{self.src} > {self.dst}, {ethertype_name(self.type)}, length {layer.size}"


_ethernet = Ethernet.unchecked()
LINK_TYPES[LINKTYPE_ETHERNET] = Ethernet.read
ETHERTYPES[TRANSPARENT_ETHERNET_BRIDGING] = Ethernet.read
