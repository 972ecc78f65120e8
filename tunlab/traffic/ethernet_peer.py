"""The test's end of a TAP: it puts Ethernet headers before packets, and answers ARP and neighbor solicitations.

Source: RFC 826 (ARP), RFC 4861 section 7.2 (neighbor discovery), RFC 1112 section 6.4 and RFC 2464 section 7 (multicast
addresses).
"""

from __future__ import annotations

from ipaddress import ip_address

from msgspec import Struct

from tunlab.packet import (
    ARP,
    VLAN,
    ARPOperation,
    Ethernet,
    Header,
    HopByHop,
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
from tunlab.packet.transport.mld import MLDMessage

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

        The question follows the Ethernet header or its VLAN tags, and the answer has the same tags; a question inside a
        tunnel is for the hosts behind that tunnel. The kernel's question whether another host has its own address
        (RFC 5227, RFC 4862) gets no answer.
        """
        frame, content = _split(packet)
        if not self.address_resolution or not frame:
            return None
        ethernet, tags = frame[0], frame[1:]
        header = ethernet.replace(dst=ethernet.src, src=self.hardware_address)
        match content:
            case (ARP(operation=ARPOperation.REQUEST) as arp,):
                if arp.sender_protocol in ("0.0.0.0", arp.target_protocol):  # ARP probe (RFC 5227)
                    return None
                reply = ARP(
                    operation=ARPOperation.REPLY,
                    sender_hardware=self.hardware_address,
                    sender_protocol=arp.target_protocol,
                    target_hardware=arp.sender_hardware or BROADCAST,
                    target_protocol=arp.sender_protocol,
                )
                return build(header, *tags, reply)
            case (IPv6() as ip, NeighborSolicitation() as solicitation) if ip.src != "::":
                advertisement = NeighborAdvertisement(
                    target=solicitation.target,
                    flags=NeighborFlag.SOLICITED | NeighborFlag.OVERRIDE,
                    options=[TargetLinkLayerAddress(self.hardware_address)],
                )
                return build(header, *tags, IPv6(src=solicitation.target, dst=ip.src, hop_limit=255), advertisement)
        return None


def is_listener_report(packet: Packet) -> bool:
    """Return True for an MLD report, which the kernel sends unasked for the groups of its addresses."""
    match _split(packet)[1]:
        case (IPv6(), HopByHop(), MLDMessage() as report):
            return report.type in _LISTENER_REPORTS
    return False


def _split(packet: Packet) -> tuple[tuple[Ethernet, *tuple[VLAN, ...]] | tuple[()], tuple[Header, ...]]:
    """Return the Ethernet header with its VLAN tags, if there is one, and the headers that they carry."""
    headers, at = packet.headers, 0
    if headers and isinstance(headers[0], Ethernet):
        at = next((at for at, each in enumerate(headers) if at and not isinstance(each, VLAN)), len(headers))
    return headers[:at], headers[at:]  # type: ignore[return-value]


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
