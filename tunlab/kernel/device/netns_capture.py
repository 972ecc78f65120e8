"""The capture of every interface of a namespace, buffered by the kernel and read only for a failed test.

Source: packet(7): an unbound socket receives from all interfaces, later ones included; <linux/sock_diag.h> for the
buffer's fill level; socket(7) for SO_RXQ_OVFL, the number of packets lost before a received packet.
Every test has such a capture, so it must cost next to nothing: one socket, and no reading unless the buffer fills.
"""

from __future__ import annotations

import fcntl
import io
import os
import socket
import struct
import threading
from collections import deque
from typing import Any, Self

import msgspec

from tunlab.kernel import capture_drain
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import (
    ETH_P_ALL,
    MAX_RECEIVE_SIZE,
    ReceivedPacket,
    enable_timestamps,
    enlarge_receive_buffer,
    parse_received,
    receive_time,
)
from tunlab.kernel.namespace import guardian
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import translate_os_errors

_SIOCGSKNS = 0x894C  # from <linux/sockios.h>
_SO_RXQ_OVFL, _SO_MEMINFO = 40, 55  # from <asm-generic/socket.h>
_MEMINFO = struct.Struct("=II24xI")  # SK_MEMINFO_* of <linux/sock_diag.h>: bytes in use, buffer size, …, lost packets
_COUNT = struct.Struct("=I")

KEEP_FIRST = KEEP_LAST = 16 * 1024 * 1024
"""Bytes kept of the first and of the last packets, including Python's overhead per packet."""
# `drain` empties the buffer if fewer bytes than this are free in it. Reading it earlier would slow passing tests.
_MIN_FREE = 4 * 1024 * 1024
# Python's overhead per packet in bytes. The kernel's overhead is larger, so the packets of a full kernel buffer fit
# into KEEP_FIRST and KEEP_LAST.
_OVERHEAD = 512

# from <linux/if_arp.h>
ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE = 1, 772, 0xFFFE


class CapturedPacket(msgspec.Struct, frozen=True):
    """A packet and its interface.

    Attributes:
        packet: The packet.
        ifname: The interface's name at the time of reading; "" if it was deleted.
        lost: How many packets of the namespace were lost between the previous packet and this one.
    """

    packet: ReceivedPacket
    ifname: str
    lost: int = 0


# The type of a result of recvmsg(2): bytes, ancillary data, sockaddr_ll. Results are decoded only for a failed test.
_Raw = tuple[bytes, list[tuple[int, int, bytes]], Any]


class NetnsCapture(Closeable):
    """A packet socket on all interfaces of a namespace, with a buffer of 32 MiB, about 40,000 small packets.

    In a user namespace net.core.rmem_max limits the buffer to a few hundred packets. `drain` moves packets to memory
    when the buffer is nearly full. Memory keeps the first and the last packets (KEEP_FIRST, KEEP_LAST) and counts the
    packets between them.
    """

    __slots__ = (
        "_buffer",
        "_dropped",
        "_first",
        "_first_free",
        "_forgotten",
        "_last",
        "_last_size",
        "_pid",
        "_reading",
        "_socket",
        "_watched",
    )

    def __init__(self, opened: socket.socket) -> None:
        """Wrap a packet socket that was opened and configured as in `open_here`."""
        self._socket = opened
        self._first, self._first_free = list[_Raw](), KEEP_FIRST
        self._last, self._last_size = deque[_Raw](), 0
        self._forgotten = self._dropped = 0
        self._buffer: memoryview | None = None
        self._watched: dict[str, deque[tuple[int, bytes]]] = {}
        self._reading, self._pid = threading.Lock(), os.getpid()
        capture_drain.register(self)

    @classmethod
    def open_here(cls) -> Self:
        """Start a capture of the calling thread's namespace. Raises OSError (EPERM) if CAP_NET_RAW is missing."""
        # A packet socket that is not bound receives the packets of all interfaces, from the moment when it is opened.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        try:
            opened.setblocking(False)
            enable_timestamps(opened)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            enlarge_receive_buffer(opened)
        except BaseException:
            opened.close()
            raise
        return cls(opened)

    @classmethod
    def open(cls, netns: Netns) -> Self:
        """Start a capture of `netns`. Raises OSError (EPERM) without CAP_NET_RAW, KernelError if `netns` is closed."""
        return netns.call(cls.open_here)

    def drain(self, *, expect_many: bool = False) -> None:
        """Move the packets to memory if the kernel's buffer is nearly full; with `expect_many`, if half of it is used.

        A call takes 1 µs if there is nothing to move, else 4 µs per packet.
        """
        if self.closed or os.getpid() != self._pid:
            # A forked child shares the socket with its parent and must not read from it.
            return
        used, size = self._memory()[:2]
        min_free = size // 2 if expect_many else min(size // 2, _MIN_FREE)
        if used > size - min_free and self._reading.acquire(blocking=False):
            try:
                self._read_out()
            finally:
                self._reading.release()

    def _memory(self) -> tuple[int, int, int]:
        """Return the bytes in use, the size of the buffer, and the number of packets lost so far."""
        return _MEMINFO.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))

    def _read_out(self) -> None:
        if self._buffer is None:  # allocated once, because that takes longer than reading a packet
            self._buffer = memoryview(bytearray(MAX_RECEIVE_SIZE))
        view = self._buffer
        while True:
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([view], 128)
            except BlockingIOError:
                return
            except OSError:  # ENETDOWN: an interface went down. The kernel reports this once, without a packet.
                continue
            # Each packet on lo is captured twice, as sent and as received. Keep the received copy, because the kernel
            # verifies checksums on receipt.
            if not (address[3] == ARPHRD_LOOPBACK and address[2] == socket.PACKET_OUTGOING):
                self._keep((bytes(view[:size]), ancillary, address))

    def sent_packets(self, ifname: str) -> deque[tuple[int, bytes]]:
        """Return time and bytes of the packets sent on an interface since the first call; the caller removes them.

        The first call starts to collect them. 10,000 are kept.
        """
        waiting = self._watched.get(ifname)
        if waiting is None:
            waiting = self._watched[ifname] = deque(maxlen=10_000)
        elif not self.closed and os.getpid() == self._pid and self._reading.acquire(blocking=False):
            try:
                self._read_out()
            finally:
                self._reading.release()
        return waiting

    def _keep(self, raw: _Raw) -> None:
        if self._watched and raw[2][2] == socket.PACKET_OUTGOING and raw[2][0] in self._watched:
            self._watched[raw[2][0]].append((receive_time(raw[1]), raw[0]))
        size = len(raw[0]) + _OVERHEAD
        if size <= self._first_free and not self._last:
            self._first.append(raw)
            self._first_free -= size
            return
        self._last.append(raw)
        self._last_size += size
        while self._last_size > KEEP_LAST:
            self._last_size -= len(self._last.popleft()[0]) + _OVERHEAD
            self._forgotten += 1

    def packets(self) -> list[CapturedPacket]:
        """Return the packets so far, in order. A packet on lo appears once, as received."""
        with self._reading:
            self._read_out()
            self._dropped = self._memory()[2]
            found, before = list[CapturedPacket](), 0
            for number, raw in enumerate((*self._first, *self._last)):
                data, ancillary, address = raw
                dropped = _dropped_before(ancillary) or before
                forgotten = self._forgotten if number == len(self._first) else 0
                each = parse_received(data, ancillary, address, link_header=True)
                found.append(CapturedPacket(each, str(address[0]), dropped - before + forgotten))
                before = dropped
        return found

    def open_netns(self) -> Netns:
        """Open the captured namespace, even if all other descriptors of it are closed. Raises KernelError."""
        with translate_os_errors("open the namespace of a capture", needs="CAP_NET_ADMIN"):
            fd = fcntl.ioctl(self._socket, _SIOCGSKNS)
        return Netns(io.FileIO(fd))

    @property
    def dropped(self) -> int:
        """The number of packets lost, as of the last call of `packets`."""
        return self._dropped + self._forgotten

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 if closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """True if closed."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Have the guardian process close the socket, because the kernel takes 10 ms or more. May be called again."""
        capture_drain.unregister(self)
        if not self.closed:
            guardian.close_in_guardian(self._socket.detach())

    def __repr__(self) -> str:
        return f"<NetnsCapture{' closed' if self.closed else f' on descriptor {self._socket.fileno()}'}>"


def _dropped_before(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return how many packets had been lost when this one arrived (SO_RXQ_OVFL, absent if none)."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
            return int(_COUNT.unpack(data)[0])
    return 0
