"""A port on a TUN or TAP device that a program holds: a packet socket in the program's namespace.

What the program writes to the device is received in the namespace, where the packet socket reads it. What the packet
socket sends leaves the namespace by the device, where the program reads it.

Source: packet(7); drivers/net/tun.c.
"""

from __future__ import annotations

import errno
import select

from tunlab.errors import KernelError
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.namespace.netns import Netns
from tunlab.traffic.deadlines import MACHINE_CLOCK
from tunlab.traffic.ports.life import READ_LIMIT, Life, wait_for_packet
from tunlab.traffic.ports.port import TimedBytes

MARK = 0x7475_6E00
"""Mark of the packets that the port sends; the firewall of the namespace drops all others."""


class PacketSocketPort:
    """A port on a device that a program holds. The packets have the kernel's time.

    Attributes:
        dropped: Number of packets that the kernel refused because the device's queue was full.
    """

    clock = MACHINE_CLOCK

    def __init__(self, netns: Netns, ifname: str, link_type: int | None = None) -> None:
        """Use a device of `netns`, on which `silence` allows packets with MARK only."""
        self.name, self.link_type, self.netns, self.dropped = ifname, link_type, netns.identity, 0
        self._namespace = netns
        self._life: Life | None = None
        self._open()

    def watch(self, life: Life) -> None:
        """Raise DeviceError from now on when the program that holds the device has ended."""
        self._life = life
        self._poll.register(life, select.POLLIN)

    def _check(self) -> None:
        if self._life is not None:
            self._life.check()

    def _open(self) -> None:
        self._socket = PacketSocket(self._namespace, self.name, mark=MARK)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        if self._life is not None:
            self._poll.register(self._life, select.POLLIN)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._socket.closed

    def write(self, data: bytes) -> None:
        """Send a packet to the program. Raises DeviceError if the program has ended, KernelError if it is too long."""
        self._check()
        try:
            self._socket.send(data)
        except KernelError as error:
            if error.errno == errno.ENOBUFS:
                self.dropped += 1
            elif error.errno in (errno.ENXIO, errno.ENODEV):  # the program deleted and recreated the device
                self._reopen(error)
                self._socket.send(data)
            else:
                raise

    def read(self) -> list[TimedBytes]:
        """Return the packets that the program has sent, at most READ_LIMIT."""
        try:
            received = self._socket.recv_all(READ_LIMIT)
        except KernelError as error:
            self._check()
            self._reopen(error)
            return []
        return [TimedBytes(each.time, each.data) for each in received if not each.outgoing]

    def _reopen(self, error: KernelError) -> None:
        self._socket.close()
        try:
            self._open()
        except KernelError:
            raise error from None

    def wait(self, deadline: int) -> bool:
        """Wait for a packet until a monotonic instant. Raises DeviceError if the program ends."""
        return wait_for_packet(self._poll, self._life, deadline)

    def close(self) -> None:
        """Close the packet socket."""
        self._socket.close_later()
