"""Completion of TCP and UDP checksums in packets captured before checksum offload.

With checksum offload the device computes the checksum. A packet captured before that has an incomplete checksum, which
would look like an error. Source: Documentation/networking/checksum-offloads.rst in Linux.
"""

from __future__ import annotations

from tunlab.packet import TCP, UDP, Packet, build


def complete_packet_checksum(packet: Packet) -> bytes:
    """Return the bytes of a parsed packet with the correct TCP or UDP checksum."""
    headers = [each.replace(checksum=None) if isinstance(each, TCP | UDP) else each for each in packet.headers]
    return build(*headers, packet.payload) + packet.trailer
