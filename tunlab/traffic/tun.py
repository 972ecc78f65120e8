"""Tun: a TUN device in a network namespace, its packets, and sockets and programs in that namespace.

The test is the other end of the device: it reads the packets that the namespace sends, and the namespace receives the
packets that the test injects. No thread reads in the background: packets wait in the kernel until the test asks.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, ClassVar, Self

from tunlab.errors import KernelError
from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import Mode, TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Packet, PacketPart
from tunlab.traffic.addresses import parse_addresses
from tunlab.traffic.endpoint import Endpoint
from tunlab.traffic.fence import Fence, KernelFence
from tunlab.traffic.kernel_end import KernelEnd
from tunlab.traffic.ping import DEFAULT_TIMEOUT
from tunlab.traffic.ports.object_port import Stack
from tunlab.traffic.ports.tun_port import LINKTYPE_ETHERNET, TunPort
from tunlab.traffic.stack_server import StackServer

DEFAULT_ADDRESS = "10.1.2.1/24"


class Tun(KernelEnd, Endpoint):
    """A TUN device with addresses in a network namespace, and the traffic over it.

    Attributes:
        netns: The namespace; `call`, `socket` and `set_sysctl` work inside it.
        device: The device; `mtu`, `set_carrier` and `rtnl` configure it.
        timeout: Default timeout of `expect`, `capture` and sockets, in seconds.
        record: The latest packets in both directions: at most 100,000, and at most 64 MiB.
        timeouts: The last 100 expectations that timed out: nanoseconds since the epoch, and a description.
    """

    MODE: ClassVar[Mode] = "tun"
    IFNAME: ClassVar = "tun0"
    OPTIONS: ClassVar = frozenset[str]()

    def __init__(
        self,
        netns: Netns,
        device: TunDevice,
        address: str | Sequence[str] = "",
        *,
        timeout: float = DEFAULT_TIMEOUT,
        packet_information: bool = False,
    ) -> None:
        """Use a device that is attached, and has the given addresses."""
        link_type = LINKTYPE_ETHERNET if self._ethernet is not None else None
        port = TunPort(device, link_type=link_type, packet_information=packet_information)
        KernelEnd.__init__(self, netns, device, parse_addresses(address, device.ifname), timeout)
        Endpoint.__init__(self, port, timeout)
        self._fences: Fence | None = None
        self._owns_netns = self._deletes_device = False
        self._emitter: PacketSocket | None = None

    @classmethod
    def create(
        cls,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        ifname: str = "",
        mtu: int | None = None,
        up: bool = True,
        ipv6: bool = False,
        sysctls: Mapping[str, str | int] | None = None,
        netns: Netns | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        packet_information: bool = False,
        **device_options: Any,
    ) -> Self:
        """Make a TUN in a new namespace, or in `netns`.

        Args:
            ifname: Name of the device; by default "tun0", or "tap0" for a `Tap`.
            address: "10.1.2.1/24", "fd00::1/64", or several of them in a list. "" is none.
            mtu: MTU in bytes; None keeps the kernel's default of 1,500.
            ipv6: Enable IPv6 in the namespace; an IPv6 address does so, too.
            packet_information: Put flags and protocol before each packet on the device (IFF_NO_PI not set).
            multi_queue: Allow several descriptors of the device (IFF_MULTI_QUEUE); default False.
            owner: User that may attach to the device without CAP_NET_ADMIN; default None, no other user.
            group: Group that may attach to the device without CAP_NET_ADMIN; default None, no other group.
            address_resolution: For a `Tap`, answer ARP and neighbor solicitations; default True. False: the test does.

        Raises PrivilegeError if a capability or /dev/net/tun is missing, KernelError if the kernel refuses a setting.
        """
        ifname = ifname or cls.IFNAME
        options = {name: device_options.pop(name) for name in cls.OPTIONS & device_options.keys()}
        if unsupported := device_options.keys() - {"multi_queue", "owner", "group"}:
            reason, remedy = f"a {cls.__name__} has no option {min(unsupported)}", "use TunDevice.create"
            if unsupported & {"mode", "address_resolution"}:
                remedy = "use Tap.create, or make_tun(mode='tap') in a test"
            raise KernelError(errno.EINVAL, f"create {ifname}", reason=reason, remedy=remedy)
        addresses = parse_addresses(address, ifname)
        capture: NetnsCapture | None = None
        with ExitStack() as undo:
            if netns is None:
                enable_ipv6 = ipv6 or any(each.version == 6 for each in addresses)
                namespace = undo.enter_context(Netns.create(ipv6=enable_ipv6, sysctls=sysctls))
                with suppress(OSError):  # Without CAP_NET_RAW the time of a packet is that of reading.
                    capture = undo.enter_context(NetnsCapture.open(namespace))
            elif ipv6:
                reason = "IPv6 is enabled or disabled when a namespace is made"
                raise KernelError(
                    errno.EINVAL, "enable IPv6", reason=reason, remedy="make the namespace with ipv6=True"
                )
            else:
                namespace = netns
                for name, value in (sysctls or {}).items():
                    netns.set_sysctl(name, value)
            options["packet_information"] = device_options["packet_information"] = packet_information
            device_options["exclusive"] = True
            device = undo.enter_context(TunDevice.create(namespace, ifname, mode=cls.MODE, **device_options))
            if netns is not None:
                undo.callback(device.delete)  # In a namespace made here, the kernel deletes the device.
            cls._prepare(device)
            device.configure([str(each) for each in addresses], mtu=mtu, up=up)
            tun = cls(namespace, device, address, timeout=timeout, **options)
            tun._owns_netns = netns is None
            tun._deletes_device = netns is not None
            if capture is not None and isinstance(tun.port, TunPort):
                tun.port.watch(capture)
                tun._resources.callback(capture.close)
            undo.pop_all()
            return tun

    @classmethod
    def _prepare(cls, device: TunDevice) -> None:
        """Configure a new device before it is set up."""

    def emit(self, *layers: PacketPart | Packet) -> bytes:
        """Send a packet out of the TUN as if the kernel had sent it, and return its bytes.

        `expect`, or a program that reads the TUN, receives it. It may be malformed. Raises PrivilegeError without
        CAP_NET_RAW.
        """
        __tracebackhide__ = True
        data = self._to_bytes(layers, from_kernel=True)
        self._check_open()
        if self._emitter is None:
            self._emitter = self._resources.enter_context(PacketSocket(self.netns, self.ifname))
        self._emitter.send(data)
        self._inbox.add_emitted(data)
        return data

    def serve(self, stack: Stack) -> AbstractContextManager[None]:
        """Run a stack without I/O as the host at this end of the TUN: `with tun.serve(stack): tun.connect(…).recv(10)`.

        While the block runs, a thread hands the stack what the kernel sends, and the kernel what the stack sends, in
        real time. The block may use sockets and programs of the namespace; `record` has the packets. `expect` and the
        like raise KernelError (EBUSY). An exception of the stack is raised at the end of the block.
        """
        self._check_open()
        return StackServer(self.device, self._inbox, stack)

    def _fence(self, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        try:
            src, dst = self._fence_ends()
        except KernelError as error:
            remedy = "give the Tun a network of two or more addresses, or avoid the fence by a timeout: `timeout=0.1`"
            operation = f"fence {self.ifname}"
            raise KernelError(
                errno.EADDRNOTAVAIL, operation, reason=error.reason, remedy=remedy, ifname=self.ifname
            ) from None
        if self._fences is None:
            self._fences = self._make_fences()
        return self._inbox.fence(self._fences, src, dst, self._seconds(timeout), settle)

    def _make_fences(self) -> Fence:
        return KernelFence(self.netns, self.device, self.port.write)

    def _fence_ends(self) -> tuple[str, str]:
        return self.peer, self.address

    def close(self, *, keep_device: bool = False) -> None:
        """Close the sockets and remove the device. A namespace made by the Tun is closed and its programs are killed.

        `keep_device` skips the removal, which takes 20 ms, if the namespace is about to end: it ends with its devices.
        """
        if self.closed:
            return
        if self._deletes_device and not keep_device:
            self._resources.callback(self.device.delete)
        self._resources.close()
        if self._owns_netns:
            self.netns.kill_programs()
            self.netns.close()

    def __repr__(self) -> str:
        addresses = "".join(f" {each}" for each in self._interfaces)
        return f"<{type(self).__name__} {self.ifname}{addresses} in {self.netns}{' closed' if self.closed else ''}>"
