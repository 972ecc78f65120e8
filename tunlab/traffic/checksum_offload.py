"""Completion of TCP and UDP checksums that the kernel left to the device (checksum offload).

A packet captured before the device computed its checksum has an incomplete one, which would look like an error.
Source: Documentation/networking/checksum-offloads.rst.
"""

from __future__ import annotations

from tunlab.errors import PacketError
from tunlab.packet import TCP, UDP, Packet, build, parse


def complete_checksum(data: bytes) -> bytes:
    """Return the packet with its TCP or UDP checksum computed; unchanged if it is not IPv4."""
    try:
        packet = parse(data)
    except PacketError:
        return data
    return complete_packet_checksum(packet)


def complete_packet_checksum(packet: Packet) -> bytes:
    """Return the bytes of a parsed packet with its TCP or UDP checksum computed."""
    headers = [each.replace(checksum=None) if isinstance(each, TCP | UDP) else each for each in packet.headers]
    return build(*headers, packet.payload) + packet.trailer
