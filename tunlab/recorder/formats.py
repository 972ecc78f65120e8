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
"""As the recorded device sees it: it received "in" (for a TUN: injected), and sent "out"."""

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
    """What packets were recorded on.

    index             its number, from 0, in its section of the file
    linktype          LINKTYPE_*: what a packet's octets begin with
    snaplen           octets kept of a packet at most; 0 for all
    ticks_per_second  the resolution of the file's time stamps
    time_offset       seconds that the file adds to each of them
    """

    index: int
    name: str
    linktype: int
    snaplen: int = 0
    ticks_per_second: int = 10**6
    time_offset: int = 0


class RecordedPacket(Struct, frozen=True):
    """A recorded packet.

    time_ns      nanoseconds since the epoch; None in a simple packet block, which has no time
    data         from the link's header on, as many as were kept
    wire_length  octets that it had on the wire
    direction    None where the file does not say
    comment      several are joined, one a line
    annotation   tunlab's own data on the packet, JSON text of `tunlab.report.annotation`; "" if there is none
    dropped      packets lost between the one before on this interface and this one; None where nobody counted
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
