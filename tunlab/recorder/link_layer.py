"""The link layer of a recorded frame: VLAN tags, and the position of the IPv4 packet for each link type."""

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

# EtherTypes of VLAN tags: 802.1Q, 802.1ad, and the one used before 802.1ad
_VLAN_TYPES = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_IPV4_TYPES = (b"\x08\x00", b"\x02\0\0\0", b"\0\0\0\x02")  # IPv4 as an EtherType, and as AF_INET in either byte order
_ETHERTYPE = 12  # the offset of the first EtherType in an Ethernet frame

# The position of the payload's type in a link header, and the header's length in bytes.
_TYPE_AND_LENGTH = {
    LINKTYPE_ETHERNET: (slice(12, 14), 14), LINKTYPE_NULL: (slice(4), 4), LINKTYPE_LOOP: (slice(4), 4),
    LINKTYPE_LINUX_SLL: (slice(14, 16), 16), LINKTYPE_LINUX_SLL2: (slice(2), 20),
}  # fmt: skip


def skip_vlan_tags(frame: bytes, ethertype: int = _ETHERTYPE) -> int:
    """Return the offset of the EtherType after all VLAN tags; `ethertype` is the offset of the first one."""
    while frame[ethertype : ethertype + 2] in _VLAN_TYPES and ethertype + 6 <= len(frame):
        ethertype += 4
    return ethertype


def extract_ipv4(record: RecordedPacket) -> bytes | None:
    """Return the IPv4 packet of a recorded frame; None if there is none, or the link type is unknown.

    The packet may be malformed or truncated. Only the padding of a short Ethernet frame is removed.
    """
    position = locate_ipv4(record)
    return None if position is None else record.data[position]


def locate_ipv4(record: RecordedPacket) -> slice | None:
    """Return the position in `record.data` of the packet that `extract_ipv4` returns."""
    data, linktype = record.data, record.interface.linktype
    # 12 is libpcap's internal number of LINKTYPE_RAW, which some programs write.
    if linktype in (LINKTYPE_RAW, 12, LINKTYPE_IPV4):
        # LINKTYPE_RAW is IPv4 or IPv6. Only a first nibble of 6 means IPv6, because a test may send any other version.
        is_ipv4 = data and (linktype == LINKTYPE_IPV4 or data[0] >> 4 != 6)
        return slice(0, len(data)) if is_ipv4 else None
    kind, length = _TYPE_AND_LENGTH.get(linktype, (slice(0), 0))
    if data[kind] in _VLAN_TYPES:
        # The link header ends with the type of the first VLAN tag. The tag's other two bytes follow, then the next
        # type.
        ethertype = skip_vlan_tags(data, length + 2)
        kind, length = slice(ethertype, ethertype + 2), ethertype + 2
    if data[kind] not in _IPV4_TYPES or len(data) <= length:
        return None
    total_length = int.from_bytes(data[length + 2 : length + 4], "big")
    # Ethernet pads to 64 bytes, including a VLAN tag or check sequence. If the IPv4 length is below 20 bytes, it is
    # invalid, and the padding's length is unknown.
    padded = linktype == LINKTYPE_ETHERNET and len(data) <= 64 and total_length >= 20
    return slice(length, min(len(data), length + total_length) if padded else len(data))
