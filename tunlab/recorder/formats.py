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
"""The direction from the recorded interface's view: "in" was received (for a TUN: injected), "out" was sent."""

LINKTYPE_NULL, LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_LOOP = 0, 1, 101, 108
LINKTYPE_LINUX_SLL, LINKTYPE_IPV4, LINKTYPE_IPV6, LINKTYPE_LINUX_SLL2 = 113, 228, 229, 276

RAW_LINK_TYPES = frozenset({LINKTYPE_RAW, 12, LINKTYPE_IPV4, LINKTYPE_IPV6})
"""Link types of packets that begin with an IP header. 12 is libpcap's internal LINKTYPE_RAW; some programs write it."""

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

TAP_DESCRIPTION = "TAP"
"""Description of a TAP, whose link type is that of every Ethernet device."""

ANNOTATION_HEAD = "tunlab:"
"""First characters of tunlab's custom options."""

ENTERPRISE_NUMBER = 32473
"""Private enterprise number of tunlab's custom options: the one for examples (RFC 5612), as tunlab has none."""

_REMEDIES = {
    errno.ENOENT: "check the path, and that its directory exists",
    errno.EISDIR: "give a file, not a directory",
    errno.ENOSPC: "free disk space. The packets written before can be read",
}


class RecordedInterface(Struct, frozen=True):
    """An interface in a recording.

    Attributes:
        index: The number in its section of the file, from 0.
        name: The name, or "".
        linktype: LINKTYPE_*, the first header of each packet.
        snaplen: The maximum number of bytes kept of a packet; 0 for no limit.
        ticks_per_second: The resolution of the file's time stamps.
        time_offset: Seconds to add to each time stamp of the file.
        description: The description, or "".
    """

    index: int
    name: str
    linktype: int
    snaplen: int = 0
    ticks_per_second: int = 10**6
    time_offset: int = 0
    description: str = ""

    @property
    def is_link(self) -> bool:
        """True for Ethernet between two devices, False for a TUN, or a TAP that a program reads and writes."""
        return self.linktype == LINKTYPE_ETHERNET and self.description != TAP_DESCRIPTION


class RecordedPacket(Struct, frozen=True):
    """A recorded packet.

    Attributes:
        interface: The interface.
        time_ns: Nanoseconds since the epoch; None in a simple packet block, which has no time stamp.
        data: The bytes that were kept, from the link header.
        wire_length: The packet's length on the wire in bytes.
        direction: The direction; None if the file does not contain it.
        comment: The comments, joined by newlines.
        dropped: Packets lost on this interface since the previous packet; None if not counted.
        annotation: tunlab's own data on the packet, JSON text of `tunlab.report.annotation`; "" if there is none.
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
    """Return the KernelError for an OSError on a file; `verb` is "open", "read" or "write"."""
    code, operation = error.errno or 0, f"{verb} {getattr(file, 'name', file)}"
    return KernelError(code, operation, reason=error.strerror or str(error), remedy=_REMEDIES.get(code, ""))
