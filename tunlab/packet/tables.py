"""The tables of protocols by their numbers, in which each protocol registers its reader.

A reader is the `read` of a header class, as `IP_PAYLOADS[6] = TCP.read`.
"""

from __future__ import annotations

from tunlab.errors import MalformedError
from tunlab.packet.header import Header, Reader, layer_of
from tunlab.packet.kinds import Link
from tunlab.packet.truncated import TruncatedHeader

LINK_TYPES: dict[int, Reader | None] = {101: None, 12: None}
"""Readers of the first header by the link type of a capture (LINKTYPE_ numbers of tcpdump.org). None: IP."""

IP_VERSIONS: dict[int, Reader] = {}
"""Readers by the IP version, the first four bits of a packet."""

ETHERTYPES: dict[int, Reader] = {}
"""Readers by the EtherType of an Ethernet frame, a VLAN tag or a GRE header (IEEE 802 Numbers of IANA)."""

LENGTH = 0
"""The key of ETHERTYPES for all lengths, the numbers up to MAX_LENGTH: a frame of IEEE 802.3, in which LLC follows."""

MAX_LENGTH = 1500
"""The highest number in a type field that is a length (IEEE 802.3 clause 3.2.6)."""

LLC_PAYLOADS: dict[int, Reader] = {}
"""Readers by the service access points of LLC (IEEE 802 Numbers of IANA)."""

IP_PAYLOADS: dict[int, Reader] = {}
"""Readers by the protocol field of IPv4 and the next header field of IPv6 (Protocol Numbers of IANA)."""

IPV6_EXTENSIONS: dict[int, Reader] = {}
"""Readers by the next header field, for extension headers and protocols that follow IPv6 only."""

ICMPV6_MESSAGES: dict[int, Reader] = {}
"""Readers of ICMPv6 messages by their type (ICMPv6 "type" Numbers of IANA)."""

NO_NEXT_HEADER = 59
"""The next header field if nothing follows (RFC 8200 section 4.7)."""


def next_reader(number: int) -> Reader | None:
    """Return the reader for the number in a next header field of IPv6; None if none is registered."""
    return IP_PAYLOADS.get(number) or IPV6_EXTENSIONS.get(number)


def next_header_of(layer: str, inner: Header | None, content: bytes) -> int:
    """Return the next header field for the header before `inner`; if that is None, for the one before `content`.

    Raises:
        MalformedError: If it cannot be computed.
    """
    if inner is None and not content:
        return NO_NEXT_HEADER
    number = number_of({**IP_PAYLOADS, **IPV6_EXTENSIONS}, inner)
    if number is None:
        raise not_implied(layer, "next_header", inner)
    return number


def next_header_name(number: int | None) -> str:
    """Return the name of a protocol or extension header by its number, or "Other (89)"."""
    return "nothing" if number == NO_NEXT_HEADER else payload_name({**IP_PAYLOADS, **IPV6_EXTENSIONS}, number)


def ethertype_reader(number: int) -> Reader | None:
    """Return the reader of the content behind a type field with this number."""
    return ETHERTYPES.get(number if number > MAX_LENGTH else LENGTH)


def ethertype_of(layer: str, inner: Header | None, content: bytes, field: str = "type") -> int:
    """Return the type field for the link header before `inner`.

    Args:
        content: The bytes of `inner` and of what follows it.

    Raises:
        MalformedError: If it cannot be computed.
    """
    number = inner.ethertype(content) if isinstance(inner, Link) else None
    number = number_of(ETHERTYPES, inner) if number is None else number
    if number is None:
        raise not_implied(layer, field, inner)
    return number


def not_implied(layer: str, field: str, inner: Header | None) -> MalformedError:
    """Return the error about a field that was not given, and that the header `inner` does not imply."""
    reason = "no header follows that implies it" if inner is None else f"it has no number for {inner.layer_name}"
    return MalformedError(layer=layer, field=field, value=None, rule=f"{reason}. Give `{field}`.")


def ethertype_name(number: int | None) -> str:
    """Return a type field as text: "IPv4 (0x0800)", "0x88b5", "length 38"."""
    if number is None or number <= MAX_LENGTH:
        return f"length {number}"
    reader = ETHERTYPES.get(number)
    return f"{number:#06x}" if reader is None else f"{layer_of(reader).__name__} ({number:#06x})"


def number_of(table: dict[int, Reader], header: Header | None) -> int | None:
    """Return the number under which `table` has the class of `header`; None if it does not have it."""
    kind = header.layer if isinstance(header, TruncatedHeader) else type(header)
    return next((number for number, each in table.items() if issubclass(kind, layer_of(each))), None)


def payload_name(table: dict[int, Reader], number: int | None) -> str:
    """Return the name of the protocol registered under `number`, or "Other (89)"."""
    reader = table.get(-1 if number is None else number)
    return f"Other ({number})" if reader is None else layer_of(reader).__name__
