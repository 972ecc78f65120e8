"""The IPv4 packet in a recorded frame, for each link type."""

from __future__ import annotations

from tunlab.recorder.formats import (
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
    RecordedPacket,
)

_VLAN_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")  # 802.1Q, 802.1ad, and its predecessor
_IPV4_TYPES = (b"\x08\x00", b"\x02\0\0\0", b"\0\0\0\x02")  # an Ethertype; AF_INET in either byte order
# Position of the protocol type in each link header, and length of the header in bytes.
_TYPE_AND_LENGTH = {
    LINKTYPE_ETHERNET: (slice(12, 14), 14), LINKTYPE_NULL: (slice(4), 4), LINKTYPE_LOOP: (slice(4), 4),
    LINKTYPE_LINUX_SLL: (slice(14, 16), 16), LINKTYPE_LINUX_SLL2: (slice(2), 20),
}  # fmt: skip


def extract_ipv4(record: RecordedPacket) -> bytes | None:
    """Return the IPv4 packet in a record as it was recorded, without Ethernet padding; None if there is none."""
    place = locate_ipv4(record)
    return None if place is None else record.data[place]


def locate_ipv4(record: RecordedPacket) -> slice | None:
    """Return the position of the IPv4 packet in a record, without Ethernet padding; None if there is none."""
    octets, linktype = record.data, record.interface.linktype
    if linktype in (
        LINKTYPE_RAW,
        12,
        LINKTYPE_IPV4,
    ):  # 12: libpcap's own LINKTYPE_RAW
        # LINKTYPE_RAW is IPv4 or IPv6; a wrong version number is taken for damaged IPv4.
        known = octets and (linktype == LINKTYPE_IPV4 or octets[0] >> 4 != 6)
        return slice(0, len(octets)) if known else None
    place, length = _TYPE_AND_LENGTH.get(linktype, (slice(0), 0))
    while octets[place] in _VLAN_TAGS:
        place, length = slice(length + 2, length + 4), length + 4
    if octets[place] not in _IPV4_TYPES or len(octets) <= length:
        return None
    total_length = int.from_bytes(octets[length + 2 : length + 4], "big")
    # Ethernet pads to 64 bytes, with VLAN tag and check sequence. A total length below 20 is invalid.
    padded = linktype == LINKTYPE_ETHERNET and len(octets) <= 64 and total_length >= 20
    return slice(length, min(len(octets), length + total_length) if padded else len(octets))
