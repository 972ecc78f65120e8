"""A fence over a TAP: a question for the kernel's MAC address, in place of an echo request.

An echo reply would wait until the kernel has asked for the MAC address of the fence's sender. An ARP probe (sender
address 0.0.0.0) is answered at once and adds no neighbour entry. A neighbor solicitation adds one, for an address that
only fences use. In both, the sender's MAC address is the mark: the answer is sent to it.

Source: RFC 5227 section 2.4 (a host answers a probe for its own address); RFC 4861 section 7.2.4.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import ARP, Ethernet, IPv6, NeighborSolicitation, build
from tunlab.packet.nd_options import SourceLinkLayerAddress
from tunlab.traffic.fence import KernelFence

_ARP_IGNORE = "net.ipv4.conf.all.arp_ignore"


class EthernetFence(KernelFence):
    """A source of fences for one TAP device.

    Attributes:
        mark: First four bytes of the sender's MAC address.
    """

    def __init__(self, netns: Netns, device: TunDevice, write: Callable[[bytes], None], kernel_address: str) -> None:
        super().__init__(netns, device, write)
        self.mark = b"\x02" + os.urandom(3)
        self._sender = f"fe80::{os.urandom(2).hex()}:{os.urandom(2).hex()}:{os.urandom(2).hex()}"
        self._kernel_address = kernel_address

    def next_request(self, src: str, dst: str) -> tuple[bytes, bytes]:
        """Return the bytes of a new request, and the sender's MAC address, to which the answer is sent."""
        self._number += 1
        sender = self.mark + (self._number & 0xFFFF).to_bytes(2, "big")
        ethernet = Ethernet(dst=self._kernel_address, src=sender)
        if ":" not in dst:
            probe = ARP(sender_hardware=sender, sender_protocol="0.0.0.0", target_protocol=dst)
            return build(ethernet, probe), sender
        solicitation = NeighborSolicitation(target=dst, options=[SourceLinkLayerAddress(sender.hex(":"))])
        return build(ethernet, IPv6(src=self._sender, dst=dst, hop_limit=255), solicitation), sender

    def owns(self, data: bytes) -> bool:
        """Return True if the frame is sent to a sender of this fence."""
        return data.startswith(self.mark)

    def is_reply(self, data: bytes, payload: bytes) -> bool:
        """Return True if the frame is sent to this MAC address."""
        return data.startswith(payload)

    def icmp_error(self, data: bytes) -> KernelError | None:
        """Return None: no ICMP error answers the request."""
        return None

    def _check_sysctls(self, address: str) -> None:
        if ":" not in address and self._netns.sysctl(_ARP_IGNORE).strip() == "8":
            raise self.error(f"{_ARP_IGNORE} is 8, so that no ARP request is answered", remedy="set it to 0")

    def no_reply_error(self, data: bytes, waited: float) -> KernelError:
        """Return the error for a request without an answer."""
        question = "neighbor solicitation" if data[12:14] == b"\x86\xdd" else "ARP request"
        cause = f"the kernel does not answer the {question} for its own address"
        return self.error(f"no reply in {waited:.1f} s: {cause}", remedy="check firewall rules, and arp_ignore")
