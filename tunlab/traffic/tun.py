"""Tun: packets over a TUN device, and what runs beside it.

The test is the other end of the wire. What the namespace's kernel sends out through the TUN is read
here; what is injected reaches that kernel as received. There is one reader and no thread: packets wait
in the kernel until somebody asks for them, and are asked for in the order they came.
"""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from ipaddress import IPv4Interface, IPv4Network
from typing import Any, Self, TypeAlias

from tunlab.errors import KernelError, PacketError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import read_counters
from tunlab.kernel.validation import parse_interface
from tunlab.packet import Header, Packet, build
from tunlab.packet.header import to_bytes
from tunlab.packet.packet import Layer
from tunlab.traffic import sockets
from tunlab.traffic.counter_expectation import CounterExpectation, expect_counters
from tunlab.traffic.deadlines import check_timeout
from tunlab.traffic.expectation import CombinedExpectation, Expectation
from tunlab.traffic.inbox import PACKET_INFORMATION, Inbox
from tunlab.traffic.ping import DEFAULT_TIMEOUT, ECHO_PAYLOAD, Ping
from tunlab.traffic.trace import TraceEntry

DEFAULT_ADDRESS = "10.1.2.1/24"

Socket: TypeAlias = socket.socket


class Tun(Closeable):
    """A TUN device with an address in a network namespace, and the traffic over it.

    netns     the namespace; its `call`, `socket`, `set_sysctl` work inside it
    device    the device; its `mtu`, `set_carrier`, `rtnl` configure it
    timeout   seconds that `expect` waits unless told otherwise
    record    every datagram that crossed so far, in order, both ways; the last 100,000 of them
    timeouts  when a wait ended in vain, in nanoseconds since the epoch, and for what it was; the last 100 of them
    """

    def __init__(self, netns: Netns, device: TunDevice, address: str = "", *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.netns, self.device, self.timeout = netns, device, timeout
        self._inbox = Inbox(netns, device)
        self.record, self.timeouts = self._inbox.record, self._inbox.timeouts
        self._interface = IPv4Interface(address) if address else None
        self._resources = ExitStack()
        self._resources.callback(device.close)
        self._owns_netns = False
        self._deletes_device = False
        self._emitter: PacketSocket | None = None

    @classmethod
    def create(
        cls,
        address: str = DEFAULT_ADDRESS,
        *,
        ifname: str = "tun0",
        mtu: int | None = None,
        up: bool = True,
        ipv6: bool = False,
        sysctls: Mapping[str, str | int] | None = None,
        netns: Netns | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        packet_information: bool = False,
        **device_options: Any,
    ) -> Self:
        """Make a TUN with `address` ("10.1.2.1/24"; "" for none) in a namespace of its own, or in `netns`.

        Args:
            mtu: Bytes; None keeps the kernel's default of 1,500.
            ipv6: Enable IPv6 in the namespace.
            packet_information: Put flags and protocol before each datagram (IFF_NO_PI not set). Packets are without.
            device_options: `multi_queue`, `owner` and `group` of `TunDevice.create`.

        Raises:
            PrivilegeError: A capability or /dev/net/tun is missing.
            KernelError: The kernel refuses a setting, or the device is not a TUN.
        """
        if unsupported := device_options.keys() - {"multi_queue", "owner", "group"}:
            reason = f"a Tun reads IP packets and has no option {min(unsupported)}"
            raise KernelError(errno.EINVAL, f"create {ifname}", reason=reason, remedy="use TunDevice.create")
        operation = f"give {ifname} the address {address}"
        if address and parse_interface(address, operation).version != 4:
            remedy = "make it with ipv6=True and an IPv4 address, and add this one: tun.device.add_address"
            raise KernelError(errno.EINVAL, operation, reason="a Tun's own is an IPv4 address", remedy=remedy)
        with ExitStack() as undo:
            if netns is None:
                home = undo.enter_context(Netns.create(ipv6=ipv6, sysctls=sysctls))
            elif ipv6:
                reason = "that was settled when the namespace was made"
                raise KernelError(errno.EINVAL, "let a TUN speak IPv6", reason=reason, remedy="make it with ipv6=True")
            else:
                home = netns
                for name, value in (sysctls or {}).items():
                    netns.set_sysctl(name, value)
            device_options |= {"packet_information": packet_information, "exclusive": True}
            device = undo.enter_context(TunDevice.create(home, ifname, **device_options))
            if netns is not None:
                undo.callback(device.delete)  # one of its own goes with the namespace, and at no cost
            device.configure([address] if address else [], mtu=mtu, up=up)
            tun = cls(home, device, address, timeout=timeout)
            tun._inbox.prefix = PACKET_INFORMATION if packet_information else b""
            tun._owns_netns = netns is None
            tun._deletes_device = netns is not None
            undo.pop_all()
            return tun

    @property
    def ifname(self) -> str:
        """The device's name in its namespace, as "tun0"."""
        return self.device.ifname

    @property
    def address(self) -> str:
        """The device's IPv4 address, as "10.1.2.1"; raises KernelError where it was given none."""
        return str(self._given().ip)

    @property
    def network(self) -> IPv4Network:
        """The network the address is in, as IPv4Network("10.1.2.0/24")."""
        return self._given().network

    @property
    def peer(self) -> str:
        """An address beyond the TUN, for the test to play: the network's first that is not the device's own.

        Raises KernelError where there is no other.
        """
        own = self._given().ip
        other = next((host for host in self.network.hosts() if host != own), None)
        if other is None:
            reason, remedy = f"{self.network} has no second address", "give it a network of two, as 10.1.2.1/31"
            raise KernelError(errno.EADDRNOTAVAIL, "choose a peer", reason=reason, remedy=remedy)
        return str(other)

    def _given(self) -> IPv4Interface:
        if self._interface is None:
            reason, remedy = "it was made without one", "give one: address='10.1.2.1/24'"
            raise KernelError(
                errno.EADDRNOTAVAIL, f"ask for the address of {self.ifname}", reason=reason, remedy=remedy
            )
        return self._interface

    def inject(self, *layers: Layer | Packet) -> bytes:
        """Hand the kernel a datagram as received on the TUN; returns its octets.

        layers   headers and payload side by side, a Packet, octets, or anything with `__bytes__` (scapy's packets)

        Raises PacketError for what makes no packet, KernelError for what the kernel does not take.
        """
        octets = _octets(layers)
        self._check_open()
        self._inbox.write(octets)
        self._inbox.injected(octets)
        return octets

    def emit(self, *layers: Layer | Packet) -> bytes:
        """Put octets on the TUN exactly as written, as if the kernel had sent them; returns them.

        They come out where the TUN is read: at `expect`, or at a program of yours that is the reader. Malformed
        ones too, which no kernel would send. Raises PrivilegeError without CAP_NET_RAW.
        """
        octets = _octets(layers)
        self._check_open()
        if self._emitter is None:
            self._emitter = self._resources.enter_context(PacketSocket(self.netns, self.ifname))
        self._emitter.send(octets)
        self._inbox.emitted(octets)
        return octets

    def expect(self, *wanted: Expectation, timeout: float | None = None) -> Packet:
        """The next packet from the kernel that is as wanted in every respect; those before it are passed over.

        Each call reads on where the last one stopped. Raises ExpectationError after `timeout` seconds and the margin
        for a machine that wakes late (`tunlab.traffic.deadlines`), with every packet that came and how it differs;
        `late` says by how much it came too late, where it then came after all.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(wanted)
        self._check_open()
        return self._inbox.expect(expected, self._seconds(timeout))

    def expect_all(
        self,
        wanted: Sequence[Expectation | tuple[Expectation, ...]],
        *,
        ordered: bool = False,
        timeout: float | None = None,
    ) -> list[Packet]:
        """A packet for each expectation, in the order of the expectations, as soon as all have come.

        wanted    each as for `expect`; a tuple for several that one packet must meet
        ordered   whether they must come in this order too; others may come between

        Each packet meets one expectation at most. Others are passed over. Raises ExpectationError after `timeout`
        seconds in all: which were met by what, which were not, and what else came.
        """
        __tracebackhide__ = True
        expected = [CombinedExpectation.of(each if isinstance(each, tuple) else (each,)) for each in wanted]
        self._check_open()
        return self._inbox.expect_all(expected, ordered, self._seconds(timeout))

    def expect_none(self, *unwanted: Expectation, timeout: float | None = None) -> None:
        """Nothing, if among what the kernel has sent and nobody has read there is no such packet.

        timeout  seconds to wait for one; None: a fence, `fence`, says at once what there will be

        What came stays unread. Raises ExpectationError as soon as one comes; KernelError where no fence can hold.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(unwanted)
        self._check_open()
        self._inbox.expect_none(
            str(expected),
            lambda each: each.packet is not None and expected.matches(each.packet),
            None if timeout is None else check_timeout("timeout", timeout),
            self._fence,
        )

    def expect_silence(self, *, timeout: float | None = None) -> None:
        """Nothing, if the kernel sends nothing at all, and nothing waits to be read; as `expect_none` otherwise."""
        __tracebackhide__ = True
        self._check_open()
        waited = None if timeout is None else check_timeout("timeout", timeout)
        self._inbox.expect_none("any datagram", lambda _: True, waited, self._fence)

    def fence(self, *, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        """All that the kernel sends in answer to what was injected so far, without waiting; it stays unread.

        A marked echo request goes from `peer` to `address` through the same queue, and what is read before its reply
        is all there will be. Neither of the two is ever given to anybody; in the record their comment is "fence".

        settle    seconds to wait first, for what the kernel sends later by itself: delayed acknowledgements,
                  retransmissions, other timers; and for programs, several queues and disciplines that reorder
        timeout   seconds to wait for the reply; None: `self.timeout`

        Raises KernelError that says why where it cannot hold: no address, a link that is down, echo requests that are
        ignored (net.ipv4.icmp_echo_ignore_all), filtered or routed elsewhere.
        """
        self._check_open()
        return self._fence(check_timeout("settle", settle), timeout)

    def _fence(self, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        try:
            src, dst = self.peer, self.address
        except KernelError as error:
            reason = error.reason if self._interface else "it was made without an address"
            remedy = "give the Tun an address in a network of two or more, or a time to wait instead: timeout=0.1"
            operation = f"fence {self.ifname}"
            raise KernelError(
                errno.EADDRNOTAVAIL, operation, reason=reason, remedy=remedy, ifname=self.ifname
            ) from None
        return self._inbox.fence(src, dst, self._seconds(timeout), settle)

    def capture(self, count: int | None = None, *, timeout: float | None = None) -> list[Packet]:
        """The IPv4 packets that the kernel has sent and nobody has read.

        count     wait for so many, and leave the rest unread; raises ExpectationError where fewer come
        timeout   seconds to wait: for `count`, or without it for all that comes; None: `self.timeout` with a count,
                  without one not at all
        """
        __tracebackhide__ = True
        self._check_open()
        return self._inbox.capture(count, 0.0 if timeout is None and count is None else self._seconds(timeout))

    def read(self, timeout: float | None = None) -> bytes:
        """The next datagram from the kernel as octets, whatever they are; raises ExpectationError where none comes."""
        __tracebackhide__ = True
        self._check_open()
        return self._inbox.read(self._seconds(timeout))

    def unread(self) -> list[TraceEntry]:
        """What the kernel has sent and nobody has asked for yet, in order; it stays so, and is in the record now."""
        self._check_open()
        return self._inbox.unread()

    def unmatched(self) -> list[TraceEntry]:
        """What the kernel has sent and no expectation met, nobody captured and nobody read; a strict test fails by it.

        What `expect` passes over is among it.
        """
        if not self.closed:
            try:
                self._fence(timeout=0.25)
            except KernelError:  # it cannot hold here; and where the device is gone, nothing more comes out of it
                with suppress(KernelError):
                    self._inbox.unread()
        return [entry for entry in self.record if not entry.consumed]

    def _seconds(self, timeout: float | None) -> float:
        __tracebackhide__ = True
        return check_timeout("timeout", self.timeout if timeout is None else timeout)

    @property
    def counters(self) -> dict[str, int]:
        """The kernel's counters in the namespace as they stand, by their names: "Ip.InHdrErrors", "Udp.NoPorts"."""
        self._check_open()
        return read_counters(self.netns)

    def expect_counters(self, **wanted: int) -> CounterExpectation:
        """A block within which the kernel counts just so: `with tun.expect_counters(IpExt__InCsumErrors=1): …`.

        Only the counters named are held to it; a 0 says that one does not move. Raises CountError with all that moved,
        KernelError for a name that is none.
        """
        __tracebackhide__ = True
        self._check_open()
        return expect_counters(self.netns, wanted)

    def ping(self, address: str, *, count: int = 1, payload: bytes = ECHO_PAYLOAD, identifier: int = 0) -> Ping:
        """Let the namespace's kernel send `count` echo requests at once, without a program; does not wait for replies.

        identifier   in the requests; 0: the kernel chooses one

        Raises KernelError where no route leads to `address`.
        """
        self._check_open()
        ping = Ping.start(self.netns, address, count=count, payload=payload, identifier=identifier)
        return self._resources.enter_context(ping)

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002
        """An ordinary socket made inside the namespace; closed with the Tun at the latest."""
        self._check_open()
        return self._resources.enter_context(self.netns.socket(family, type, proto))

    def listen(self, port: int, *, address: str = "", backlog: int = 16) -> Socket:
        """A TCP socket that listens inside the namespace, on all addresses or one; `accept` waits `self.timeout`."""
        self._check_open()
        return self._resources.enter_context(sockets.listen(self.netns, port, address, backlog, self.timeout))

    def connect(self, address: str, port: int, *, src_port: int = 0) -> Socket:
        """A TCP socket whose handshake has begun: its SYN is on the TUN, and does not wait for the answer.

        Sending and receiving wait up to `self.timeout` seconds, for the handshake too.
        """
        self._check_open()
        return self._resources.enter_context(sockets.connect(self.netns, address, port, src_port, self.timeout))

    def bind(self, port: int, *, address: str = "") -> Socket:
        """A UDP socket bound inside the namespace; receiving waits `self.timeout`."""
        self._check_open()
        return self._resources.enter_context(sockets.bind(self.netns, port, address, self.timeout))

    def popen(self, args: Sequence[str], **popen_kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program inside the namespace, as subprocess.Popen does; it ends with the namespace at the latest."""
        self._check_open()
        return self.netns.popen(args, **popen_kwargs)

    def run(self, args: Sequence[str], **run_kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program inside the namespace to its end, as subprocess.run does."""
        self._check_open()
        return self.netns.run(args, **run_kwargs)

    def close(self, *, keep_device: bool = False) -> None:
        """Close the sockets and remove the device; if the namespace is the Tun's own, end its programs and let it go.

        keep_device   leave the device to a namespace that ends anyway: removing one takes the kernel 20 ms
        """
        if self.closed:
            return
        if self._deletes_device and not keep_device:
            self._resources.callback(self.device.delete)
        self._resources.close()
        if self._owns_netns:
            self.netns.kill_programs()
            self.netns.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.device.closed

    def _check_open(self) -> None:
        if self.closed:
            remedy = "use it inside its with block, or inside the test that has it"
            raise KernelError(errno.EBADF, f"use {self.ifname}", reason="this Tun is closed", remedy=remedy)

    def __repr__(self) -> str:
        address = f" {self._interface}" if self._interface else ""
        return f"<Tun {self.ifname}{address} in {self.netns}{' closed' if self.closed else ''}>"


def _octets(layers: tuple[Layer | Packet, ...]) -> bytes:
    if len(layers) == 1 and not isinstance(layers[0], Header):
        try:
            return to_bytes(layers[0])
        except ValueError as error:
            raise PacketError(f"no datagram: {error}") from None
    return build(*layers)
