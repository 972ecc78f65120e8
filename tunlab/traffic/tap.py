"""Tap: a TAP device in a network namespace, its Ethernet frames, and sockets and programs in that namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tunlab.kernel.device.tun import Mode, TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Header, Packet, PacketPart, build
from tunlab.traffic.endpoint import to_bytes_of_packet
from tunlab.traffic.ethernet_fence import EthernetFence
from tunlab.traffic.ethernet_peer import EthernetPeer
from tunlab.traffic.tun import Tun


class Tap(Tun):
    """A TAP device with addresses in a network namespace, and the Ethernet frames over it.

    It is used like a `Tun`. The packets that it returns begin with an Ethernet header, and `inject` and `emit` add one
    to packets without. Whenever the test reads, it answers the kernel's ARP requests and neighbor solicitations, for
    every address. These requests, and the MLD reports that the kernel sends for its addresses, are routine packets:
    only an expectation that names ARP, a message of neighbor discovery or MLD, or a type of ICMPv6 sees them.

    Attributes:
        netns: The namespace; `call`, `socket` and `set_sysctl` work inside it.
        device: The device; `mtu`, `set_carrier` and `rtnl` configure it.
        timeout: Default timeout of `expect`, `capture` and sockets, in seconds.
        record: The latest frames in both directions: at most 100,000, and at most 64 MiB.
        timeouts: The last 100 expectations that timed out: nanoseconds since the epoch, and a description.
    """

    MODE: ClassVar[Mode] = "tap"
    IFNAME: ClassVar = "tap0"
    OPTIONS: ClassVar = frozenset({"address_resolution"})
    _ethernet: EthernetPeer

    def __init__(
        self,
        netns: Netns,
        device: TunDevice,
        address: str | Sequence[str] = "",
        *,
        address_resolution: bool = True,
        **options: Any,
    ) -> None:
        """Use a device; `address_resolution` is described at the attribute, `options` are those of `Tun`."""
        self._ethernet = EthernetPeer(_mac(device.ifindex, 2), device.hardware_address, address_resolution)
        super().__init__(netns, device, address, **options)

    @property
    def address_resolution(self) -> bool:
        """True if the kernel's ARP requests and neighbor solicitations are answered. Set it to False to stop that.

        The requests then count like all other packets.
        """
        return self._ethernet.address_resolution

    @address_resolution.setter
    def address_resolution(self, value: bool) -> None:
        self._ethernet.address_resolution = value

    @property
    def hardware_address(self) -> str:
        """MAC address of the device: "02:00:00:00:02:01"."""
        return self._ethernet.kernel_address

    @property
    def peer_hardware_address(self) -> str:
        """MAC address of all hosts behind the TAP, which the test plays: "02:00:00:00:02:02"."""
        return self._ethernet.hardware_address

    @classmethod
    def _prepare(cls, device: TunDevice) -> None:
        """Give the device the same MAC address in each run, while it is down."""
        device.hardware_address = _mac(device.ifindex, 1)

    def _to_bytes(self, layers: tuple[PacketPart | Packet, ...], *, from_kernel: bool = False) -> bytes:
        __tracebackhide__ = True
        if layers and isinstance(layers[0], Packet) and len(layers) == 1:
            return build(self._ethernet.frame(layers[0], from_kernel=from_kernel))
        if layers and isinstance(layers[0], Header):
            framed = self._ethernet.frame(Packet((layers[0],)), from_kernel=from_kernel)
            return build(*framed.headers, *layers[1:])
        return to_bytes_of_packet(layers)

    def _make_fences(self) -> EthernetFence:
        return EthernetFence(self.netns, self.device, self.port.write, self._ethernet.kernel_address)

    def _fence_ends(self) -> tuple[str, str]:
        return "", self.address


def _mac(ifindex: int, host: int) -> str:
    return f"02:00:00:00:{ifindex & 0xFF:02x}:{host:02x}"
