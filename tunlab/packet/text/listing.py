"""Packets as text: the listing, the hex dump, the one-line summary, and dictionaries for JSON."""

from __future__ import annotations

from collections.abc import Iterator

from tunlab.errors import PacketError
from tunlab.packet.findings import Finding
from tunlab.packet.judgement import PacketLike, layers_of
from tunlab.packet.kinds import Network
from tunlab.packet.layers import Layers
from tunlab.packet.packet import Packet
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error


def listing(packet: PacketLike, *, verbose: bool = False) -> str:
    """Return the packet as `tunlab dump` lists it: the main fields of IP headers, a line each, or all fields of ARP.

    Args:
        verbose: Add every field of every header, the verdicts on checksums, and the options.
    """
    layers = layers_of(packet)
    is_ip = any(isinstance(layer.header, Network) for layer in layers.layers)
    lines = [f"=== Parsed {'IP Packet' if is_ip else 'Frame'} ==="]
    for layer in layers.layers:
        lines += layer.header.listing(layer, verbose=verbose)
    found = layers.findings
    if found:
        lines += ["Findings:", *(f"  {finding}" for finding in found)]
    return "\n".join(lines)


def hexdump(data: bytes | bytearray | memoryview) -> str:
    """Return the bytes in hexadecimal, four a line (a row of RFC 791's diagrams), header and payload apart.

    Bytes that are not an IP packet are dumped in one piece.
    """
    data = to_bytes(data)
    lines = ["=== Raw Packet Hexdump ===", "", "Raw IP packet bytes:"]
    try:
        first = layers_of(data).layers[0]
    except PacketError:
        return "\n".join([*lines, *_rows(data)])
    payload = data[first.body :]
    length = first.header.header_length
    lines += [f"Header (IHL: {length} bytes):", *_rows(data[: first.body]), "", "Payload:", *_rows(payload)]
    return "\n".join(lines if payload else [*lines, "(empty)"])


def _rows(data: bytes) -> Iterator[str]:
    return (data[at : at + 4].hex(" ") for at in range(0, len(data), 4))


def summary(packet: PacketLike) -> str:
    """Return the packet in one line, as tcpdump prints it, with findings in square brackets.

    Bytes that are not an IP packet are described; this does not raise.
    """
    if type(packet) is not bytes and not isinstance(packet, Packet):
        packet = to_bytes(packet)
    try:
        layers = layers_of(packet)
    except PacketError as error:
        size = "" if isinstance(packet, Packet) else f"{len(packet)} bytes, "
        return f"{size}not an IP packet: {error}"
    return _summary(layers, layers.findings)


def _summary(layers: Layers, found: list[Finding]) -> str:
    return layers.summary + "".join([f" [{finding.brief}]" for finding in found]) if found else layers.summary


def to_dict(packet: PacketLike) -> dict[str, object]:
    """Return the packet as dictionaries, numbers and text for JSON: each header by its protocol, bytes in hexadecimal.

    The second header of a protocol has the key "ipv4_2", and so on.
    """
    layers = layers_of(packet)
    checksums = layers.checksums
    found = layers.findings_with(checksums)
    keys: list[str] = []
    result: dict[str, object] = {}
    verdicts: dict[str, str] = {}
    for layer in layers.layers:
        name = layer.header.layer_name.lower()
        keys.append(name)
        key = name if keys.count(name) == 1 else f"{name}_{keys.count(name)}"
        result[key] = layer.header.to_dict()
        verdicts |= {key: str(checksum.verdict) for each, checksum in checksums if each is layer}  # noqa: B035
    result["payload"] = layers.payload.hex()
    trailer = layers.data[layers.end :]
    if trailer:
        result["trailer"] = trailer.hex()
    result["checksums"] = verdicts
    result["findings"] = [str(finding) for finding in found]
    result["summary"] = _summary(layers, found)
    return result
