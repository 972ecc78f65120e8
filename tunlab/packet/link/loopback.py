"""The header of packets captured on a BSD loopback interface: LINKTYPE_NULL and LINKTYPE_LOOP (tcpdump.org)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import TruncatedError
from tunlab.packet.findings import INPUT
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Link
from tunlab.packet.tables import ETHERTYPES, LINK_TYPES, not_implied, number_of
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LINKTYPE_NULL, LINKTYPE_LOOP = 0, 108

_FAMILIES = {2: 4, 10: 6, 24: 6, 28: 6, 30: 6}  # AF_INET; AF_INET6 of Linux, NetBSD, FreeBSD and macOS
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class Loopback(Link, frozen=True, gc=False):
    """A header of LINKTYPE_NULL or LINKTYPE_LOOP: the address family of the packet that follows.

    Attributes:
        family: AF_INET or AF_INET6 in network byte order; a little-endian machine writes the bytes in reverse order.
            None: computed.
    """

    LAYOUT: ClassVar = (("family", 32),)
    DERIVED: ClassVar = frozenset({"family"})

    family: int | None = None

    @property
    def version(self) -> int | None:
        """The IP version that the address family implies, in either byte order; None for other families."""
        if self.family is None:
            return None
        return _FAMILIES.get(self.family) or _FAMILIES.get(int.from_bytes(self.family.to_bytes(4, "little"), "big"))

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < 4:
            present = end - start
            raise TruncatedError(layer="Loopback", field="", offset=start, needed=4, present=present, length_from=INPUT)
        header = _loopback(int.from_bytes(data[start : start + 4], "big"))
        return header, start + 4, end, ETHERTYPES[_ETHERTYPES[header.version]] if header.version else None

    def to_bytes(self) -> bytes:
        try:
            return self.family.to_bytes(4, "big")  # type: ignore[union-attr]
        except (AttributeError, OverflowError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with its family computed if it is None.

        Raises:
            MalformedError: If it cannot be computed.
        """
        if self.family is not None:
            return self
        kind = number_of(ETHERTYPES, inner)
        family = next((number for number, each in _FAMILIES.items() if _ETHERTYPES[each] == kind), None)
        if family is None:
            raise not_implied("Loopback", "family", inner)
        return replace(self, family=family)

    def field_text(self, name: str, value: object) -> str:
        if not isinstance(value, int):
            return super().field_text(name, value)
        return f"{value:#010x}" + (f" (IPv{self.version})" if self.version else "")

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return text or f"Loopback, family {self.field_text('family', self.family)}, length {layer.size}"


_loopback = Loopback.unchecked()
LINK_TYPES[LINKTYPE_NULL] = Loopback.read
LINK_TYPES[LINKTYPE_LOOP] = Loopback.read
