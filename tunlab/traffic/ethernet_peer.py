"""The test's end of a TAP: it puts Ethernet headers before packets, and answers ARP and neighbor solicitations.

Source: RFC 826 (ARP), RFC 4861 section 7.2 (neighbor discovery), RFC 1112 section 6.4 and RFC 2464 section 7 (multicast
addresses).
"""

from __future__ import annotations

from ipaddress import ip_address

from msgspec import Struct

from tunlab.packet import (
    ARP,
    ARPOperation,
    Ethernet,
    Header,
    ICMPv6,
    ICMPv6Type,
    IPv6,
    NeighborAdvertisement,
    NeighborFlag,
    NeighborSolicitation,
    Network,
    Packet,
    build,
)
from tunlab.packet.nd_options import TargetLinkLayerAddress

BROADCAST = "ff:ff:ff:ff:ff:ff"
_LISTENER_REPORTS = (
    ICMPv6Type.MULTICAST_LISTENER_REPORT,
    ICMPv6Type.MULTICAST_LISTENER_DONE,
    ICMPv6Type.VERSION_2_MULTICAST_LISTENER_REPORT,
)


class EthernetPeer(Struct):
    """The hosts behind a TAP, which share one MAC address.

    Attributes:
        hardware_address: Their MAC address.
        kernel_address: The MAC address of the TAP.
        address_resolution: True to answer ARP requests and neighbor solicitations for every address.
    """

    hardware_address: str
    kernel_address: str
    address_resolution: bool = True

    def frame(self, packet: Packet, *, from_kernel: bool = False) -> Packet:
        """Return the packet with an Ethernet header, if it begins with an IP header or ARP."""
        first = packet.headers[0] if packet.headers else None
        if not isinstance(first, (Network, ARP)):
            return packet
        ends = self.hardware_address, self.kernel_address
        src, dst = reversed(ends) if from_kernel else ends
        return packet.replace(headers=(Ethernet(dst=_group(first) or dst, src=src), *packet.headers))

    def answer(self, packet: Packet) -> bytes | None:
        """Return the answer to an ARP request or a neighbor solicitation, else None.

        The kernel's question whether another host has its own address (RFC 5227, RFC 4862) gets no answer.
        """
        if not self.address_resolution:
            return None
        arp = packet.get(ARP)
        if arp is not None:
            is_probe = arp.sender_protocol in ("0.0.0.0", arp.target_protocol)  # ARP probe (RFC 5227)
            if arp.operation != ARPOperation.REQUEST or is_probe:
                return None
            reply = ARP(
                operation=ARPOperation.REPLY,
                sender_hardware=self.hardware_address,
                sender_protocol=arp.target_protocol,
                target_hardware=arp.sender_hardware or BROADCAST,
                target_protocol=arp.sender_protocol,
            )
            return build(Ethernet(dst=self.kernel_address, src=self.hardware_address), reply)
        solicitation = packet.get(NeighborSolicitation)
        ip = packet.get(IPv6)
        if solicitation is None or ip is None or ip.src == "::":
            return None
        advertisement = NeighborAdvertisement(
            target=solicitation.target,
            flags=NeighborFlag.SOLICITED | NeighborFlag.OVERRIDE,
            options=[TargetLinkLayerAddress(self.hardware_address)],
        )
        return build(
            Ethernet(dst=self.kernel_address, src=self.hardware_address),
            IPv6(src=solicitation.target, dst=ip.src, hop_limit=255),
            advertisement,
        )


def is_listener_report(packet: Packet) -> bool:
    """Return True for an MLD report, which the kernel sends unasked for the groups of its addresses."""
    icmp = packet.get(ICMPv6)
    return icmp is not None and icmp.type in _LISTENER_REPORTS


def _group(header: Header) -> str:
    """Return the MAC address of a broadcast or multicast packet; "" for a unicast packet."""
    if isinstance(header, ARP):
        return BROADCAST if header.operation == ARPOperation.REQUEST else ""
    if not isinstance(header, Network):
        return ""
    address = ip_address(header.dst)
    if header.dst == "255.255.255.255":
        return BROADCAST
    if not address.is_multicast:
        return ""
    if address.version == 6:
        return "33:33:" + address.packed[12:].hex(":")
    return f"01:00:5e:{address.packed[1] & 0x7F:02x}:" + address.packed[2:].hex(":")
