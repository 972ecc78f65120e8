"""A transport header that is cut short: the fields that are whole, the octets as they are.

ICMP errors quote at least eight octets behind the IP header (RFC 792): the ports and the sequence
number of a TCP segment, but not its header. Short captures and broken senders end anywhere.
"""

from __future__ import annotations

from typing import ClassVar

from tunlab.errors import MalformedError
from tunlab.packet.header import Header, Transport, to_bytes
from tunlab.packet.icmp import ICMP
from tunlab.packet.igmp import IGMP
from tunlab.packet.tcp import TCP
from tunlab.packet.udp import UDP

LAYERS: dict[int, type[Transport]] = {layer.PROTOCOL: layer for layer in (ICMP, IGMP, TCP, UDP)}
"""The transport headers by their protocol number."""


class TruncatedHeader(Header, frozen=True, gc=False):
    """The beginning of the header of `protocol`, one of ICMP, IGMP, TCP, UDP; `present` are its octets."""

    COERCE: ClassVar = {"present": to_bytes}
    VIEWS: ClassVar = ("src_port", "dst_port", "seq", "type", "code")

    protocol: int
    present: bytes

    def __post_init__(self) -> None:
        if self.protocol not in LAYERS:
            rule = f"there is no header known of that protocol; it is one of {', '.join(map(str, LAYERS))}"
            raise MalformedError(layer="TruncatedHeader", field="protocol", value=self.protocol, rule=rule)
        if type(self.present) is not bytes:
            self.normalize("present")

    @property
    def layer(self) -> type[Transport]:
        """The class of the whole header."""
        return LAYERS[self.protocol]

    @property
    def fields(self) -> dict[str, int]:
        """The numbers that are there in full, by name."""
        number, bits = int.from_bytes(self.present, "big"), len(self.present) * 8
        fields: dict[str, int] = {}
        for name, width in self.layer.LAYOUT:
            bits -= width
            if bits < 0:
                break
            fields[name] = number >> bits & (1 << width) - 1
        return fields

    @property
    def src_port(self) -> int | None:
        """None where it is not there, or the layer has none; so with the properties below."""
        return self.fields.get("src_port")

    @property
    def dst_port(self) -> int | None:
        return self.fields.get("dst_port")

    @property
    def seq(self) -> int | None:
        return self.fields.get("seq")

    @property
    def type(self) -> int | None:
        return self.fields.get("type")

    @property
    def code(self) -> int | None:
        return self.fields.get("code")

    def to_bytes(self) -> bytes:
        """The octets that are there."""
        return self.present
