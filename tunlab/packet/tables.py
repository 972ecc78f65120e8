"""The tables of protocols by their numbers, in which each protocol registers its reader.

A reader is the `read` of a header class, as `IP_PAYLOADS[6] = TCP.read`.
"""

from __future__ import annotations

from tunlab.packet.header import Header, Reader, layer_of
from tunlab.packet.truncated import TruncatedHeader

LINK_TYPES: dict[int, Reader | None] = {101: None}
"""Readers of the first header by the link type of a capture (LINKTYPE_ numbers of tcpdump.org). None: IP."""

IP_VERSIONS: dict[int, Reader] = {}
"""Readers by the IP version, the first four bits of a packet."""

ETHERTYPES: dict[int, Reader] = {}
"""Readers by the EtherType of an Ethernet frame, a VLAN tag or a GRE header (IEEE 802 Numbers of IANA)."""

IP_PAYLOADS: dict[int, Reader] = {}
"""Readers by the protocol field of IPv4 and the next header field of IPv6 (Protocol Numbers of IANA)."""


def number_of(table: dict[int, Reader], header: Header | None) -> int | None:
    """Return the number under which the class of `header` is registered; None if it is not."""
    kind = header.layer if isinstance(header, TruncatedHeader) else type(header)
    return next((number for number, each in table.items() if layer_of(each) is kind), None)


def payload_name(table: dict[int, Reader], number: int | None) -> str:
    """Return the name of the protocol registered under `number`, or "Other (89)"."""
    reader = table.get(-1 if number is None else number)
    return f"Other ({number})" if reader is None else layer_of(reader).__name__
