"""The functions `findings`, `checksums` and `reply`, which treat a packet as its receiver would."""

from __future__ import annotations

from typing import TypeAlias

from tunlab.errors import PacketError
from tunlab.packet.address import AddressLike, IPv6AddressLike
from tunlab.packet.checksum import Checksum
from tunlab.packet.findings import Finding
from tunlab.packet.header import Header
from tunlab.packet.kinds import Network
from tunlab.packet.layers import Layers, first_header, read_layers
from tunlab.packet.packet import Packet, build
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

PacketLike: TypeAlias = Packet | bytes | bytearray | memoryview
"""A packet, or the bytes of one that begins with its IP header."""


def layers_of(packet: PacketLike, link_type: int | None = None) -> Layers:
    """Return the headers as a receiver reads them; a Packet is built first, so forced fields have their effect.

    Args:
        link_type: The link type of bytes, as for `parse`.

    Raises:
        PacketError: If it cannot be built, or its first header cannot be read.
    """
    if type(packet) is bytes:
        return read_layers(packet, first_header(packet, link_type))
    if isinstance(packet, Packet):
        first = packet.headers[0].read if packet.headers else None
        return read_layers(build(packet), first, packet.missing)
    data = to_bytes(packet)
    return read_layers(data, first_header(data, link_type))


def findings(packet: PacketLike) -> list[Finding]:
    """Return the faults of a packet, sorted by offset.

    Raises:
        PacketError: If it cannot be built, or its first header cannot be read.
    """
    return layers_of(packet).findings


def checksums(packet: PacketLike) -> list[Checksum]:
    """Return the verdict on each checksum, the outermost first: good, bad, or not verifiable with the reason.

    Raises:
        PacketError: If the packet cannot be built, or its first header cannot be read.
    """
    return [checksum for _, checksum in layers_of(packet).checksums]


def reply(packet: Packet, src: AddressLike | IPv6AddressLike | None = None) -> tuple[Network, Header]:
    """Return headers that answer `packet`, with addresses and ports swapped; an echo request becomes an echo reply.

    The answer to a packet in a tunnel has the innermost IP header only. Write the outer headers before it to send it
    through the tunnel.

    A TCP reply has the flag ACK and acknowledges the payload, SYN and FIN (RFC 9293 section 3.4). Change other fields
    with `replace`.

    Args:
        src: The source address of the reply; None: the destination of `packet`. Give it if that is a multicast address.

    Raises:
        PacketError: If there is no reply to such a packet, or its destination cannot be a source.
    """
    layers = layers_of(packet).layers
    last = layers[-1]
    answer = last.header.reply(last)
    network = next((layer for layer in reversed(layers) if isinstance(layer.header, Network)), None)
    back = None if network is None else network.header.reply(network)
    if answer is None or not isinstance(back, Network) or isinstance(last.header, Network):
        raise PacketError("reply() cannot answer this packet. Give a TCP or UDP packet or an echo request.")
    if src is not None:
        back = back.replace(src=src)
    elif back.src_address.is_multicast or back.src == "255.255.255.255":
        raise PacketError(
            f"the destination {back.src} cannot be the source of a reply. Give a source: reply(packet, src=…)."
        )
    return back, answer
