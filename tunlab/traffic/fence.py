"""A fence: an echo request whose reply shows that all answers of the kernel to earlier packets have been read.

The kernel answers a packet written to a TUN before the write returns, or in the next softirq of the same CPU. Its
answers are therefore queued before the reply to a later echo request. A fence does not cover packets that the kernel
sends by timer (delayed acknowledgements, retransmissions, expired reassembly), packets from programs, several queues,
or a queueing discipline that reorders. For these, `Tun.fence(settle=…)` waits first.

Source: RFC 1122 section 3.2.2.6 and RFC 4443 section 4.2 (every host answers an echo request); drivers/net/tun.c (first
in, first out).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import counter_changes, read_counters
from tunlab.packet import ICMP, ICMPType, ICMPv6, ICMPv6Type, IPv4, IPv6, Packet, build, parse, summary

_REMEDY = "avoid the fence by a timeout: `timeout=0.1`"
_IGNORE_ECHO = {4: "net.ipv4.icmp_echo_ignore_all", 6: "net.ipv6.icmp.echo_ignore_all"}
_ECHO_COUNTERS = {4: ("Icmp.InEchos", "Icmp.OutEchoReps"), 6: ("Icmp6.InEchos", "Icmp6.OutEchoReplies")}


class Fence:
    """A source of fences (echo requests) for one port, with the errors for a missing reply.

    Attributes:
        mark: First bytes of the payload of each request and reply. They are random, so no packet of a test has them.
    """

    def __init__(self, name: str, write: Callable[[bytes], None]) -> None:
        """Make fences for the port `name`; `write` sends bytes there."""
        self.mark = b"tunlab fence " + os.urandom(12)
        self._name, self._write = name, write
        self._number = 0

    def next_request(self, src: str, dst: str) -> tuple[bytes, bytes]:
        """Return the bytes of a new echo request, and its payload. The reply has the same payload."""
        self._number += 1
        payload = self.mark + self._number.to_bytes(4, "big")
        numbers = self._number & 0xFFFF, self._number >> 16 & 0xFFFF
        if _version(dst) == 6:
            return build(IPv6(src=src, dst=dst), ICMPv6.echo_request(*numbers), payload), payload
        return build(IPv4(src=src, dst=dst), ICMP.echo_request(*numbers), payload), payload

    def owns(self, data: bytes) -> bool:
        """Return True if the packet is a request of this fence, or an answer to one."""
        return self.mark in data

    def error(self, reason: str, number: int = errno.EHOSTUNREACH, remedy: str = "") -> KernelError:
        """Return the error for a fence that gets no reply for `reason`. `number` is the errno."""
        remedy = f"{remedy}, or {_REMEDY}" if remedy else _REMEDY
        return KernelError(number, f"fence {self._name}", reason=reason, remedy=remedy, ifname=self._name)

    def check_preconditions(self, address: str) -> None:
        """Raise KernelError if a reply from `address` is impossible. Called when there is no reply at once."""

    def no_reply_error(self, data: bytes, waited: float) -> KernelError:
        """Return the error for the request `data` without a reply."""
        return self.error(f"{self._name} did not answer an echo request in {waited:.1f} s", errno.ETIMEDOUT)

    def is_reply(self, data: bytes, payload: bytes) -> bool:
        """Return True if the packet is the echo reply with this payload."""
        packet = parse(data)
        icmp = _icmp(packet)
        reply = ICMPv6Type.ECHO_REPLY if isinstance(icmp, ICMPv6) else ICMPType.ECHO_REPLY
        return icmp is not None and icmp.type == reply and packet.payload == payload

    def icmp_error(self, data: bytes) -> KernelError | None:
        """Return a KernelError if the packet is an ICMP error about an echo request, else None."""
        packet = parse(data)
        icmp = _icmp(packet)
        if icmp is None or not icmp.is_error or (isinstance(icmp, ICMP) and icmp.type == ICMPType.REDIRECT):
            return None
        return self.error(f"the echo request is rejected: {summary(packet)}")


class KernelFence(Fence):
    """A source of fences for a TUN device whose other side is the kernel. It finds out why a reply is missing."""

    def __init__(self, netns: Netns, device: TunDevice, write: Callable[[bytes], None]) -> None:
        super().__init__(device.ifname, write)
        self._netns, self._device = netns, device

    def check_preconditions(self, address: str) -> None:
        """Raise KernelError if the link, the addresses or the sysctls rule out a reply."""
        if not self._device.link.carrier:
            raise self.error("the device has no carrier", errno.ENETDOWN, "call tun.device.set_carrier(True)")
        self._check_sysctls(address)
        addresses = [each.address for each in self._device.addresses]
        if address not in addresses:
            has = ", ".join(addresses) or "none"
            reason = f"{address} was removed from {self._device.ifname}, which has {has}"
            raise self.error(reason, errno.EADDRNOTAVAIL)

    def _check_sysctls(self, address: str) -> None:
        sysctl = _IGNORE_ECHO[_version(address)]
        if self._netns.sysctl(sysctl).strip() != "0":
            raise self.error(f"{sysctl} is on, so that no echo request is answered", remedy="set it to 0")

    def no_reply_error(self, data: bytes, waited: float) -> KernelError:
        """Send the request again, and return an error that names the cause of its loss, found by kernel counters."""
        received, replied = _ECHO_COUNTERS[data[0] >> 4]
        before = read_counters(self._netns)
        self._write(data)
        changes = counter_changes(before, read_counters(self._netns))
        if "TcpExt.IPReversePathFilter" in changes:
            cause, remedy = "reverse path filtering drops the echo request", "set net.ipv4.conf.*.rp_filter to 0"
        elif received not in changes:
            cause, remedy = "the echo request does not reach ICMP", "check firewall rules"
        elif replied not in changes:
            cause, remedy = "the kernel receives the echo request but sends no reply", "check firewall rules and routes"
        else:
            cause, remedy = "the kernel replies, but not on this device", "check firewall rules, routes and queues"
        return self.error(f"no reply in {waited:.1f} s: {cause}", errno.ETIMEDOUT, remedy)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _icmp(packet: Packet) -> ICMP | ICMPv6 | None:
    return packet.get(ICMP) or packet.get(ICMPv6)
