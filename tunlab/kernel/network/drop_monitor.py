"""The reasons for which the kernel drops packets, from its tracepoint skb:kfree_skb.

Source: perf_event_open(2); Documentation/trace/events.rst for the tracepoint's number and fields;
include/net/dropreason-core.h for the reasons. The event belongs to one thread and one descriptor, so it changes nothing
on the machine. The kernel handles an injected packet in the injecting thread; packets of programs and of other threads
are not seen.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
from functools import cache
from pathlib import Path

import msgspec

from tunlab.kernel import libc
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns_thread import run_in_thread

_TRACEFS = Path("/sys/kernel/tracing")
_EVENT = "events/skb/kfree_skb"

# from <linux/perf_event.h>
_PERF_TYPE_TRACEPOINT, _PERF_SAMPLE_RAW, _PERF_RECORD_SAMPLE = 2, 1 << 10, 9
_PERF_FLAG_FD_CLOEXEC = 8
# struct perf_event_attr (120 bytes): type, size, config, period, sample type, read format, flags
_ATTRIBUTES = struct.Struct("=IIQQQQQ72x")
_HEAD, _TAIL = 1024, 1032  # offsets of data_head and data_tail in struct perf_event_mmap_page
_RING_PAGES = 16  # The kernel requires a power of two as the ring's size in pages. A record has about 64 bytes.
_HEADER = struct.Struct("=IHH")  # struct perf_event_header: type, misc, size

_FIELD = re.compile(r"field:.*?\b(\w+)(?:\[\w*\])?;\s*offset:(\d+);\s*size:(\d+);")
_REASON = re.compile(r"\{ *(\d+), *\"(\w+)\" *\}")

# Drop reasons of packets that the kernel freed because a socket was closed or did not need them. The kernel did not
# reject these packets.
_NOT_REJECTED = {"QUEUE_PURGE", "SOCKET_CLOSE", "PACKET_SOCK_ERROR", "UNIX_DISCONNECT"}
_IP = {0x0800, 0x86DD}


class DropTracepoint(msgspec.Struct, frozen=True):
    """The tracepoint of this kernel: its number, the offset and size of its fields, the reasons by number."""

    number: int
    fields: dict[str, tuple[int, int]]
    reasons: dict[int, str]


class DropMonitor(Closeable):
    """The drop reasons of IP packets that the kernel handles in the thread that created this object."""

    __slots__ = ("_event", "_fd", "_ring")

    def __init__(self) -> None:
        """Open the event. Raises OSError if the kernel is too old, or CAP_PERFMON on the machine is missing."""
        self._event = read_drop_tracepoint()
        attributes = _ATTRIBUTES.pack(
            _PERF_TYPE_TRACEPOINT, _ATTRIBUTES.size, self._event.number, 1, _PERF_SAMPLE_RAW, 0, 0
        )
        self._fd = libc.perf_event_open(attributes, _PERF_FLAG_FD_CLOEXEC)
        try:
            self._ring = libc.map_shared(self._fd, (1 + _RING_PAGES) * mmap.PAGESIZE)
        except BaseException:
            os.close(self._fd)
            raise

    def clear(self) -> None:
        """Discard the reasons so far."""
        struct.pack_into("=Q", self._ring, _TAIL, struct.unpack_from("=Q", self._ring, _HEAD)[0])

    def read(self) -> list[str]:
        """Return up to 1,000 reasons since the last `clear` or `read`, in order: "IP_CSUM", "NETFILTER_DROP", …"""
        head, tail = struct.unpack_from("=QQ", self._ring, _HEAD)
        data = bytes(self._ring[mmap.PAGESIZE :])
        data += data  # Repeat the ring, so that a record that wraps around its end is contiguous.
        found, position = list[str](), tail
        while position < head:
            start = position % (len(data) // 2)
            kind, _, size = _HEADER.unpack_from(data, start)
            if kind == _PERF_RECORD_SAMPLE:
                # The tracepoint's fields follow a 32-bit length.
                found += self._reason(data[start + _HEADER.size + 4 : start + size])
            position += size
        struct.pack_into("=Q", self._ring, _TAIL, head)
        return found

    def _reason(self, raw: bytes) -> list[str]:
        def field(name: str) -> int:
            offset, size = self._event.fields[name]
            return int.from_bytes(raw[offset : offset + size], sys.byteorder)

        if field("protocol") not in _IP:
            return []
        number = field("reason")
        reason = self._event.reasons.get(number, f"reason {number}")
        return [] if reason in _NOT_REJECTED else [reason]

    @property
    def fd(self) -> int:
        """The descriptor of the event."""
        return self._fd

    @property
    def closed(self) -> bool:
        """True if closed."""
        return self._fd < 0

    def close(self) -> None:
        """Close the event. May be called again."""
        if not self.closed:
            libc.unmap(self._ring)
            os.close(self._fd)
            self._fd = -1


@cache
def read_drop_tracepoint() -> DropTracepoint:
    """Read the tracepoint's description from tracefs, which is mounted for one short-lived thread if necessary.

    Raises OSError if there is no such tracepoint, or this user may not read it.
    """
    directory = _TRACEFS / _EVENT
    if (directory / "id").exists():
        return _read(directory)

    def mounted() -> DropTracepoint:
        libc.unshare(libc.CLONE_NEWNS)  # The mount in the new mount namespace disappears when this thread ends.
        libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("tracefs", "/sys", "tracefs", 0)
        return _read(Path("/sys", _EVENT))

    return run_in_thread(mounted)


def _read(directory: Path) -> DropTracepoint:
    number, form = int((directory / "id").read_text()), (directory / "format").read_text()
    fields = {name: (int(offset), int(size)) for name, offset, size in _FIELD.findall(form)}
    if not {"protocol", "reason"} <= fields.keys():
        raise OSError(0, "this kernel gives no drop reasons, which need Linux 5.17")
    return DropTracepoint(number, fields, {int(number): name for number, name in _REASON.findall(form)})
