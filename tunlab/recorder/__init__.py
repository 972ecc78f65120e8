"""Recordings of packets: pcapng files written and read, classic pcap files read."""

from tunlab.recorder.formats import (
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
    MAX_BLOCK_SIZE,
    MAX_PACKET_SIZE,
    RAW_LINK_TYPES,
    TAP_DESCRIPTION,
    Buffer,
    Direction,
    RecordedInterface,
    RecordedPacket,
)
from tunlab.recorder.link_layer import extract_ip, parse_record
from tunlab.recorder.pcapng_writer import PcapngWriter
from tunlab.recorder.reader import read_pcapng

__all__ = [
    "LINKTYPE_ETHERNET", "LINKTYPE_IPV4", "LINKTYPE_IPV6", "LINKTYPE_LINUX_SLL", "LINKTYPE_LINUX_SLL2",
    "LINKTYPE_LOOP", "LINKTYPE_NULL", "LINKTYPE_RAW", "MAX_BLOCK_SIZE", "MAX_PACKET_SIZE", "RAW_LINK_TYPES",
    "TAP_DESCRIPTION", "Buffer", "Direction", "PcapngWriter", "RecordedInterface", "RecordedPacket", "extract_ip",
    "parse_record", "read_pcapng",
]  # fmt: skip
