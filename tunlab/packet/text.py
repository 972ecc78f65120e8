"""Packets as text: the listing, the hex dump, the line, and the plain values that JSON takes."""

from __future__ import annotations

from collections.abc import Iterable

from tunlab.errors import PacketError
from tunlab.packet import tcp_options
from tunlab.packet.checksum import Checksum
from tunlab.packet.findings import FindingKind
from tunlab.packet.header import Header, to_bytes
from tunlab.packet.icmp import HAVE_IDENTIFIER, ICMP
from tunlab.packet.igmp import IGMP
from tunlab.packet.ipv4 import FIXED, IPv4
from tunlab.packet.match import format_value
from tunlab.packet.options import Option, TypedOption
from tunlab.packet.packet import Packet, as_received, checksums, findings
from tunlab.packet.tcp import TCP, TCPFlag
from tunlab.packet.truncated import TruncatedHeader
from tunlab.packet.udp import UDP

PROTOCOL_NAMES = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP"}


def protocol_name(protocol: int | None) -> str:
    """ICMP, IGMP, TCP, UDP, or the number as in `Other (89)`."""
    return PROTOCOL_NAMES.get(protocol or 0) or f"Other ({protocol})"


def listing(packet: Packet | bytes, *, verbose: bool = False) -> str:
    """The packet as `tunlab dump` lists it: the IP header's main fields, a line each.

    verbose   every field, the checksums' verdicts, the options, the transport header
    """
    packet = as_received(packet)
    ip = packet.ip
    lines = [
        "=== Parsed IP Packet ===",
        "IP Packet:",
        f"  Version: IPv{ip.version}",
        f"  IHL: {ip.ihl} (words)",
        f"  Total Length: {ip.total_length} bytes",
        f"  Source: {ip.src}",
        f"  Destination: {ip.dst}",
        f"  Payload Length: {max((ip.total_length or 0) - ip.header_length, 0)} bytes",
        f"  Protocol: {protocol_name(ip.protocol)}",
    ]
    if verbose:
        verdicts = {checksum.layer: checksum for checksum in checksums(packet)}
        lines += [
            f"  DSCP: {ip.dscp}",
            f"  ECN: {ip.ecn}",
            f"  Identification: {ip.identification:#06x} ({ip.identification})",
            f"  Flags: {_flags(ip)}",
            f"  Fragment Offset: {ip.fragment_offset} (8-octet units)",
            f"  TTL: {ip.ttl}",
            f"  Header Checksum: {ip.checksum:#06x} ({verdicts['IPv4']})",
            *(f"  Option: {_option(option)}" for option in ip.decoded_options),
        ]
        if packet.transport is not None:
            lines += _transport(packet.transport, verdicts)
    found = findings(packet)
    if found:
        lines += ["Findings:", *(f"  {finding}" for finding in found)]
    return "\n".join(lines)


def _flags(ip: IPv4) -> str:
    return " ".join(flag.name or "" for flag in reversed(type(ip.flags)) if flag in ip.flags) or "none"


def _transport(header: Header, verdicts: dict[str, Checksum]) -> list[str]:
    layer = type(header).__name__
    if isinstance(header, TruncatedHeader):
        fields = (f"  {name.replace('_', ' ').title()}: {value}" for name, value in header.fields.items())
        return [f"{header.layer.__name__} (cut short):", *fields]
    lines = [f"{layer}:"]
    for field in header.__struct_fields__:
        value = getattr(header, field)
        if field in ("options", "rest"):
            continue
        title = field.replace("_", " ").title()
        if field == "checksum":
            title, value = "Checksum", f"{value:#06x} ({verdicts[layer]})"
        elif isinstance(value, TCPFlag):
            value = value.name or "none"
        elif field == "data_offset":
            value = f"{value} (words)"
        elif field == "type" and isinstance(header, (ICMP, IGMP)):
            value = f"{value} ({header.name})"
        lines.append(f"  {title}: {value}")
    if isinstance(header, ICMP):
        views = {"Gateway": header.gateway, "Pointer": header.pointer, "Next-Hop MTU": header.mtu}
        lines += [f"  {title}: {value}" for title, value in views.items() if value is not None]
    if isinstance(header, TCP):
        lines += [f"  Option: {_option(option)}" for option in header.decoded_options]
    if isinstance(header, IGMP):
        lines += [f"  Source: {source}" for source in header.sources]
        lines += [
            f"  Record: type {each.type}, group {each.group}, {len(each.sources)} sources" for each in header.records
        ]
    return lines


def _option(option: Option | TypedOption) -> str:
    if isinstance(option, Option):
        name = {0: "end of options", 1: "no operation"}.get(option.kind, f"kind {option.kind}")
        return f"{name}, {format_value(option.data)}" if option.data else name
    fields = option.__struct_fields__
    values = ", ".join(f"{field.replace('_', ' ')} {_value(getattr(option, field))}" for field in fields)
    return f"{type(option).__name__} {values}".strip()


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join("-".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    return value.hex() if isinstance(value, bytes) else str(value)


def hexdump(octets: bytes | bytearray | memoryview) -> str:
    """The octets in hexadecimal, four a line (an RFC 791 row), header and payload apart.

    Octets that are no IPv4 datagram are dumped in one piece.
    """
    octets = to_bytes(octets)
    lines = ["=== Raw Packet Hexdump ===", "", "Raw IP packet bytes:"]
    length = (octets[0] & 15) * 4 if octets else 0
    if len(octets) < FIXED or octets[0] >> 4 != 4 or length < FIXED:
        return "\n".join([*lines, *_rows(octets)])
    payload = octets[length:]
    lines += [f"Header (IHL: {length} bytes):", *_rows(octets[:length]), "", "Payload:", *_rows(payload)]
    return "\n".join(lines if payload else [*lines, "(empty)"])


def _rows(octets: bytes) -> Iterable[str]:
    return (octets[at : at + 4].hex(" ") for at in range(0, len(octets), 4))


def summary(packet: Packet | bytes | bytearray | memoryview) -> str:
    """The packet in one line, as tcpdump would put it; what is suspicious follows in square brackets.

    Octets that are no IPv4 datagram are described, not refused.
    """
    try:
        packet = as_received(packet)
    except PacketError as error:
        octets = "" if isinstance(packet, Packet) else f"{len(packet)} octets, "
        return f"{octets}no IPv4 datagram: {error}"
    ip, transport = packet.ip, packet.transport
    ports = packet.ports
    src, dst = (f"{ip.src}.{ports[0]}", f"{ip.dst}.{ports[1]}") if ports else (ip.src, ip.dst)
    size = len(packet.payload)
    match transport:
        case TCP():
            text = _tcp_line(transport, size)
        case UDP():
            text = f"UDP, length {size}"
        case ICMP():
            text = _icmp_line(packet, transport)
        case IGMP():
            text = f"igmp {transport.name}" + (f" {transport.group}" if transport.record_count is None else "")
        case TruncatedHeader():
            text = ", ".join(
                (transport.layer.__name__, *(f"{name} {value}" for name, value in transport.fields.items()))
            )
        case _:
            name = PROTOCOL_NAMES.get(ip.protocol or 0) or f"protocol {ip.protocol}"
            text = f"{name}, length {size}"
    if ip.is_fragment:
        more = "+" if ip.flags & 1 else ""
        carried = (ip.total_length or 0) - ip.header_length
        text += f", fragment id {ip.identification} {carried}@{ip.fragment_offset * 8}{more}"
    return f"IP {src} > {dst}: {text}" + "".join(f" [{note}]" for note in _notes(packet))


def _tcp_line(tcp: TCP, size: int) -> str:
    # tcpdump's letters: a dot for ACK, W and E for the ECN bits.
    letters = zip("FSRP.UEW", TCPFlag, strict=True)
    text = f"Flags [{''.join(letter for letter, flag in letters if flag in tcp.flags) or 'none'}]"
    text += f", seq {tcp.seq}:{(tcp.seq + size) % 2**32}" if size else f", seq {tcp.seq}"
    if TCPFlag.ACK in tcp.flags:
        text += f", ack {tcp.ack}"
    text += f", win {tcp.window}"
    if TCPFlag.URG in tcp.flags:
        text += f", urg {tcp.urgent_pointer}"
    if tcp.options:
        text += f", options [{','.join(_option_word(option) for option in tcp.decoded_options)}]"
    return f"{text}, length {size}"


def _option_word(option: Option | TypedOption) -> str:
    if isinstance(option, Option):
        return {0: "eol", 1: "nop"}.get(option.kind, f"kind {option.kind}")
    if isinstance(option, tcp_options.Timestamps):
        return f"TS val {option.value} ecr {option.echo_reply}"
    name = {"WindowScale": "wscale", "SACKPermitted": "sackOK", "FastOpen": "tfo"}
    word = name.get(type(option).__name__, type(option).__name__.lower())
    values = " ".join(_value(getattr(option, field)) for field in option.__struct_fields__)
    return f"{word} {values}".strip()


def _icmp_line(packet: Packet, icmp: ICMP) -> str:
    size = 8 + len(packet.payload)
    if not icmp.is_error and icmp.type not in HAVE_IDENTIFIER:
        return f"ICMP {icmp.name}, length {size}"
    if not icmp.is_error:
        return f"ICMP {icmp.name}, id {icmp.identifier}, seq {icmp.sequence_number}, length {size}"
    about = f", mtu {icmp.mtu}" if icmp.mtu is not None else f", to {icmp.gateway}" if icmp.gateway else ""
    about += f", pointer {icmp.pointer}" if icmp.pointer is not None else ""
    try:
        quoted = packet.quoted
    except PacketError:
        return f"ICMP {icmp.name}{about}, length {size}"
    ports = f" port {quoted.ports[1]}" if quoted.ports else ""
    return f"ICMP {icmp.name}{about}, for {protocol_name(quoted.ip.protocol)} to {quoted.ip.dst}{ports}, length {size}"


def _notes(packet: Packet) -> Iterable[str]:
    """What is suspicious, in as few words as will do."""
    for finding in findings(packet):
        if finding.kind is FindingKind.CHECKSUM and finding.present is not None and finding.needed is not None:
            yield f"bad {finding.layer} checksum {finding.present:#06x}, should be {finding.needed:#06x}"
        else:
            yield f"{finding.layer} {finding.field.replace('_', ' ')}: {finding.rule}"


def to_dict(packet: Packet | bytes) -> dict[str, object]:
    """The packet as dictionaries, numbers and text, for JSON: the fields by their names, octets in hexadecimal."""
    packet = as_received(packet)
    result: dict[str, object] = {}
    for header in packet.headers:
        fields = {field: _plain_value(getattr(header, field)) for field in header.__struct_fields__}
        result[type(header).__name__.lower()] = fields
    result["payload"] = packet.payload.hex()
    if packet.trailer:
        result["trailer"] = packet.trailer.hex()
    result["checksums"] = {each.layer.lower(): str(each.verdict) for each in checksums(packet)}
    result["findings"] = [str(finding) for finding in findings(packet)]
    result["summary"] = summary(packet)
    return result


def _plain_value(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return int(value) if isinstance(value, int) else value
