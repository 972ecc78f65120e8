"""A packet: headers side by side, what they carry, what follows them. Octets in and out.

Three laws, held by property tests:

1. `build(parse(octets)) == octets` for every octet string that parses: parsing keeps every bit.
2. `parse(build(packet)) == complete(packet)` where no length, protocol or fragment offset is forced to say otherwise:
   only derived fields may be None, and None means compute.
3. `findings(build(packet)) == []` where nothing was forced.

Parsing frames, findings judge. `parse` raises only where there is no IP header to give; whatever is
wrong further in keeps the layers decoded so far and leaves the rest as octets.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, SupportsBytes, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tunlab.errors import PacketError
from tunlab.packet.address import ENDS
from tunlab.packet.checksum import Checksum, Verdict, checksum_ok, internet_checksum
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Transport, to_bytes
from tunlab.packet.icmp import ICMP, ICMPType, icmp_checksum, unpack_icmp
from tunlab.packet.igmp import IGMP, igmp_checksum, igmp_findings, parse_igmp
from tunlab.packet.ipv4 import FIXED, FRAGMENT, SERVICE, IPv4, header_error, ipv4_findings, unpack_ipv4
from tunlab.packet.tcp import FLAGS as TCP_FLAGS
from tunlab.packet.tcp import OFFSET_RESERVED, TCP, tcp_checksum, tcp_findings, unpack_tcp
from tunlab.packet.truncated import LAYERS, TruncatedHeader
from tunlab.packet.udp import UDP, udp_checksum, udp_findings, unpack_udp

Layer: TypeAlias = Header | bytes | bytearray | memoryview | SupportsBytes
"""What a packet is built of: headers, then octets or anything with `__bytes__`."""

H = TypeVar("H", bound=Header)

_ENDS = ENDS.known
_CHECKSUMS: dict[type[Header], Callable[[IPv4, Any, bytes], int]] = {
    ICMP: lambda _, icmp, payload: icmp_checksum(icmp, payload),
    IGMP: lambda _, igmp, payload: igmp_checksum(igmp, payload),
    TCP: tcp_checksum,
    UDP: udp_checksum,
}


class Packet(Struct, frozen=True, gc=False):
    """Headers from the outermost in, and what they carry.

    payload   the octets behind the last header, as far as the lengths count them
    trailer   the octets behind those
    cut       how many more there were on the wire, which a capture or an ICMP error left off
    """

    headers: tuple[Header, ...]
    payload: bytes = b""
    trailer: bytes = b""
    missing: int = 0

    @classmethod
    def of(cls, *layers: Layer) -> Packet:
        """The packet of `layers`: headers first, then what they carry, joined."""
        headers = tuple(layer for layer in layers if isinstance(layer, Header))
        if any(isinstance(layer, Header) for layer in layers[len(headers) :]):
            raise PacketError("a header stands behind octets: give the headers first, then the payload")
        match headers:
            case (IPv4(),) | (IPv4(), Transport() | TruncatedHeader()):
                pass
            case _:
                raise _no_packet(headers)
        try:
            return cls(headers, b"".join(to_bytes(layer) for layer in layers[len(headers) :]))
        except ValueError as error:
            raise PacketError(f"the payload holds {error}") from None

    def get(self, layer: type[H]) -> H | None:
        """The header of this class, or None."""
        for header in self.headers:
            if isinstance(header, layer):
                return header
        return None

    def __getitem__(self, layer: type[H]) -> H:
        """The header of this class; raises PacketError where the packet has none."""
        header = self.get(layer)
        if header is None:
            names = ", ".join(type(each).__name__ for each in self.headers) or "none"
            raise PacketError(f"the packet has no {layer.__name__} header; it has {names}")
        return header

    @property
    def ip(self) -> IPv4:
        """The IPv4 header."""
        return self[IPv4]

    @property
    def tcp(self) -> TCP:
        """The TCP header; raises PacketError where there is none."""
        return self[TCP]

    @property
    def udp(self) -> UDP:
        """The UDP header; raises PacketError where there is none."""
        return self[UDP]

    @property
    def icmp(self) -> ICMP:
        """The ICMP header; raises PacketError where there is none."""
        return self[ICMP]

    @property
    def igmp(self) -> IGMP:
        """The IGMP message; raises PacketError where there is none."""
        return self[IGMP]

    @property
    def transport(self) -> Header | None:
        """The header behind IPv4, `TruncatedHeader` where it is cut short, or None."""
        return self.headers[1] if len(self.headers) > 1 else None

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port of TCP or UDP, cut short or not; None for others."""
        transport = self.transport
        if (
            not isinstance(transport, (TCP, UDP, TruncatedHeader))
            or transport.src_port is None
            or transport.dst_port is None
        ):
            return None
        return transport.src_port, transport.dst_port

    @property
    def quoted(self) -> Packet:
        """The datagram that an ICMP error quotes, usually cut short; raises PacketError where there is none."""
        if not self.icmp.is_error:
            raise PacketError(f"an ICMP {self.icmp.name} quotes no datagram; errors do (RFC 792)")
        octets = self.payload[: self.icmp.quoted_length]
        return parse(octets, wire_length=int.from_bytes(octets[2:4], "big"))

    def __bytes__(self) -> bytes:
        return build(self)


def parse(octets: bytes | bytearray | memoryview, *, wire_length: int | None = None) -> Packet:
    """The packet in `octets`, which begin with the IP header.

    wire_length   octets there were on the wire, where a capture kept fewer; None: these are all

    Raises TruncatedError (fewer than 20 octets) or MalformedError (version, IHL), and for octets nothing else;
    ValueError for what are no octets. What is wrong further in is told by `findings` and `checksums`.
    """
    if type(octets) is not bytes:
        octets = to_bytes(octets)  # not bytes(): of a number that makes so many zeros
    # A call costs as much as all fields of a UDP header. So headers that are read in one step are read here, from the
    # formats and tables that their files give; those that take more have a parser.
    try:
        first, service, total_length, identification, high, low, ttl, protocol, checksum, ends = unpack_ipv4(octets)
    except struct.error:
        raise header_error(octets) from None
    ihl = first - 0x40
    if ihl < 5 or ihl > 15:
        raise header_error(octets)
    dscp, ecn = SERVICE[service]
    flags, high = FRAGMENT[high]
    fragment_offset = high + low
    try:
        src, dst = _ENDS[ends]
    except KeyError:
        src, dst = ENDS.meet(ends)
    start = ihl * 4
    ip = _ipv4(
        4, ihl, dscp, ecn, total_length, identification, flags, fragment_offset, ttl, protocol, checksum,
        src, dst, octets[FIXED:start] if ihl > 5 else b"",
    )  # fmt: skip
    present = len(octets)
    # Zero is segmentation offload's, less than the header says nothing: both leave the input's end.
    end = present if total_length < start or total_length > present else total_length
    missing = 0 if wire_length is None or wire_length < present else wire_length - present
    size = end - start
    if fragment_offset or size <= 0:
        headers: tuple[Header, ...] = (ip,)
    elif protocol == 6 and size >= 20:
        src_port, dst_port, seq, ack, words, bits, window, checksum, urgent = unpack_tcp(octets, start)
        data_offset, reserved = OFFSET_RESERVED[words]
        start += 20
        options = b""
        if data_offset > 5:
            after = start + data_offset * 4 - 20
            if after > end:
                after = end
            options = octets[start:after]
            start = after
        headers = (ip, _tcp(
            src_port, dst_port, seq, ack, data_offset, reserved, TCP_FLAGS[bits], window, checksum, urgent, options
        ))  # fmt: skip
    elif protocol == 17 and size >= 8:
        udp = UDP(*unpack_udp(octets, start))
        headers = (ip, udp)
        after = start + udp.length
        start += 8
        # What UDP does not count follows its payload.
        if after >= start and after < end:
            end = after
    elif protocol == 1 and size >= 8:
        headers = (ip, ICMP(*unpack_icmp(octets, start)))
        start += 8
    elif protocol == 2 and size >= 8:
        headers, start = (ip, parse_igmp(octets, start, end)), end
    elif protocol in LAYERS:
        headers, start = (ip, TruncatedHeader(protocol, octets[start:end])), end
    else:
        headers = (ip,)
    if end == present and not missing:
        return Packet(headers, octets[start:])
    return Packet(headers, octets[start:end], octets[end:], missing)


# A third faster than by keyword, to which users are held for their own sake.
_ipv4: Callable[..., IPv4] = IPv4
_tcp: Callable[..., TCP] = TCP


def complete(packet: Packet) -> Packet:
    """The packet with every derived field that is None computed; forced ones stay.

    Raises MalformedError where one cannot be, PacketError for headers that make no packet.
    """
    payload = packet.payload
    match packet.headers:
        case (IPv4() as ip, Transport() as transport):
            transport = transport.complete(ip, payload)
            ip = ip.complete(transport.to_bytes() + payload, transport.PROTOCOL)
            return replace(packet, headers=(ip, transport))
        case (IPv4() as ip, TruncatedHeader() as partial):
            return replace(packet, headers=(ip.complete(partial.present + payload, partial.protocol), partial))
        case (IPv4() as ip,):
            return replace(packet, headers=(ip.complete(payload),))
        case _:
            raise _no_packet(packet.headers)


def _no_packet(headers: Sequence[Header]) -> PacketError:
    if not headers or not isinstance(headers[0], IPv4):
        return PacketError("a packet begins with its IPv4 header: give IPv4(src=…, dst=…) first")
    names = ", ".join(type(header).__name__ for header in headers)
    return PacketError(f"{names}: one IPv4 header and one header behind it make a packet; build() what it carries")


def build(*layers: Layer | Packet) -> bytes:
    """The octets of a packet, or of headers and payload side by side: `build(IPv4(…), TCP(…), b"payload")`.

    Derived fields that are None are computed, others sent as given; nothing given is changed. Raises
    MalformedError for a field that does not fit, PacketError for layers that make no packet.
    """
    packet = layers[0] if len(layers) == 1 and isinstance(layers[0], Packet) else Packet.of(*layers)
    whole = complete(packet)
    return b"".join([*[header.to_bytes() for header in whole.headers], whole.payload, whole.trailer])


def as_received(packet: Packet | bytes | bytearray | memoryview) -> Packet:
    """The packet as its receiver reads it: of one that was put together with false lengths, other than it was meant.

    Raises what `parse` raises, and for a packet what `build` raises.
    """
    if not isinstance(packet, Packet):
        return parse(packet)
    octets = build(packet)
    return parse(octets, wire_length=len(octets) + packet.missing)


def findings(packet: Packet | bytes | bytearray | memoryview) -> list[Finding]:
    """What is wrong with a packet, in the order of its octets; raises only what `received` raises."""
    packet = as_received(packet)
    ip = packet.ip
    found = ipv4_findings(ip, _present(packet))
    offset = len(ip.to_bytes())
    found += _transport_findings(packet, offset)
    for checksum in _checksums(packet):
        if checksum.verdict is Verdict.BAD:
            at = 10 if checksum.layer == "IPv4" else offset + {"TCP": 16, "UDP": 6}.get(checksum.layer, 2)
            rule, needed, value = "it does not fit the octets", checksum.expected, checksum.value
            found.append(Finding(checksum.layer, "checksum", FindingKind.CHECKSUM, at, rule, needed, value))
    return sorted(found, key=lambda finding: finding.offset)


def _present(packet: Packet) -> int:
    return sum(len(header.to_bytes()) for header in packet.headers) + len(packet.payload) + len(packet.trailer)


def _transport_findings(packet: Packet, offset: int) -> list[Finding]:
    ip, transport = packet.ip, packet.transport
    end, length_from = _present(packet), "octets"
    if ip.header_length <= (ip.total_length or 0) <= end:
        end, length_from = ip.total_length or 0, "IPv4.total_length"
    present = end - offset
    if isinstance(transport, TCP):
        return tcp_findings(transport, offset, present, length_from)
    if isinstance(transport, UDP):
        return udp_findings(transport, offset, present, length_from, whole=not ip.is_fragment)
    if isinstance(transport, IGMP):
        return igmp_findings(transport, offset)
    if isinstance(transport, ICMP) or ip.fragment_offset or ip.protocol not in LAYERS:
        return []
    layer, rule = LAYERS[ip.protocol], "the header is cut short"
    least = sum(bits for _, bits in layer.LAYOUT) // 8
    return [Finding(layer.__name__, "header", FindingKind.TRUNCATED, offset, rule, least, present, length_from)]


def checksums(packet: Packet | bytes | bytearray | memoryview) -> list[Checksum]:
    """The verdict on each layer's checksum, outermost first: good, bad, or not verifiable and why."""
    return _checksums(as_received(packet))


def _checksums(packet: Packet) -> list[Checksum]:
    ip, transport = packet.ip, packet.transport
    verdicts = [_ip_checksum(ip)]
    if not isinstance(transport, Transport):
        return verdicts
    layer, value = type(transport).__name__, transport.checksum or 0
    reason = _unverifiable(packet)
    if reason:
        return [*verdicts, Checksum(layer, Verdict.UNVERIFIABLE, value, None, reason)]
    expected = _CHECKSUMS[type(transport)](ip, transport, packet.payload)
    # In ones' complement 0xffff is zero too, and sums to the same; 0 for 0xffff does not, where all else is zero.
    good = value == expected or (value == 0xFFFF and expected == 0)
    return [*verdicts, Checksum(layer, Verdict.GOOD if good else Verdict.BAD, value, expected)]


def _ip_checksum(ip: IPv4) -> Checksum:
    octets, value = ip.to_bytes(), ip.checksum or 0
    if len(octets) < ip.header_length:
        return Checksum("IPv4", Verdict.UNVERIFIABLE, value, None, "the header is cut short")
    if checksum_ok(octets):
        return Checksum("IPv4", Verdict.GOOD, value, value)
    expected = internet_checksum(octets[:10] + b"\0\0" + octets[12:])
    return Checksum("IPv4", Verdict.BAD, value, expected)


def _unverifiable(packet: Packet) -> str:
    """Why the transport checksum cannot be verified; empty where it can."""
    ip, transport = packet.ip, packet.transport
    total_length = ip.total_length or 0
    if ip.is_fragment:
        return "a fragment does not hold all that it covers"
    if total_length == 0:
        return "segmentation offload leaves it unfinished"
    if total_length < ip.header_length:
        return "the total length does not say what it covers"
    if packet.missing and total_length > _present(packet):
        return "the capture is cut short"
    if isinstance(transport, UDP):
        if transport.checksum == 0:
            return "the sender made none"
        if not 8 <= (transport.length or 0) <= 8 + len(packet.payload):
            return "the UDP length does not say what it covers"
    return ""


def reply(packet: Packet) -> tuple[IPv4, Transport]:
    """Headers that answer `packet`: addresses and ports exchanged, echo requests as replies with the same numbers.

    For TCP the acknowledgement is what comes next in sequence (RFC 9293 section 3.4: SYN and FIN count), the flags
    ACK alone. Change what should differ with `msgspec.structs.replace`. Raises PacketError where nothing answers.
    """
    ip, transport = packet.ip, packet.transport
    back = IPv4(src=ip.dst, dst=ip.src)
    if isinstance(transport, TCP):
        return back, transport.reply(len(packet.payload))
    if isinstance(transport, UDP):
        return back, UDP(src_port=transport.dst_port, dst_port=transport.src_port)
    if isinstance(transport, ICMP) and transport.type == ICMPType.ECHO_REQUEST:
        return back, ICMP.echo_reply(transport.identifier, transport.sequence_number)
    raise PacketError("nothing answers this packet: reply() knows TCP, UDP and echo requests")
