"""Checksum offload undone: packets captured on their way to a device that would have computed their checksum.

Source: Documentation/networking/checksum-offloads.rst. The checksum of such a packet is not wrong, only unfinished.
"""

from __future__ import annotations

from tunlab.errors import PacketError
from tunlab.packet import TCP, UDP, Packet, build, parse


def complete_checksum(octets: bytes) -> bytes:
    """Return the packet with its TCP or UDP checksum computed; unchanged if it is not IPv4."""
    try:
        packet = parse(octets)
    except PacketError:
        return octets
    return complete_packet_checksum(packet)


def complete_packet_checksum(packet: Packet) -> bytes:
    """Return the bytes of a parsed packet with its TCP or UDP checksum computed."""
    headers = [each.replace(checksum=None) if isinstance(each, TCP | UDP) else each for each in packet.headers]
    return build(*headers, packet.payload) + packet.trailer
