"""Tun: a TUN device in a network namespace, its packets, and sockets and programs in that namespace.

The test is the other end of the device: it reads the packets that the namespace sends, and the namespace receives the
packets that the test injects. No thread reads in the background: packets wait in the kernel until the test asks.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, ClassVar, Self

from tunlab.errors import KernelError, PacketError
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import Mode, TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import Header, Packet, PacketPart, build
from tunlab.packet.values import to_bytes
from tunlab.traffic.deadlines import check_timeout
from tunlab.traffic.ethernet_peer import EthernetPeer
from tunlab.traffic.expectation import CombinedExpectation, Expectation
from tunlab.traffic.inbox import Inbox
from tunlab.traffic.kernel_end import KernelEnd, parse_addresses
from tunlab.traffic.peer_factory import PeerFactory
from tunlab.traffic.ping import DEFAULT_TIMEOUT
from tunlab.traffic.trace import TraceEntry

DEFAULT_ADDRESS = "10.1.2.1/24"


class Tun(KernelEnd, PeerFactory):
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
    _ethernet: EthernetPeer | None = None

    def __init__(
        self,
        netns: Netns,
        device: TunDevice,
        address: str | Sequence[str] = "",
        *,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """Use a device that is attached, and has the given addresses."""
        super().__init__(netns, device, parse_addresses(address, device.ifname), timeout)
        self._inbox = Inbox(netns, device, self._ethernet)
        self.record, self.timeouts = self._inbox.record, self._inbox.timeouts
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
            device_options: The options `multi_queue`, `owner` and `group` of `TunDevice.create`; for a `Tap` also
                `address_resolution`, False to leave ARP and neighbor solicitations to the test.

        Raises PrivilegeError if a capability or /dev/net/tun is missing, KernelError if the kernel refuses a setting.
        """
        ifname = ifname or cls.IFNAME
        options = {name: device_options.pop(name) for name in cls.OPTIONS & device_options.keys()}
        if unsupported := device_options.keys() - {"multi_queue", "owner", "group"}:
            reason, remedy = f"a {cls.__name__} has no option {min(unsupported)}", "use TunDevice.create"
            if "mode" in unsupported:
                remedy = "use Tap.create, or make_tun(mode='tap') in a test"
            raise KernelError(errno.EINVAL, f"create {ifname}", reason=reason, remedy=remedy)
        addresses = parse_addresses(address, ifname)
        with ExitStack() as undo:
            if netns is None:
                enable_ipv6 = ipv6 or any(each.version == 6 for each in addresses)
                namespace = undo.enter_context(Netns.create(ipv6=enable_ipv6, sysctls=sysctls))
            elif ipv6:
                reason = "IPv6 is enabled or disabled when a namespace is made"
                raise KernelError(
                    errno.EINVAL, "enable IPv6", reason=reason, remedy="make the namespace with ipv6=True"
                )
            else:
                namespace = netns
                for name, value in (sysctls or {}).items():
                    netns.set_sysctl(name, value)
            device_options |= {"packet_information": packet_information, "exclusive": True}
            device = undo.enter_context(TunDevice.create(namespace, ifname, mode=cls.MODE, **device_options))
            if netns is not None:
                undo.callback(device.delete)  # A namespace made here needs no deletion: its end deletes its devices.
            cls._prepare(device)
            device.configure([str(each) for each in addresses], mtu=mtu, up=up)
            tun = cls(namespace, device, address, timeout=timeout, **options)
            tun._inbox.packet_information = packet_information
            tun._owns_netns = netns is None
            tun._deletes_device = netns is not None
            undo.pop_all()
            return tun

    @classmethod
    def _prepare(cls, device: TunDevice) -> None:
        """Configure a new device before it is set up."""

    def inject(self, *layers: PacketPart | Packet) -> bytes:
        """Send a packet into the namespace: its kernel receives it on the TUN. Return the bytes of the packet.

        Args:
            layers: Headers and payload as separate arguments, or a Packet, bytes or another object with `__bytes__`.

        Raises PacketError if the layers are not a packet, KernelError if the kernel refuses it.
        """
        __tracebackhide__ = True
        data = self._to_bytes(layers)
        self._check_open()
        self._inbox.write(data)
        self._inbox.add_injected(data)
        return data

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

    def expect(
        self, *wanted: Expectation, timeout: float | None = None, among: Callable[[Packet], bool] | None = None
    ) -> Packet:
        """Wait for the next packet from the kernel that meets every condition, and return it.

        Packets before it are skipped: later calls do not see them. `flags=has(TCPFlag.SYN)` allows further flags.

        Args:
            wanted: Conditions: `TCP.where(…)`, a header class, or a function that gets the packet.
            timeout: Seconds; None for `self.timeout`. The margin of `tunlab.traffic.deadlines` is added.
            among: Function of a packet. Packets for which it returns False are not matched, and stay unread.

        Raises ExpectationError at the timeout. It lists every packet that arrived, with its differences.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(wanted)
        self._check_open()
        return self._inbox.expect(expected, self._seconds(timeout), among)

    def expect_all(
        self,
        wanted: Sequence[Expectation | tuple[Expectation, ...]],
        *,
        ordered: bool = False,
        timeout: float | None = None,
    ) -> list[Packet]:
        """Wait for one packet per expectation, and return them in the order of the expectations.

        Args:
            wanted: Conditions as for `expect`; a tuple combines several for one packet.
            ordered: Require that the packets arrive in this order; other packets may arrive between them.
            timeout: Seconds for all of them; None for `self.timeout`.

        Raises ExpectationError at the timeout. It lists the met and unmet expectations and the other packets.
        """
        __tracebackhide__ = True
        expected = [CombinedExpectation.of(each if isinstance(each, tuple) else (each,)) for each in wanted]
        self._check_open()
        return self._inbox.expect_all(expected, ordered, self._seconds(timeout))

    def expect_none(self, *unwanted: Expectation, timeout: float | None = None) -> None:
        """Assert that no unread packet matches the conditions. Packets stay unread.

        `timeout` is how many seconds to wait for such a packet; None uses `fence` instead of a fixed wait. Raises
        ExpectationError if a packet matches, KernelError if a fence cannot work here.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(unwanted)
        self._check_open()
        self._inbox.expect_none(
            str(expected),
            lambda each: (not each.routine or expected.names_routine) and expected.may_match(each.to_packet()),
            None if timeout is None else check_timeout("timeout", timeout),
            self._fence,
        )

    def expect_silence(self, *, timeout: float | None = None) -> None:
        """Assert that no packet is unread and none arrives. `timeout` and errors are as in `expect_none`."""
        __tracebackhide__ = True
        self._check_open()
        seconds = None if timeout is None else check_timeout("timeout", timeout)
        self._inbox.expect_none("any packet", lambda each: not each.routine, seconds, self._fence)

    def fence(self, *, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        """Wait until the kernel has answered every packet injected so far, and return the unread packets.

        They stay unread. The fence is an echo request from `peer` to `address`, whose reply is queued after all earlier
        answers. Expectations do not see it; `record` has it with the note "fence".

        Args:
            settle: Seconds to wait first, for packets that timers or programs send.
            timeout: Seconds to wait for the reply; None for `self.timeout`.

        Raises KernelError if no reply is possible, for example because the Tun has no address or its link is down.
        """
        self._check_open()
        return self._fence(check_timeout("settle", settle), timeout)

    def _fence(self, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        try:
            src, dst = self._fence_ends()
        except KernelError as error:
            remedy = "give the Tun a network of two or more addresses, or avoid the fence by a timeout: `timeout=0.1`"
            operation = f"fence {self.ifname}"
            raise KernelError(
                errno.EADDRNOTAVAIL, operation, reason=error.reason, remedy=remedy, ifname=self.ifname
            ) from None
        return self._inbox.fence(src, dst, self._seconds(timeout), settle)

    def _fence_ends(self) -> tuple[str, str]:
        return self.peer, self.address

    def capture(self, count: int | None = None, *, timeout: float | None = None) -> list[Packet]:
        """Return the unread packets, and consume them: later calls do not return them again.

        Bytes that are not a packet are returned as a Packet without headers, with the bytes as its payload.

        Args:
            count: Number of packets to wait for; later ones stay unread. None returns all unread packets.
            timeout: Seconds to wait. None means `self.timeout` if `count` is given, else no wait.

        Raises ExpectationError if fewer than `count` packets arrive.
        """
        __tracebackhide__ = True
        self._check_open()
        return self._inbox.capture(count, 0.0 if timeout is None and count is None else self._seconds(timeout))

    def read(self, timeout: float | None = None) -> bytes:
        """Return the bytes of the next packet, of any protocol. Raises ExpectationError if none arrives."""
        __tracebackhide__ = True
        self._check_open()
        return self._inbox.read(self._seconds(timeout))

    def unread(self) -> list[TraceEntry]:
        """Return unread packets in arrival order, without consuming them."""
        self._check_open()
        return self._inbox.unread()

    def unmatched(self) -> list[TraceEntry]:
        """Return the packets that no call has matched, captured or read, including those that `expect` skipped.

        A strict test fails if there is one.
        """
        if not self.closed:
            try:
                self._fence(timeout=0.25)
            except KernelError:  # A fence is not possible, or the device is gone.
                with suppress(KernelError):
                    self._inbox.unread()
        return [entry for entry in self.record if not entry.consumed]

    def _seconds(self, timeout: float | None) -> float:
        __tracebackhide__ = True
        return check_timeout("timeout", self.timeout if timeout is None else timeout)

    def _to_bytes(self, layers: tuple[PacketPart | Packet, ...], *, from_kernel: bool = False) -> bytes:  # noqa: ARG002
        __tracebackhide__ = True
        return to_bytes_of_packet(layers)

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


def to_bytes_of_packet(layers: tuple[PacketPart | Packet, ...]) -> bytes:
    """Return the bytes of a packet, given as headers and payload, as a Packet, or as bytes. Raises PacketError."""
    __tracebackhide__ = True
    if len(layers) == 1 and not isinstance(layers[0], Header):
        try:
            return to_bytes(layers[0])
        except ValueError as error:
            raise PacketError(f"not a packet: {error}") from None
    return build(*layers)
