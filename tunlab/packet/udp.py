"""The UDP header: RFC 768."""

from __future__ import annotations

import struct
from typing import ClassVar

from msgspec.structs import replace

from tunlab.packet.checksum import internet_checksum
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Transport
from tunlab.packet.ipv4 import IPv4

LENGTH = 8

_PACKED = struct.Struct("!HHHH")
unpack_udp = _PACKED.unpack_from


class UDP(Transport, frozen=True, gc=False):
    """A UDP header.

    length     octets of header and payload; None: computed
    checksum   None: computed; 0: the sender made none
    """

    PROTOCOL: ClassVar = 17
    LAYOUT: ClassVar = (("src_port", 16), ("dst_port", 16), ("length", 16), ("checksum", 16))
    DERIVED: ClassVar = frozenset({"length", "checksum"})

    src_port: int = 0
    dst_port: int = 0
    length: int | None = None
    checksum: int | None = None

    def complete(self, ip: IPv4, payload: bytes) -> UDP:
        """This header behind `ip` and before `payload`, with length and checksum computed where they are None."""
        length = LENGTH + len(payload) if self.length is None else self.length
        header = replace(self, length=length, checksum=0 if self.checksum is None else self.checksum)
        if self.checksum is None:
            header = replace(header, checksum=udp_checksum(ip, header, payload))
        return header

    def to_bytes(self) -> bytes:
        """The eight octets on the wire; raises MalformedError where a field does not fit."""
        try:
            return _PACKED.pack(self.src_port, self.dst_port, self.length, self.checksum)
        except struct.error:
            raise self.field_error() from None


def udp_checksum(ip: IPv4, udp: UDP, payload: bytes) -> int:
    """The checksum that belongs into `udp`, whatever stands there."""
    octets = replace(udp, checksum=0).to_bytes() + payload
    # "If the computed checksum is zero, it is transmitted as all ones": zero on the wire means that none was made.
    return internet_checksum(ip.pseudo_header(UDP.PROTOCOL, len(octets)) + octets) or 0xFFFF


def udp_findings(udp: UDP, offset: int, present: int, length_from: str, whole: bool) -> list[Finding]:
    """What is wrong with a header at `offset`, with `present` octets from there on; its checksum apart.

    whole   whether all of the datagram is here: a first fragment holds less than its UDP length says
    """
    length = udp.length or 0
    if length < LENGTH:
        rule = "it is less than the header itself (RFC 768)"
        return [Finding("UDP", "length", FindingKind.LENGTH, offset + 4, rule, LENGTH, length, "UDP.length")]
    if length > present and whole:
        rule = "the datagram is cut short"
        return [Finding("UDP", "length", FindingKind.TRUNCATED, offset + 4, rule, length, present, length_from)]
    if length < present and whole:
        rule = f"{present - length} octets stand after the UDP datagram's end"
        return [Finding("UDP", "length", FindingKind.TRAILER, offset + 4, rule, length, present, length_from)]
    return []
