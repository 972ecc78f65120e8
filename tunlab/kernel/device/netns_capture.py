"""All that passes every device of a namespace, kept by the kernel until somebody asks for it, or until it is too much.

Source: packet(7): a socket that is bound to no device receives from all there are, and from those that come later;
<linux/sock_diag.h> for how full it is, socket(7) for SO_RXQ_OVFL, which says between which packets some were lost.
Rule for editors: nothing is read while an ordinary test runs, and nothing is made but one socket: it is there for each
test, and asked of those that fail.
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
)
from tunlab.kernel.namespace import guardian
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import translate_os_errors

_SIOCGSKNS = 0x894C  # <linux/sockios.h>
_SO_RXQ_OVFL, _SO_MEMINFO = 40, 55  # <asm-generic/socket.h>
_MEMINFO = struct.Struct("=II24xI")  # <linux/sock_diag.h>: what is in use, what may be, and the last of nine: drops
_COUNT = struct.Struct("=I")

KEEP_FIRST = KEEP_LAST = 16 * 1024 * 1024
"""Octets that are kept of what came first, and of what came last, each packet counted with what Python adds to it."""
_SPARE = 4 * 1024 * 1024  # what may come before the next look: to read out earlier would cost tests that pass
_OVERHEAD = 512  # the kernel adds more: what found room in its buffer finds room in these

# <linux/if_arp.h>
ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE = 1, 772, 0xFFFE


class CapturedPacket(msgspec.Struct, frozen=True):
    """A packet, and the device that it passed.

    ifname          what the device is called when the packet is read, "" when it is gone
    hardware_type   ARPHRD_*: a TUN has NONE, and octets that begin with the datagram
    lost            how many packets of the namespace passed between the one before and this one, and found no room
    """

    packet: ReceivedPacket
    ifname: str
    hardware_type: int
    lost: int = 0


# As recvmsg(2) has it, to be taken apart only where a test fails: octets, ancillary data, sockaddr_ll.
_Raw = tuple[bytes, list[tuple[int, int, bytes]], Any]


class NetnsCapture(Closeable):
    """A packet socket on all devices of a namespace: what passes waits in it, up to 32 MiB, until somebody asks.

    That is some 40,000 small packets, with what the kernel adds to each. In a user namespace net.core.rmem_max is
    the limit, and a few hundred packets. Where little of it is left, `drain` reads it out; of a great many packets
    the first and the last are kept (KEEP_FIRST, KEEP_LAST), and what was between them is counted.
    """

    __slots__ = ("_dropped", "_first", "_forgotten", "_last", "_pid", "_reading", "_room", "_socket", "_taken")

    def __init__(self, opened: socket.socket) -> None:
        """Take a socket that was opened as `open_here` does."""
        self._socket = opened
        self._first, self._room = list[_Raw](), KEEP_FIRST
        self._last, self._taken = deque[_Raw](), 0
        self._forgotten = self._dropped = 0
        self._reading, self._pid = threading.Lock(), os.getpid()
        capture_drain.register(self)

    @classmethod
    def open_here(cls) -> Self:
        """Begin in the namespace of the calling thread. Raises OSError (EPERM) without CAP_NET_RAW."""
        # With its protocol from the start: nothing is bound, so nothing is missed between the two.
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
        """Begin in `netns`. Raises OSError (EPERM) without CAP_NET_RAW, KernelError where it cannot be entered."""
        return netns.call(cls.open_here)

    def drain(self, *, expect_many: bool = False) -> None:
        """Read out what waits if little more finds room, or where much is to come if less than half is free.

        Takes a microsecond where that is not so, and else 4 of them for each packet.
        """
        if self.closed or os.getpid() != self._pid:  # a child has the socket too, and would take what is the parent's
            return
        used, room = self._memory()[:2]
        spare = room // 2 if expect_many else min(room // 2, _SPARE)
        if used > room - spare and self._reading.acquire(blocking=False):
            try:
                self._read_out()
            finally:
                self._reading.release()

    def _memory(self) -> tuple[int, int, int]:
        """Octets in use, octets that may be, packets that found no room so far."""
        return _MEMINFO.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))

    def _read_out(self) -> None:
        buffer = bytearray(MAX_RECEIVE_SIZE)
        view = memoryview(buffer)
        while True:
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([buffer], 128)
            except BlockingIOError:
                return
            except OSError:  # ENETDOWN: a device went down; told once, and no packet with it
                continue
            # lo gives each packet back at once: the second copy is the one that its checksums were judged on.
            if not (address[3] == ARPHRD_LOOPBACK and address[2] == socket.PACKET_OUTGOING):
                self._keep((bytes(view[:size]), ancillary, address))

    def _keep(self, raw: _Raw) -> None:
        size = len(raw[0]) + _OVERHEAD
        if size <= self._room and not self._last:
            self._first.append(raw)
            self._room -= size
            return
        self._last.append(raw)
        self._taken += size
        while self._taken > KEEP_LAST:
            self._taken -= len(self._last.popleft()[0]) + _OVERHEAD
            self._forgotten += 1

    def packets(self) -> list[CapturedPacket]:
        """What has passed so far, in order. What passes lo is there once, as it was received."""
        with self._reading:
            self._read_out()
            self._dropped = self._memory()[2]
            found, before = list[CapturedPacket](), 0
            for number, raw in enumerate((*self._first, *self._last)):
                octets, ancillary, address = raw
                dropped = _dropped_before(ancillary) or before
                forgotten = self._forgotten if number == len(self._first) else 0
                each = parse_received(octets, ancillary, address, link_header=True)
                found.append(CapturedPacket(each, str(address[0]), int(address[3]), dropped - before + forgotten))
                before = dropped
        return found

    def open_netns(self) -> Netns:
        """Hold the namespace that this is of, also when everybody else has let it go. Raises KernelError."""
        with translate_os_errors("open the namespace of a record", needs="CAP_NET_ADMIN"):
            fd = fcntl.ioctl(self._socket, _SIOCGSKNS)
        return Netns(io.FileIO(fd))

    @property
    def dropped(self) -> int:
        """How many packets found no room and are lost, by the last `packets`."""
        return self._dropped + self._forgotten

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close the socket, without the 10 ms and more that the kernel takes for it. May be repeated."""
        capture_drain.unregister(self)
        if not self.closed:
            guardian.close_in_guardian(self._socket.detach())

    def __repr__(self) -> str:
        return f"<NetnsCapture{' closed' if self.closed else f' on descriptor {self._socket.fileno()}'}>"


def _dropped_before(ancillary: list[tuple[int, int, bytes]]) -> int:
    """How many packets had found no room when this one came; the kernel says nothing while there are none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
            return int(_COUNT.unpack(data)[0])
    return 0
