"""Decoders for the benchmark `decode`: for each library, one function reads every field, another one converts them.

The converted form is the same for all libraries: version, IHL, type of service, total length, identification, flags
and offset, TTL, protocol, checksum, addresses as bytes, IP options as (kind, data); then the fields of the transport
header in wire order, TCP options as (kind, data); then the payload. A reader may read more fields, never fewer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Reader = Callable[[bytes], Any]
Common = Callable[[Any], tuple[Any, ...]]

NO_OPTIONS: tuple[Any, ...] = (), None


def tunlab_reader(*, typed: bool = False) -> tuple[Reader, Common]:
    """Return the decoder of tunlab. It reads options as kind and data, as dpkt does.

    Args:
        typed: Decode options to objects of their own types, as scapy does.
    """
    from tunlab.packet import ICMP, TCP, UDP, parse
    from tunlab.packet.address import ipv4_bytes
    from tunlab.packet.options import split_options

    def read_typed(data: bytes) -> Any:
        packet = parse(data)
        ip, transport = packet.headers
        fields = (
            ip.version, ip.ihl, ip.dscp, ip.ecn, ip.total_length, ip.identification, ip.flags, ip.fragment_offset,
            ip.ttl, ip.protocol, ip.checksum, ip.src, ip.dst, ip.decoded_options,
        )  # fmt: skip
        if type(transport) is TCP:
            upper: tuple[Any, ...] = (
                transport.src_port, transport.dst_port, transport.seq, transport.ack, transport.data_offset,
                transport.reserved, transport.flags, transport.window, transport.checksum, transport.urgent_pointer,
                transport.decoded_options,
            )  # fmt: skip
        elif type(transport) is UDP:
            upper = transport.src_port, transport.dst_port, transport.length, transport.checksum
        else:
            assert type(transport) is ICMP
            upper = (
                transport.type, transport.code, transport.checksum, transport.identifier, transport.sequence_number
            )  # fmt: skip
        return fields, upper, packet.payload

    def read_pairs(data: bytes) -> Any:
        packet = parse(data)
        ip, transport = packet.headers
        fields = (
            ip.version, ip.ihl, ip.dscp, ip.ecn, ip.total_length, ip.identification, ip.flags, ip.fragment_offset,
            ip.ttl, ip.protocol, ip.checksum, ip.src, ip.dst, split_options(ip.options) if ip.options else NO_OPTIONS,
        )  # fmt: skip
        if type(transport) is TCP:
            upper: tuple[Any, ...] = (
                transport.src_port, transport.dst_port, transport.seq, transport.ack, transport.data_offset,
                transport.reserved, transport.flags, transport.window, transport.checksum, transport.urgent_pointer,
                split_options(transport.options) if transport.options else NO_OPTIONS,
            )  # fmt: skip
        elif type(transport) is UDP:
            upper = transport.src_port, transport.dst_port, transport.length, transport.checksum
        else:
            assert type(transport) is ICMP
            upper = (
                transport.type, transport.code, transport.checksum, transport.identifier, transport.sequence_number
            )  # fmt: skip
        return fields, upper, packet.payload

    def to_bytes(options: Any) -> list[tuple[int, bytes]]:
        if typed:
            return [(bytes(option)[0], bytes(option)[2:]) for option in options]
        return list(options[0])

    def common(values: Any) -> tuple[Any, ...]:
        (version, ihl, dscp, ecn, length, number, flags, offset, *rest, src, dst, options), upper, payload = values
        if len(upper) == 11:
            upper = (*upper[:10], to_bytes(upper[10]))
        service, fragment = dscp << 2 | ecn, (int(flags), offset)
        ends = ipv4_bytes(src), ipv4_bytes(dst)
        ip = version, ihl, service, length, number, *fragment, *rest, *ends, to_bytes(options)
        return (*ip, *upper, payload)

    return read_typed if typed else read_pairs, common


def dpkt_reader() -> tuple[Reader, Common]:
    """Return the decoder of dpkt. It reads IP options with `tcp.parse_opts`, as dpkt has no function for them."""
    import dpkt

    IP, parse_opts = dpkt.ip.IP, dpkt.tcp.parse_opts  # noqa: N806
    TCP, UDP, ICMP = dpkt.tcp.TCP, dpkt.udp.UDP, dpkt.icmp.ICMP  # noqa: N806

    def read(data: bytes) -> Any:
        ip = IP(data)
        transport = ip.data
        fields = (
            ip.v, ip.hl, ip.tos, ip.len, ip.id, ip.rf, ip.df, ip.mf, ip.offset,
            ip.ttl, ip.p, ip.sum, ip.src, ip.dst, parse_opts(ip.opts),
        )  # fmt: skip
        if type(transport) is TCP:
            upper: tuple[Any, ...] = (
                transport.sport, transport.dport, transport.seq, transport.ack, transport.off, transport._off_flags,
                transport.flags, transport.win, transport.sum, transport.urp, parse_opts(transport.opts),
            )  # fmt: skip
            payload = transport.data
        elif type(transport) is UDP:
            upper, payload = (transport.sport, transport.dport, transport.ulen, transport.sum), transport.data
        else:
            assert type(transport) is ICMP
            echo = transport.data
            upper, payload = (transport.type, transport.code, transport.sum, echo.id, echo.seq), echo.data
        return fields, upper, payload

    def common(values: Any) -> tuple[Any, ...]:
        (version, ihl, tos, length, number, rf, df, mf, offset, *rest), upper, payload = values
        if len(upper) == 11:
            # dpkt has nine flag bits, as in RFC 3540. The three reserved bits are only in `_off_flags`.
            upper = (*upper[:5], upper[5] >> 9 & 7, upper[6] & 0x1FF, *upper[7:])
        return (version, ihl, tos, length, number, rf << 2 | df << 1 | mf, offset, *rest, *upper, payload)

    return read, common


def dpkt_text_reader() -> tuple[Reader, Common]:
    """Return a decoder of dpkt that also converts both addresses to text, as tunlab and scapy always do."""
    from dpkt.utils import inet_to_str

    native, common = dpkt_reader()

    def read(data: bytes) -> Any:
        values = native(data)
        fields = values[0]
        return values, inet_to_str(fields[12]), inet_to_str(fields[13])

    return read, lambda values: common(values[0])


def pypacker_reader() -> tuple[Reader, Common]:
    """Return the decoder of pypacker. It accesses each layer and option list, because pypacker decodes on access."""
    from pypacker.layer3 import icmp as layer_icmp
    from pypacker.layer3 import ip as layer_ip
    from pypacker.layer4 import tcp as layer_tcp
    from pypacker.layer4 import udp as layer_udp

    IP, TCP, UDP, ICMP = layer_ip.IP, layer_tcp.TCP, layer_udp.UDP, layer_icmp.ICMP  # noqa: N806
    singles = layer_ip.IPOptSingle, layer_tcp.TCPOptSingle

    def walk(options: Any) -> list[Any]:
        found = []
        for option in options:
            if type(option) in singles:
                found.append((option.type, b""))
            else:
                found.append((option.type, option.len, option.body_bytes))
        return found

    def read(data: bytes) -> Any:
        ip = IP(data)
        transport = ip.higher_layer
        fields = (
            ip.v, ip.hl, ip.tos, ip.len, ip.id, ip.flags, ip.offset,
            ip.ttl, ip.p, ip.sum, ip.src, ip.dst, walk(ip.opts),
        )  # fmt: skip
        if type(transport) is TCP:
            upper: tuple[Any, ...] = (
                transport.sport, transport.dport, transport.seq, transport.ack, transport.off_x2,
                transport.flags, transport.win, transport.sum, transport.urp, walk(transport.opts),
            )  # fmt: skip
            payload = transport.body_bytes
        elif type(transport) is UDP:
            upper, payload = (transport.sport, transport.dport, transport.ulen, transport.sum), transport.body_bytes
        else:
            assert type(transport) is ICMP
            echo = transport.higher_layer
            upper, payload = (transport.type, transport.code, transport.sum, echo.id, echo.seq), echo.body_bytes
        return fields, upper, payload

    def pairs(options: list[Any]) -> list[tuple[int, bytes]]:
        return [(option[0], option[-1]) for option in options]

    def common(values: Any) -> tuple[Any, ...]:
        (*fields, options), upper, payload = values
        if len(upper) == 10:
            upper = (*upper[:4], upper[4] >> 4, upper[4] & 15, *upper[5:9], pairs(upper[9]))
        return (*fields, pairs(options), *upper, payload)

    return read, common


def scapy_parser() -> Reader:
    """Return scapy's parser for IPv4 packets. `scapy.all` is imported, because that registers all protocols."""
    from scapy.all import IP

    parser: Reader = IP
    return parser


def scapy_reader() -> tuple[Reader, Common]:
    """Return the decoder of scapy. As in scapy's documentation, it imports `scapy.all` and reads attributes."""
    from socket import inet_aton

    from scapy.all import ICMP, IP, TCP, UDP, Raw
    from scapy.layers.inet import TCPOptionsField

    def read(data: bytes) -> Any:
        ip = IP(data)
        transport = ip.payload
        fields = (
            ip.version, ip.ihl, ip.tos, ip.len, ip.id, ip.flags, ip.frag,
            ip.ttl, ip.proto, ip.chksum, ip.src, ip.dst, ip.options,
        )  # fmt: skip
        if type(transport) is TCP:
            upper: tuple[Any, ...] = (
                transport.sport, transport.dport, transport.seq, transport.ack, transport.dataofs,
                transport.reserved, transport.flags, transport.window, transport.chksum, transport.urgptr,
                transport.options,
            )  # fmt: skip
        elif type(transport) is UDP:
            upper = transport.sport, transport.dport, transport.len, transport.chksum
        else:
            assert type(transport) is ICMP
            upper = transport.type, transport.code, transport.chksum, transport.id, transport.seq
        rest = transport.payload
        return fields, upper, rest.load if type(rest) is Raw else b""

    def tcp_pairs(options: Any) -> list[tuple[int, bytes]]:
        field, found = TCPOptionsField("options", []), []
        for option in options:
            data = field.i2m(None, [option])
            kind = data[0]
            found.append((kind, b"" if kind < 2 else data[2 : data[1]]))
        return found

    def common(values: Any) -> tuple[Any, ...]:
        (version, ihl, tos, length, number, flags, offset, *rest, src, dst, options), upper, payload = values
        if len(upper) == 11:
            # scapy has nine flag bits and three reserved bits.
            upper = (*upper[:5], upper[5], int(upper[6]), *upper[7:10], tcp_pairs(upper[10]))
        ip = [(bytes(option)[0], bytes(option)[2:]) for option in options]
        fields = version, ihl, tos, length, number, int(flags), offset, *rest, inet_aton(src), inet_aton(dst), ip
        return (*fields, *upper, payload)

    return read, common
