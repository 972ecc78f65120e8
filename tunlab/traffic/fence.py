"""A fence: a marked echo request through the queue, whose reply says that all before it has been read.

The kernel answers a datagram written to a TUN before the write returns, or at the next softirq of the same processor;
what it answers at once is in the device's queue before the reply to an echo request that is written later. So what was
read before that reply is all there will be, of what it sends *because of what was injected*. It does not hold for what
it sends later of its own accord: delayed acknowledgements, retransmissions, the ends of reassembly, programs; nor over
several queues or a queueing discipline that lets some packets go before others. For these a fence
takes `settle`.

Source: RFC 1122 section 3.2.2.6 (every host answers an echo request), drivers/net/tun.c (first in, first out).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import counter_changes, read_counters
from tunlab.packet import ICMP, IPv4, build, parse, summary
from tunlab.packet.icmp import ICMPType

_REMEDY = "give a time to wait instead: timeout=0.1"


class Fence:
    """The fences of one device.

    mark   begins the payload of each request and its reply; no packet of a user's has it, for it is random
    """

    def __init__(self, netns: Netns, device: TunDevice, write: Callable[[bytes], None]) -> None:
        self.mark = b"tunlab fence " + os.urandom(12)
        self._netns, self._device, self._write = netns, device, write
        self._number = 0

    def request(self, src: str, dst: str) -> tuple[bytes, bytes]:
        """The next one: the octets of its echo request, and the payload by which its reply is known."""
        self._number += 1
        payload = self.mark + self._number.to_bytes(4, "big")
        echo = ICMP.echo_request(self._number & 0xFFFF, self._number >> 16 & 0xFFFF)
        return build(IPv4(src=src, dst=dst), echo, payload), payload

    def refused(self, reason: str, number: int = errno.EHOSTUNREACH, remedy: str = "") -> KernelError:
        """The error for a fence that cannot hold."""
        remedy = f"{remedy}, or {_REMEDY}" if remedy else _REMEDY
        operation = f"fence {self._device.ifname}"
        return KernelError(number, operation, reason=reason, remedy=remedy, ifname=self._device.ifname)

    def check(self, address: str) -> None:
        """Nothing, if the reply may still come; called where it is not there at once. Raises KernelError."""
        if not self._device.link.carrier:
            raise self.refused("the device has no carrier", errno.ENETDOWN, "set_carrier(True)")
        if self._netns.sysctl("net.ipv4.icmp_echo_ignore_all").strip() != "0":
            raise self.refused("net.ipv4.icmp_echo_ignore_all is on: no echo request is answered", remedy="set it to 0")
        addresses = [each.address for each in self._device.addresses]
        if address not in addresses:
            has = ", ".join(addresses) or "none"
            raise self.refused(f"{self._device.ifname} no longer has {address}; it has {has}", errno.EADDRNOTAVAIL)

    def unanswered(self, octets: bytes, waited: float) -> KernelError:
        """The error for a request whose reply did not come: what the kernel's counters say of one more of it."""
        before = read_counters(self._netns)
        self._write(octets)
        moved = counter_changes(before, read_counters(self._netns))
        if "TcpExt.IPReversePathFilter" in moved:
            why = "the echo request is dropped by reverse path filtering (net.ipv4.conf.*.rp_filter)"
        elif "Icmp.InEchos" not in moved:
            why = "the echo request does not reach ICMP: a firewall rule takes it"
        elif "Icmp.OutEchoReps" not in moved:
            why = "the echo request comes in and is not answered: a firewall rule or a route takes the reply"
        else:
            why = "the reply is made and does not come out here: a firewall rule, a route elsewhere or a queue takes it"
        return self.refused(f"no reply in {waited:.1f} s: {why}", errno.ETIMEDOUT)

    def is_reply(self, octets: bytes, payload: bytes) -> bool:
        """Whether it is the echo reply with this payload."""
        packet = parse(octets)
        icmp = packet.get(ICMP)
        return icmp is not None and icmp.type == ICMPType.ECHO_REPLY and packet.payload == payload

    def rejected(self, octets: bytes) -> KernelError | None:
        """The error for an ICMP error that answers a request; None where it is none."""
        packet = parse(octets)
        icmp = packet.get(ICMP)
        if icmp is None or not icmp.is_error or icmp.type == ICMPType.REDIRECT:
            return None
        return self.refused(f"the echo request is rejected: {summary(packet)}")
