"""Packets as text: the listing, the hex dump, the one-line summary, and dictionaries for JSON."""

from __future__ import annotations

from collections.abc import Iterator

from tunlab.errors import PacketError
from tunlab.packet.field import count
from tunlab.packet.findings import Finding
from tunlab.packet.judgement import PacketLike, layers_of
from tunlab.packet.kinds import Link, Network
from tunlab.packet.layers import Layers
from tunlab.packet.packet import Packet
from tunlab.packet.tables import LINK_TYPES
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


def hexdump(data: bytes | bytearray | memoryview, *, link_type: int | None = None) -> str:
    """Return the bytes in hexadecimal, four a line (a row of RFC 791's diagrams), in sections for headers and payload.

    Bytes that are not a packet are dumped in one piece.

    Args:
        link_type: The link type of the bytes, as for `parse`; None for an IP packet.
    """
    data = to_bytes(data)
    lines = ["=== Raw Packet Hexdump ===", "", "Raw IP packet bytes:"]
    try:
        layers = layers_of(data, link_type).layers
    except PacketError:
        return "\n".join([*lines, *_rows(data)])
    links = [layer for layer in layers if isinstance(layer.header, Link)]
    start = links[-1].body if links else 0
    if links:
        lines[-1:] = ["Raw frame bytes:", f"Link headers ({start} bytes):", *_rows(data[:start])]
    first = next((layer for layer in layers if layer.start == start and isinstance(layer.header, Network)), None)
    if first is not None:
        head = data[start : first.body]
        lines += [f"Header (IHL: {first.header.header_length} bytes):", *_rows(head)]
        start = first.body
    payload = data[start:]
    lines += ["", "Payload:", *_rows(payload)]
    return "\n".join(lines if payload else [*lines, "(empty)"])


def _rows(data: bytes) -> Iterator[str]:
    return (data[at : at + 4].hex(" ") for at in range(0, len(data), 4))


def summary(packet: PacketLike, *, link_type: int | None = None) -> str:
    """Return the packet in one line, as tcpdump prints it, with findings in square brackets.

    Bytes that are not a packet are described; this does not raise.

    Args:
        link_type: The link type of bytes, as for `parse`; None for an IP packet.
    """
    if type(packet) is not bytes and not isinstance(packet, Packet):
        packet = to_bytes(packet)
    try:
        layers = layers_of(packet, link_type)
    except PacketError as error:
        size = "" if isinstance(packet, Packet) else f"{count(len(packet), 'byte')}, "
        kind = "an IP packet" if LINK_TYPES.get(101 if link_type is None else link_type) is None else "a frame"
        return f"{size}not {kind}: {error.problem}"
    return _summary(layers, layers.findings)


def _summary(layers: Layers, found: list[Finding]) -> str:
    return layers.summary + "".join([f" [{finding.brief}]" for finding in found]) if found else layers.summary


def to_dict(packet: PacketLike) -> dict[str, object]:
    """Return the packet as dictionaries, numbers and text for JSON: the keys are protocols, bytes are hexadecimal.

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
