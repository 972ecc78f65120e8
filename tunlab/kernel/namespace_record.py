"""All that passes every device of a namespace, kept by the kernel until somebody asks for it.

Source: packet(7): a socket that is bound to no device receives from all there are, and from those that come later.
Rule for editors: nothing is read while a test runs, and nothing is made but one socket: it is there for each test, and
asked of those that fail.
"""

from __future__ import annotations

import fcntl
import io
import socket
from typing import Self

import msgspec

from tunlab.kernel import guardian
from tunlab.kernel.closing import Closing
from tunlab.kernel.netns import Netns
from tunlab.kernel.packet_socket import ETH_P_ALL, LARGEST, Captured, captured, dropped_by, enlarge, stamp
from tunlab.kernel.refusal import refusing

_SIOCGSKNS = 0x894C  # <linux/sockios.h>

# <linux/if_arp.h>
ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE = 1, 772, 0xFFFE


class Passed(msgspec.Struct, frozen=True):
    """A packet, and the device that it passed.

    ifname          what the device is called when the packet is read, "" when it is gone
    hardware_type   ARPHRD_*: a TUN has NONE, and octets that begin with the datagram
    """

    captured: Captured
    ifname: str
    hardware_type: int


class NamespaceRecord(Closing):
    """A packet socket on all devices of a namespace, which nobody reads: the first 16 MiB that pass wait in it.

    That is some 20,000 small packets, with what the kernel adds to each. In a user namespace net.core.rmem_max is
    the limit, and a few hundred packets.
    """

    __slots__ = ("_dropped", "_socket")

    def __init__(self, opened: socket.socket) -> None:
        """Take a socket that was opened as `open_here` does."""
        self._socket = opened
        self._dropped = 0

    @classmethod
    def open_here(cls) -> Self:
        """Begin in the namespace of the calling thread. Raises OSError (EPERM) without CAP_NET_RAW."""
        # With its protocol from the start: nothing is bound, so nothing is missed between the two.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        try:
            opened.setblocking(False)
            stamp(opened)
            enlarge(opened)
        except BaseException:
            opened.close()
            raise
        return cls(opened)

    @classmethod
    def open(cls, netns: Netns) -> Self:
        """Begin in `netns`. Raises OSError (EPERM) without CAP_NET_RAW, KernelError where it cannot be entered."""
        return netns.call(cls.open_here)

    def take(self) -> list[Passed]:
        """What has passed and was not taken yet, in order. What passes lo is there once, as it was received."""
        buffer, passed = bytearray(LARGEST), list[Passed]()
        while True:
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([buffer], 128)
            except BlockingIOError:
                return passed
            except OSError:  # ENETDOWN: a device went down; told once, and no packet with it
                continue
            found = captured(bytes(memoryview(buffer)[:size]), ancillary, address, link_header=True)
            ifname, hardware_type = str(address[0]), int(address[3])
            # lo gives each packet back at once: the second copy is the one that its checksums were judged on.
            if not (hardware_type == ARPHRD_LOOPBACK and found.outgoing):
                passed.append(Passed(found, ifname, hardware_type))

    def home(self) -> Netns:
        """Hold the namespace that this is of, also when everybody else has let it go. Raises KernelError."""
        with refusing("open the namespace of a record", needs="CAP_NET_ADMIN"):
            fd = fcntl.ioctl(self._socket, _SIOCGSKNS)
        return Netns(io.FileIO(fd))

    @property
    def dropped(self) -> int:
        """How many packets found no room and are lost."""
        self._dropped += dropped_by(self._socket)
        return self._dropped

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close the socket, without the 10 ms and more that the kernel takes for it. May be repeated."""
        if not self.closed:
            guardian.close_elsewhere(self._socket.detach())

    def __repr__(self) -> str:
        return f"<NamespaceRecord{' closed' if self.closed else f' on descriptor {self._socket.fileno()}'}>"
