"""The packet in a record, whatever its link type, and the bytes of the IP packet alone."""

from __future__ import annotations

from tunlab.errors import PacketError
from tunlab.packet import Link, Network, Packet, parse
from tunlab.packet.header import layer_of
from tunlab.recorder.formats import LINKTYPE_ETHERNET, RAW_LINK_TYPES, RecordedPacket

_MAX_PADDED = 64
"""Bytes of the longest frame with padding: 60, and a VLAN tag or the frame check sequence."""


def parse_record(record: RecordedPacket) -> Packet:
    """Return the packet of a record, with its link headers.

    Raises:
        PacketError: If its first header cannot be read, or the link type is not known.
    """
    return parse(
        record.data,
        link_type=record.interface.linktype,
        wire_length=record.wire_length,
        time=record.time_ns,
        clock="realtime" if record.time_ns is not None else "",
    )


def extract_ip(record: RecordedPacket) -> bytes | None:
    """Return the bytes of a record from the first IP header on; None if there is none.

    They may be malformed or cut short. Only the padding of a short Ethernet frame is removed.
    """
    data, start = record.data, 0
    try:
        packet = parse_record(record)
        following = None
        for header in packet.headers:
            if not isinstance(header, Link):
                break
            _, start, _, following = header.read(data, start, len(data))
        carries_ip = following is not None and issubclass(layer_of(following), Network)
        if start and not (carries_ip and start < len(data)):
            return None
    except PacketError:
        # Without a link header, keep a packet with an invalid IP version: a test may send one.
        return data if data and record.interface.linktype in RAW_LINK_TYPES else None
    padding = packet.trailer if record.interface.linktype == LINKTYPE_ETHERNET and len(data) <= _MAX_PADDED else b""
    return data[start : len(data) - len(padding)]
