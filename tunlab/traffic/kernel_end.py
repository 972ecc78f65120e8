"""The kernel's end of a TUN: its addresses, sockets and programs in its namespace, and the counters."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from tunlab.errors import KernelError
from tunlab.kernel import capture_drain
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import read_counters
from tunlab.kernel.network.request_attributes import address_family
from tunlab.kernel.validation import InterfaceAddress
from tunlab.traffic.addresses import Addressed
from tunlab.traffic.counter_expectation import CounterExpectation
from tunlab.traffic.ping import ECHO_PAYLOAD, Ping
from tunlab.traffic.sockets import SocketFactory

Socket: TypeAlias = socket.socket


class KernelEnd(Addressed, Closeable):
    """A device with addresses in a namespace, and sockets and programs there.

    Attributes:
        netns: The namespace; `call`, `socket` and `set_sysctl` work inside it.
        device: The device; `mtu`, `set_carrier` and `rtnl` configure it.
        timeout: Default timeout of sockets, in seconds.
    """

    def __init__(self, netns: Netns, device: TunDevice, addresses: Sequence[InterfaceAddress], timeout: float) -> None:
        self.netns, self.device, self.timeout = netns, device, timeout
        self._interfaces, self._name = tuple(addresses), device.ifname
        self._resources = ExitStack()
        self._resources.callback(device.close)

    @property
    def ifname(self) -> str:
        """Name of the device in its namespace: "tun0"."""
        return self.device.ifname

    @property
    def _sockets(self) -> SocketFactory:
        families = frozenset(address_family(each.version) for each in self._interfaces)
        return SocketFactory(self.netns, self.ifname, self.device.ifindex, families, self.timeout)

    @property
    def counters(self) -> dict[str, int]:
        """Kernel counters of the namespace by name: "Ip.InHdrErrors", "Udp.NoPorts"."""
        self._check_open()
        return read_counters(self.netns)

    def expect_counters(self, **wanted: int) -> CounterExpectation:
        """Assert that kernel counters change by given amounts: `with tun.expect_counters(IpExt__InCsumErrors=1): …`.

        0 means no change; counters that are not named may change. Raises CountError after the block, or KernelError
        for an unknown name.
        """
        __tracebackhide__ = True
        self._check_open()
        return CounterExpectation(self.netns, wanted)

    def ping(self, address: str, *, count: int = 1, payload: bytes = ECHO_PAYLOAD, identifier: int = 0) -> Ping:
        """Send `count` echo requests from a ping socket of the namespace. `Ping.reply` waits for a reply.

        `identifier` is the ICMP identifier; the kernel chooses one for 0. Raises KernelError if there is no route.
        """
        self._check_open()
        capture_drain.drain_all()
        if count < 1:
            reason, remedy = f"count is {count}", "send one or more requests"
            raise KernelError(errno.EINVAL, f"ping {address}", reason=reason, remedy=remedy)
        opened, destination = self._sockets.ping(address, identifier)
        ping = self._resources.enter_context(Ping(opened, address, destination))
        for _ in range(count):
            ping.send(payload)
        return ping

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002
        """Open a socket inside the namespace. `Tun.close` closes it."""
        self._check_open()
        return self._resources.enter_context(self.netns.socket(family, type, proto))

    def listen(self, port: int, *, address: str = "", backlog: int = 16) -> Socket:
        """Open a TCP socket that listens inside the namespace; "" is every address.

        On a Tun with IPv4 and IPv6 addresses, "" accepts both, and the socket shows IPv4 peers as ::ffff:10.1.2.2. Its
        timeout is `self.timeout`.
        """
        self._check_open()
        return self._resources.enter_context(self._sockets.listen(port, address, backlog))

    def connect(self, address: str, port: int, *, src_port: int = 0) -> Socket:
        """Open a TCP socket inside the namespace and send its SYN, without waiting for the handshake.

        The socket's timeout is `self.timeout`; the first send or receive also waits for the handshake.
        """
        self._check_open()
        return self._resources.enter_context(self._sockets.connect(address, port, src_port))

    def bind(self, port: int, *, address: str = "") -> Socket:
        """Open a UDP socket inside the namespace; "" is every address.

        On a Tun with IPv4 and IPv6 addresses, "" accepts both, and the socket shows IPv4 peers as ::ffff:10.1.2.2. Its
        timeout is `self.timeout`.
        """
        self._check_open()
        return self._resources.enter_context(self._sockets.bind(port, address))

    def popen(self, args: Sequence[str], **popen_kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program inside the namespace, as subprocess.Popen does. It is killed when the namespace is closed."""
        self._check_open()
        return self.netns.popen(args, **popen_kwargs)

    def run(self, args: Sequence[str], **run_kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program inside the namespace, as subprocess.run does."""
        self._check_open()
        return self.netns.run(args, **run_kwargs)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self.device.closed

    def _check_open(self) -> None:
        if self.closed:
            remedy = "use the Tun inside its `with` block, or in the test whose fixture created it"
            raise KernelError(errno.EBADF, f"use {self.ifname}", reason="this Tun is closed", remedy=remedy)
