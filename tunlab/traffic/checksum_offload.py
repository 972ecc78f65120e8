"""What the kernel leaves to a device to finish, finished: a checksum in a packet that was seen on its way there.

Source: Documentation/networking/checksum-offloads.rst. It is no fault of the packet, and must not be shown as one.
"""

from __future__ import annotations

from msgspec.structs import replace

from tunlab.errors import PacketError
from tunlab.packet import TCP, UDP, Packet, build, parse


def complete_checksum(octets: bytes) -> bytes:
    """The datagram with its transport checksum as the device would have made it; as it is where there is none."""
    try:
        packet = parse(octets)
    except PacketError:
        return octets
    return complete_packet_checksum(packet)


def complete_packet_checksum(packet: Packet) -> bytes:
    """As `complete_checksum`, of a packet that was parsed."""
    headers = [replace(each, checksum=None) if isinstance(each, TCP | UDP) else each for each in packet.headers]
    return build(*headers, packet.payload) + packet.trailer
