"""Recorded packets, and the numbers of the file formats: pcapng and classic pcap.

Source: draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

import errno
from typing import Literal, TypeAlias

from msgspec import Struct

from tunlab.errors import KernelError

Buffer: TypeAlias = bytes | bytearray | memoryview
Direction: TypeAlias = Literal["in", "out"]
"""Direction seen from the recorded device: it received "in" (for a TUN: injected) and sent "out"."""

LINKTYPE_NULL, LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_LOOP = 0, 1, 101, 108
LINKTYPE_LINUX_SLL, LINKTYPE_IPV4, LINKTYPE_IPV6, LINKTYPE_LINUX_SLL2 = 113, 228, 229, 276

MAX_PACKET_SIZE = 262_144
"""Largest packet that is written, in bytes: Wireshark and tcpdump read no larger one."""

MAX_BLOCK_SIZE = 16 * 1024 * 1024
"""Largest block or classic packet that is read, in bytes: Wireshark's limit."""

SECTION_HEADER, INTERFACE, PACKET, SIMPLE_PACKET, STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
"""Types of blocks."""

DIRECTIONS: tuple[Direction | None, ...] = (None, "in", "out", None)
"""Directions by the two lowest bits of epb_flags."""

CUSTOM_UTF8 = 2988
"""Code of a custom option with text that programs may copy (section 3.5.1)."""

ANNOTATION_HEAD = "tunlab:"
"""First characters of tunlab's custom options."""

ENTERPRISE_NUMBER = 32473
"""Private enterprise number of tunlab's custom options: the one for examples (RFC 5612), as tunlab has none."""

_REMEDIES = {
    errno.ENOENT: "check the path, and that its directory exists",
    errno.EISDIR: "name a file, not a directory",
    errno.ENOSPC: "make room on the disk; what was written before can be read",
}


class RecordedInterface(Struct, frozen=True):
    """An interface whose packets were recorded.

    Attributes:
        index: Number in its section of the file, from 0.
        name: Name of the device; "" if the file has none.
        linktype: LINKTYPE_* of its packets.
        snaplen: Bytes kept of each packet; 0 for all.
        ticks_per_second: Resolution of the time stamps.
        time_offset: Seconds added to each time stamp.
    """

    index: int
    name: str
    linktype: int
    snaplen: int = 0
    ticks_per_second: int = 10**6
    time_offset: int = 0


class RecordedPacket(Struct, frozen=True):
    """A recorded packet.

    Attributes:
        interface: The interface.
        time_ns: Nanoseconds since the epoch; None if the file has no time for it (simple packet block).
        data: The kept bytes, with the link header.
        wire_length: Bytes on the wire.
        direction: "in" or "out"; None if unknown.
        comment: Comment; several are joined by line breaks.
        dropped: Packets lost since the previous one on this interface; None if unknown.
        annotation: JSON text that tunlab wrote for its HTML page; "" if there is none.
    """

    interface: RecordedInterface
    time_ns: int | None
    data: bytes
    wire_length: int
    direction: Direction | None = None
    comment: str = ""
    dropped: int | None = None
    annotation: str = ""


def file_error(error: OSError, verb: str, file: object) -> KernelError:
    code, operation = error.errno or 0, f"{verb} {getattr(file, 'name', file)}"
    return KernelError(code, operation, reason=error.strerror or str(error), remedy=_REMEDIES.get(code, ""))
