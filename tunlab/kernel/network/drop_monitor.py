"""Why the kernel drops a packet: the reasons that it gives at its tracepoint skb:kfree_skb.

Source: perf_event_open(2); Documentation/trace/events.rst for the tracepoint's number and its fields;
include/net/dropreason-core.h for what the reasons mean. The event is bound to a descriptor and to the calling thread:
nothing is changed on the machine, and it is gone with the process. A packet that this thread injects is judged by the
kernel in this thread; one that a program or another thread sends is not seen here.
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

# <linux/perf_event.h>
_PERF_TYPE_TRACEPOINT, _PERF_SAMPLE_RAW, _PERF_RECORD_SAMPLE = 2, 1 << 10, 9
_PERF_FLAG_FD_CLOEXEC = 8
_ATTRIBUTES = struct.Struct("=IIQQQQQ72x")  # type, size, config, period, sample type, read format, flags; 120 octets
_HEAD, _TAIL = 1024, 1032  # data_head and data_tail in struct perf_event_mmap_page
_RING_PAGES = 16  # a power of two; a record has some 64 octets
_HEADER = struct.Struct("=IHH")  # type, misc, size

_FIELD = re.compile(r"field:.*?\b(\w+)(?:\[\w*\])?;\s*offset:(\d+);\s*size:(\d+);")
_REASON = re.compile(r"\{ *(\d+), *\"(\w+)\" *\}")

# Of a socket that is closed, or that looked on: no packet was refused.
_NO_VERDICT = {"QUEUE_PURGE", "SOCKET_CLOSE", "PACKET_SOCK_ERROR", "UNIX_DISCONNECT"}
_IP = {0x0800, 0x86DD}


class DropTracepoint(msgspec.Struct, frozen=True):
    """The tracepoint as this kernel has it: its number, where the fields stand, the reasons by number."""

    number: int
    fields: dict[str, tuple[int, int]]
    reasons: dict[int, str]


class DropMonitor(Closeable):
    """The IP packets that the kernel drops while it works for the thread that made this."""

    __slots__ = ("_event", "_fd", "_ring")

    def __init__(self) -> None:
        """Begin. Raises OSError where the kernel does not tell, or not us: CAP_PERFMON on the machine is needed."""
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
        """Pass over what was dropped so far."""
        struct.pack_into("=Q", self._ring, _TAIL, struct.unpack_from("=Q", self._ring, _HEAD)[0])

    def read(self) -> list[str]:
        """The reason of each drop since `clear`, in order: "IP_CSUM", "NETFILTER_DROP", … ; the first 1,000."""
        head, tail = struct.unpack_from("=QQ", self._ring, _HEAD)
        data = bytes(self._ring[mmap.PAGESIZE :])
        data += data  # so that no record is cut at the ring's end
        found, place = list[str](), tail
        while place < head:
            start = place % (len(data) // 2)
            kind, _, size = _HEADER.unpack_from(data, start)
            if kind == _PERF_RECORD_SAMPLE:
                found += self._verdict(data[start + _HEADER.size + 4 : start + size])  # 4: the raw data's length
            place += size
        struct.pack_into("=Q", self._ring, _TAIL, head)
        return found

    def _verdict(self, raw: bytes) -> list[str]:
        def field(name: str) -> int:
            offset, size = self._event.fields[name]
            return int.from_bytes(raw[offset : offset + size], sys.byteorder)

        if field("protocol") not in _IP:
            return []
        number = field("reason")
        reason = self._event.reasons.get(number, f"reason {number}")
        return [] if reason in _NO_VERDICT else [reason]

    @property
    def fd(self) -> int:
        """The event's."""
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def close(self) -> None:
        """End it. May be repeated."""
        if not self.closed:
            libc.unmap(self._ring)
            os.close(self._fd)
            self._fd = -1


@cache
def read_drop_tracepoint() -> DropTracepoint:
    """The tracepoint, read from tracefs, where that is mounted or can be, for a moment and for one thread.

    Raises OSError where there is none, or this user may not look.
    """
    place = _TRACEFS / _EVENT
    if (place / "id").exists():
        return _read(place)

    def mounted() -> DropTracepoint:
        libc.unshare(libc.CLONE_NEWNS)  # it ends with the thread, and the mount with it
        libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("tracefs", "/sys", "tracefs", 0)
        return _read(Path("/sys", _EVENT))

    return run_in_thread(mounted)


def _read(place: Path) -> DropTracepoint:
    number, form = int((place / "id").read_text()), (place / "format").read_text()
    fields = {name: (int(offset), int(size)) for name, offset, size in _FIELD.findall(form)}
    if not {"protocol", "reason"} <= fields.keys():
        raise OSError(0, "this kernel drops without a reason (before Linux 5.17)")
    return DropTracepoint(number, fields, {int(number): name for number, name in _REASON.findall(form)})
