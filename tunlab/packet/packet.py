"""The packet: its headers, payload and trailer; parsing and building.

Three laws, held by property tests:

1. `build(parse(data)) == data` for all bytes that parse: parsing keeps every bit.
2. `parse(build(packet)) == complete(packet)`, unless a forced field contradicts the headers, or the payload is itself
   the body of a registered protocol; then `parse(build(packet))` still builds to the same bytes. Only derived fields
   may be None, which means that they are computed.
3. `findings(build(packet)) == []` if nothing was forced.

`parse` raises only if the first header cannot be read. After an unreadable inner header it keeps the headers before it
and leaves the rest as payload; `findings` reports what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, SupportsBytes, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tunlab.errors import PacketError
from tunlab.packet.address import ADDRESS_TEXTS
from tunlab.packet.header import Header
from tunlab.packet.kinds import Link, Network, Transport
from tunlab.packet.layers import MAX_HEADERS, first_header
from tunlab.packet.link.arp import ARP
from tunlab.packet.link.ethernet import MIN_FRAME, Ethernet
from tunlab.packet.network.ipv4 import FIRST_WORD, FRAGMENT, IPv4, new_ipv4, unpack_ipv4
from tunlab.packet.tables import IP_PAYLOADS, LINK_TYPES
from tunlab.packet.transport.icmp import ICMP
from tunlab.packet.transport.icmpv6 import ICMPv6
from tunlab.packet.transport.igmp import IGMP
from tunlab.packet.transport.tcp import TCP
from tunlab.packet.transport.udp import UDP
from tunlab.packet.truncated import TruncatedHeader
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

PacketPart: TypeAlias = Header | bytes | bytearray | memoryview | SupportsBytes
"""A part of a packet: a header, or payload as bytes or anything with `__bytes__`."""

H = TypeVar("H", bound=Header)


class Packet(Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """Headers, the outermost first, with payload and trailer.

    Attributes:
        headers: Empty if the bytes are not a packet: `payload` then has all of them.
        payload: The bytes behind the last header, up to the end that the length fields give.
        trailer: The bytes behind the end of the payload, as the padding of short Ethernet frames.
        missing: The number of bytes that were on the wire, but that the capture or the ICMP error left out.
        time: When the packet was received, in nanoseconds of `clock`; None if it was not received. Packets that differ
            in time alone are equal.
        clock: The clock of `time`: "realtime" (since the epoch), "monotonic" or the name of a virtual clock.
    """

    headers: tuple[Header, ...]
    payload: bytes = b""
    trailer: bytes = b""
    missing: int = 0
    time: int | None = None
    clock: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packet):
            return NotImplemented
        return (
            self.payload == other.payload
            and self.headers == other.headers
            and self.trailer == other.trailer
            and self.missing == other.missing
        )

    def __ne__(self, other: object) -> bool:
        return not self == other  # Struct has a `__ne__` of its own, which compares identities here

    def __hash__(self) -> int:
        return hash((self.headers, self.payload, self.trailer, self.missing))

    def replace(self, **fields: Any) -> Packet:
        """Return a copy with these attributes changed."""
        return replace(self, **fields)

    @classmethod
    def of(cls, *parts: PacketPart) -> Packet:
        """Return the packet of these headers and payload; several payload parts are joined.

        Raises:
            PacketError: If the parts are not in the order of a packet, or the payload is not bytes.
        """
        headers = tuple([part for part in parts if isinstance(part, Header)])
        if any(isinstance(part, Header) for part in parts[len(headers) :]):
            raise PacketError("a header follows bytes. Give the headers first, then the payload.")
        check_headers(headers)
        return cls(headers, b"".join([to_bytes(part, "payload") for part in parts[len(headers) :]]))

    def get(self, layer: type[H], nth: int = 0) -> H | None:
        """Return the header of this class, the `nth` from the outermost on; None if there is none."""
        for header in self.headers:
            if isinstance(header, layer):
                if nth == 0:
                    return header
                nth -= 1
        return None

    def __getitem__(self, layer: type[H]) -> H:
        """Return the outermost header of this class.

        Raises:
            PacketError: If the packet has none.
        """
        header = self.get(layer)
        if header is None:
            raise self._no_header(layer.__name__)
        return header

    def __contains__(self, layer: object) -> bool:
        return isinstance(layer, type) and any(isinstance(header, layer) for header in self.headers)

    def __iter__(self) -> Iterator[Header]:
        return iter(self.headers)

    def _no_header(self, name: str) -> PacketError:
        names = ", ".join(type(each).__name__ for each in self.headers) or "none"
        return PacketError(f"the packet has no {name} header; it has {names}")

    @property
    def ethernet(self) -> Ethernet:
        """The outermost Ethernet header."""
        return self[Ethernet]

    @property
    def arp(self) -> ARP:
        """The ARP packet."""
        return self[ARP]

    @property
    def ip(self) -> IPv4:
        """The innermost IP header."""
        for header in reversed(self.headers):
            if isinstance(header, Network):
                return header  # type: ignore[return-value]
        raise self._no_header("IP")

    @property
    def tcp(self) -> TCP:
        """The TCP header."""
        return self[TCP]

    @property
    def udp(self) -> UDP:
        """The UDP header."""
        return self[UDP]

    @property
    def icmp(self) -> ICMP:
        """The ICMP header."""
        return self[ICMP]

    @property
    def icmpv6(self) -> ICMPv6:
        """The ICMPv6 message."""
        return self[ICMPv6]

    @property
    def igmp(self) -> IGMP:
        """The IGMP message."""
        return self[IGMP]

    @property
    def transport(self) -> Header | None:
        """The header that the innermost IP header carries, a `TruncatedHeader` if it is cut short.

        None for a later fragment or a protocol that is not known.
        """
        last = self.headers[-1] if self.headers else None
        return last if isinstance(last, (Transport, TruncatedHeader)) else None

    @property
    def unread_header(self) -> type[Header] | None:
        """The class of the header that the last readable one announces, but that could not be read; None if all could.

        Such a header is cut short or malformed, is in the first fragment, or lies behind the end of the packet. Header
        itself stands for a header of any class, in a packet of which none could be read.
        """
        return self.headers[-1].announced if self.headers else Header

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port of TCP or UDP, also if the header is cut short; None for others."""
        return self.headers[-1].ports if self.headers else None

    @property
    def quoted(self) -> Packet:
        """The packet that an ICMP or ICMPv6 error quotes, usually cut short.

        Its `missing` counts the bytes that the error left out, so `findings` does not report them, as it does for the
        bytes alone: `findings(parse(data))`. For quoted bytes of another source give `parse` the `wire_length`.

        Raises:
            PacketError: If the packet is not an ICMP error, or quotes no packet.
        """
        header = self.headers[-1] if self.headers else None
        if not isinstance(header, Transport):
            raise self._no_header("ICMP")
        data = header.quoted(self.payload)
        try:
            packet = parse(data)
        except PacketError:
            network = type(self.ip).read  # ICMPv6 quotes IPv6: the error names the header that was expected
            packet = parse(data, next(number for number, each in LINK_TYPES.items() if each == network))
        missing = packet.headers[0].content_end(0, len(data)) - len(data)
        return packet.replace(missing=missing) if missing > 0 else packet

    def padded(self, size: int = MIN_FRAME) -> Packet:
        """Return the packet padded with zeros to `size` bytes, by default to the shortest Ethernet frame."""
        return self.replace(trailer=self.trailer + bytes(max(size - len(build(self)), 0)))

    def __bytes__(self) -> bytes:
        return build(self)


def check_headers(headers: tuple[Header, ...]) -> None:
    """Raise PacketError if the headers are not in the order of a packet."""
    if not headers or not isinstance(headers[0], (Network, Link)):
        raise PacketError("a packet begins with an IP or link-layer header. Give IPv4(src=…, dst=…) first.")
    for header in headers[:-1]:
        if header.IS_LAST:
            names = ", ".join(type(each).__name__ for each in headers)
            name = type(header).__name__
            raise PacketError(f"{names}: no header can follow {name}. Give what it carries as bytes.")


def parse(
    data: bytes | bytearray | memoryview,
    link_type: int | None = None,
    wire_length: int | None = None,
    time: int | None = None,
    clock: str = "",
) -> Packet:
    """Return the packet in `data`. `findings` and `checksums` report faults behind the first header.

    Args:
        link_type: The capture's link type (`LINKTYPE_…`), 1 for Ethernet; None means an IP packet.
        wire_length: Bytes on the wire, if the capture kept fewer; None if `data` is the whole packet.
        time: When the packet was received, in nanoseconds of `clock`.
        clock: The clock of `time`, as in `Packet.clock`.

    Raises:
        PacketError: If the first header cannot be read: TruncatedError (too short) or MalformedError (version, IHL); or
            if `data` is not bytes.
    """
    if type(data) is not bytes:
        data = to_bytes(data)  # not bytes(): bytes(3) is three zeros
    present = end = len(data)
    headers: tuple[Header, ...]
    # A call costs as much as all fields of a UDP header, so the header that most packets begin with is read here. It is
    # a copy of `IPv4.read`; a test compares them.
    try:
        word, total, identification, bits, ttl, protocol, checksum, addresses = unpack_ipv4(data)
        ihl, dscp, ecn = FIRST_WORD[word]
    except struct.error:
        ihl = 0
    if ihl > 4 and link_type is None:
        flags, offset = FRAGMENT[bits]
        src, dst = ADDRESS_TEXTS[addresses]
        start = ihl * 4
        ip = new_ipv4(
            4, ihl, dscp, ecn, total, identification, flags, offset, ttl, protocol, checksum, src, dst,
            data[20:start] if ihl > 5 else b"",
        )  # fmt: skip
        if start > present:
            start = present
        elif start <= total < present:
            end = total
        following = None if offset else IP_PAYLOADS.get(protocol)
        if following is not None and start < end:
            try:
                header, start, end, following = following(data, start, end)
                headers = (ip, header)
            except PacketError:
                headers, following = (ip,), None
        else:
            headers = (ip,)
    else:
        headers, start = (), 0
        following = first_header(data, link_type)
    while following is not None and (start < end or not headers) and len(headers) < MAX_HEADERS:
        try:
            header, start, end, following = following(data, start, end)
        except PacketError:
            if not headers:
                raise
            break
        headers = (*headers, header)
    if end == present and wire_length is None and time is None:
        return Packet(headers, data[start:])
    missing = 0 if wire_length is None or wire_length < present else wire_length - present
    return Packet(headers, data[start:end], data[end:], missing, time, clock)


def complete(packet: Packet) -> Packet:
    """Return a copy of the packet in which every field that is None is computed; given values stay.

    Raises:
        MalformedError: If a field cannot be computed.
        PacketError: If the headers are not in the order of a packet.
    """
    if packet.headers:
        check_headers(packet.headers)
    return replace(packet, headers=_complete(packet)[0])


def _complete(packet: Packet) -> tuple[tuple[Header, ...], bytes]:
    """Return the complete headers, from the innermost outwards, and the bytes of headers and payload."""
    headers, content, inner = packet.headers, packet.payload, None
    done: list[Header] = []
    for at in range(len(headers) - 1, -1, -1):
        inner = headers[at].complete(headers[:at], content, inner)
        content = inner.to_bytes() + content
        done.append(inner)
    done.reverse()
    return tuple(done), content


def build(*parts: PacketPart | Packet) -> bytes:
    """Return the bytes of a packet, or of headers and payload: `build(IPv4(…), TCP(…), b"payload")`.

    Derived fields that are None are computed, others are sent as given; the headers given do not change.

    Raises:
        MalformedError: If a derived field cannot be computed.
        PacketError: If the parts are not in the order of a packet.
    """
    if len(parts) == 1 and isinstance(parts[0], Packet):
        packet = parts[0]
        if packet.headers:
            check_headers(packet.headers)
    else:
        packet = Packet.of(*parts)
    return _complete(packet)[1] + packet.trailer


def link_type_of(packet: Packet) -> int | None:
    """Return the link type to pass to `parse` with the bytes of this packet; None for an IP packet."""
    first = packet.headers[0].read if packet.headers else None
    return next((number for number, each in LINK_TYPES.items() if each == first), None)
