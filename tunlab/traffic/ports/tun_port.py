"""A port on a TUN or TAP device whose other side is the kernel: the kernel receives what is written."""

from __future__ import annotations

import struct
from collections import deque
from itertools import islice

from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.device.packet_socket import ETH_P_IP, ETH_P_IPV6
from tunlab.kernel.device.tun import TunDevice
from tunlab.traffic.deadlines import MACHINE_CLOCK
from tunlab.traffic.ports.port import TimedBytes

LINKTYPE_ETHERNET = 1
_MAX_DROPPED = 100
"""How many packets of the capture are compared with one that was read."""
# Flags and EtherType: struct tun_pi of <linux/if_tun.h>.
_PACKET_INFORMATION = {4: struct.pack("!HH", 0, ETH_P_IP), 6: struct.pack("!HH", 0, ETH_P_IPV6)}


class TunPort:
    """A port that reads and writes a TUN or TAP device.

    Attributes:
        packet_information: True if the device puts flags and protocol before each packet.
        capture: The capture of the device's namespace, which has the times at which the kernel sent packets; a TUN has
            none. Without it, or if a packet is not in it, the time is that of reading.
    """

    clock = MACHINE_CLOCK

    def __init__(self, device: TunDevice, *, link_type: int | None = None, packet_information: bool = False) -> None:
        self.name, self.link_type, self.netns = device.ifname, link_type, device.netns.identity
        self.packet_information = packet_information
        self.capture: NetnsCapture | None = None
        self._device = device

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._device.closed

    def write(self, data: bytes) -> None:
        """Write a packet to the device, with packet information before it if the device uses that."""
        if self.packet_information:
            data = _PACKET_INFORMATION[6 if data and data[0] >> 4 == 6 else 4] + data
        self._device.write(data)

    def read(self) -> list[TimedBytes]:
        """Return the packets in the kernel's queue."""
        packets = self._device.read_all()
        if self.packet_information:
            packets = [data[4:] for data in packets]
        if not packets or self.capture is None:
            return [TimedBytes(self.clock.time_ns(), data) for data in packets]
        sent = self.capture.sent_packets(self.name)
        return [TimedBytes(_take_time(sent, data) or self.clock.time_ns(), data) for data in packets]

    def watch(self, capture: NetnsCapture) -> None:
        """Take the times of packets from a capture of the namespace."""
        self.capture = capture
        capture.sent_packets(self.name)

    def wait(self, deadline: int) -> bool:
        """Wait for a packet until a monotonic instant."""
        remaining = deadline - self.clock.monotonic_ns()
        return self._device.wait(max(0, remaining) / 1e9)

    def close(self) -> None:
        """Close the device's descriptor."""
        self._device.close()


def _take_time(sent: deque[tuple[int, bytes]], data: bytes) -> int:
    """Remove a packet from those that the kernel sent, and return its time; 0 if it is not there.

    Those before it have been dropped: the queue of the device was full.
    """
    for number, (time_ns, each) in enumerate(islice(sent, _MAX_DROPPED)):
        if each == data:
            for _ in range(number + 1):
                sent.popleft()
            return time_ns
    return 0
