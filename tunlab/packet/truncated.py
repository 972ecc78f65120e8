"""A truncated header: the fields that are completely present, and the bytes.

ICMP errors quote at least eight bytes behind the IP header (RFC 792): the ports and the sequence number of a TCP
segment, but not its whole header. Captures with a snap length end at any byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from tunlab.errors import MalformedError
from tunlab.packet.checksum import Checksum
from tunlab.packet.field import Field, count, number_fields
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Network
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

HeaderClass: TypeAlias = type[Header]
"""A header class; `type` itself is a property of the class below."""


class TruncatedHeader(Header, frozen=True, gc=False):
    """The first bytes of a header of the class `layer`, as `TruncatedHeader(TCP, data)`."""

    TAIL: ClassVar = "data"
    IS_LAST: ClassVar = True
    COERCE: ClassVar = {"data": to_bytes}
    VIEWS: ClassVar = dict.fromkeys(("src_port", "dst_port", "seq", "type", "code"), ("data",))

    layer: HeaderClass
    data: bytes

    def _check(self) -> None:
        if not (isinstance(self.layer, type) and issubclass(self.layer, Header) and self.layer.LAYOUT):
            rule = "not a header class. Give one with fixed fields, as TCP."
            raise MalformedError(layer="TruncatedHeader", field="layer", value=self.layer, rule=rule)
        super()._check()

    @property
    def values(self) -> dict[str, int]:
        """The values of the fields that are completely present, by field name."""
        return {field.name: field.value for field in number_fields(self.layer.LAYOUT, self.data, 0)}  # type: ignore[misc]

    @property
    def src_port(self) -> int | None:
        """The source port; None if it is missing or the protocol has no ports."""
        return self.values.get("src_port")

    @property
    def dst_port(self) -> int | None:
        """The destination port; None if it is missing or the protocol has no ports."""
        return self.values.get("dst_port")

    @property
    def seq(self) -> int | None:
        """The sequence number; None if it is missing or the protocol is not TCP."""
        return self.values.get("seq")

    @property
    def type(self) -> int | None:
        """The message type; None if it is missing or the protocol is not ICMP, ICMPv6 or IGMP."""
        return self.values.get("type")

    @property
    def code(self) -> int | None:
        """The message's code; None if it is missing or the protocol is not ICMP or ICMPv6."""
        return self.values.get("code")

    def to_bytes(self) -> bytes:
        """Return the bytes that are present."""
        return self.data

    @property
    def header_length(self) -> int:
        """The number of bytes that are present."""
        return len(self.data)

    @property
    def announced(self) -> HeaderClass:
        """The class `layer`, whose header is not complete."""
        return self.layer

    def checksum_verdict(self, layer: Layer) -> Checksum | None:
        """Return None: the bytes that the checksum covers are missing."""
        return None

    def findings(self, layer: Layer) -> list[Finding]:
        """Return the finding that the header is cut short, unless the capture or an IPv4 router cut it.

        An IPv4 router may leave 8 bytes in the first fragment (RFC 791 section 3.2). The first fragment of IPv6 has all
        headers (RFC 8200 section 4.5).
        """
        if self.data and layer.outer and isinstance(layer.outer[-1], Network) and layer.outer[-1].is_fragment:
            return []
        least = sum(bits for _, bits in self.layer.LAYOUT) // 8
        if least <= layer.present + layer.missing:
            return []  # the sender sent it, and the capture left it out
        rule = "the header is cut short"
        return [layer.finding("header", FindingKind.TRUNCATED, 0, rule, least, layer.present, layer.length_from)]

    @property
    def layer_name(self) -> str:
        """The name of the protocol, as "TCP"."""
        return self.layer.__name__

    @property
    def title(self) -> str:
        """The header in a few words: "truncated, 5 bytes"."""
        return f"truncated, {count(len(self.data), 'byte')}"

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port, if both are present."""
        values = self.values
        return (values["src_port"], values["dst_port"]) if "src_port" in values and "dst_port" in values else None

    def to_dict(self) -> dict[str, object]:
        """Return the complete fields, and the bytes in hexadecimal as "truncated"."""
        return {**self.values, "truncated": self.data.hex()}

    def fields(self) -> list[Field]:
        """Return the complete fields, then the part of the next field that is present."""
        found = number_fields(self.layer.LAYOUT, self.data, 0)
        for at, field in enumerate(found):
            if field.name == "checksum":
                found[at] = field._replace(text=f"{field.value:#06x}")
        bits = sum(field.bits for field in found)
        left = len(self.data) * 8 - bits
        if left:
            names = [name for name, _ in self.layer.LAYOUT]
            text = f"{count(left, 'bit')} of {names[len(found)]}" if len(found) < len(names) else count(left, "bit")
            found.append(Field("rest", self.data[bits // 8 :], text, bits, left))
        return found

    def listing(self, layer: Layer, *, verbose: bool) -> list[str]:
        """Return a line for each complete field."""
        if not verbose:
            return []
        lines = [f"  {name.replace('_', ' ').title()}: {value}" for name, value in self.values.items()]
        return [f"{self.layer_name} (cut short):", *lines]

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        """Return the protocol and the complete fields."""
        return ", ".join((self.layer_name, *(f"{name} {value}" for name, value in self.values.items())))


def truncated(layer: type[Header], data: bytes, start: int, end: int) -> Reading:
    """Return a `TruncatedHeader` of `layer` in the form in which `Header.read` returns headers."""
    return TruncatedHeader.unchecked()(layer, data[start:end]), end, end, None
