"""Packets: build, parse, check, match and print them. This package does no I/O.

    data = build(IPv4(src="10.1.2.3", dst="10.1.2.1"), ICMP.echo_request(1, 1), b"payload")
    packet = parse(data)
    packet.ip.ttl, packet.icmp.sequence_number, packet.payload
    findings(packet), checksums(packet)
    TCP.where(dst_port=80, flags=has(TCPFlag.SYN)).difference(packet)
    print(listing(packet), hexdump(data), summary(packet))

Fields have the names of the RFCs and the units of the wire. Options are in `ip_options`,
`ipv6_options`, `nd_options` and `tcp_options`.
"""

from tunlab.packet import ip_options, ipv6_options, nd_options, tcp_options
from tunlab.packet.checksum import Checksum, Verdict, internet_checksum
from tunlab.packet.field import Field
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Layer
from tunlab.packet.judgement import PacketLike, checksums, findings, reply
from tunlab.packet.kinds import Extension, Link, Network, Transport
from tunlab.packet.link.arp import ARP, ARPOperation
from tunlab.packet.link.ethernet import Ethernet
from tunlab.packet.link.linux_cooked import SLL, SLL2
from tunlab.packet.link.llc import LLC
from tunlab.packet.link.loopback import Loopback
from tunlab.packet.link.snap import SNAP
from tunlab.packet.link.vlan import VLAN
from tunlab.packet.match import Difference, Match, Matchable, Matcher, has
from tunlab.packet.network.ah import AH
from tunlab.packet.network.gre import GRE, GREFlag
from tunlab.packet.network.ipv4 import IPFlag, IPv4
from tunlab.packet.network.ipv6 import IPv6
from tunlab.packet.network.ipv6_extensions import DestinationOptions, Fragment, HopByHop, Routing
from tunlab.packet.options import Option, TypedOption
from tunlab.packet.packet import Packet, PacketPart, build, complete, parse
from tunlab.packet.text.listing import hexdump, listing, summary, to_dict
from tunlab.packet.transport.icmp import ICMP, ICMPTimestamps, ICMPType
from tunlab.packet.transport.icmpv6 import (
    ICMPv6,
    ICMPv6Echo,
    ICMPv6ErrorMessage,
    ICMPv6ExtendedEcho,
    ICMPv6PacketTooBig,
    ICMPv6ParameterProblem,
    ICMPv6TimeExceeded,
    ICMPv6Unreachable,
)
from tunlab.packet.transport.icmpv6_types import ICMPv6Type
from tunlab.packet.transport.igmp import IGMP, GroupRecord, IGMPType
from tunlab.packet.transport.mld import MLD, MLDMessage, MLDv2Report, MulticastAddressRecord
from tunlab.packet.transport.neighbor_discovery import (
    NDMessage,
    NeighborAdvertisement,
    NeighborFlag,
    NeighborSolicitation,
    Redirect,
    RouterAdvertisement,
    RouterFlag,
    RouterSolicitation,
)
from tunlab.packet.transport.tcp import TCP, TCPFlag
from tunlab.packet.transport.udp import UDP
from tunlab.packet.truncated import TruncatedHeader

__all__ = [
    "AH",
    "ARP",
    "GRE",
    "ICMP",
    "IGMP",
    "LLC",
    "MLD",
    "SLL",
    "SLL2",
    "SNAP",
    "TCP",
    "UDP",
    "VLAN",
    "ARPOperation",
    "Checksum",
    "DestinationOptions",
    "Difference",
    "Ethernet",
    "Extension",
    "Field",
    "Finding",
    "FindingKind",
    "Fragment",
    "GREFlag",
    "GroupRecord",
    "Header",
    "HopByHop",
    "ICMPTimestamps",
    "ICMPType",
    "ICMPv6",
    "ICMPv6Echo",
    "ICMPv6ErrorMessage",
    "ICMPv6ExtendedEcho",
    "ICMPv6PacketTooBig",
    "ICMPv6ParameterProblem",
    "ICMPv6TimeExceeded",
    "ICMPv6Type",
    "ICMPv6Unreachable",
    "IGMPType",
    "IPFlag",
    "IPv4",
    "IPv6",
    "Layer",
    "Link",
    "Loopback",
    "MLDMessage",
    "MLDv2Report",
    "Match",
    "Matchable",
    "Matcher",
    "MulticastAddressRecord",
    "NDMessage",
    "NeighborAdvertisement",
    "NeighborFlag",
    "NeighborSolicitation",
    "Network",
    "Option",
    "Packet",
    "PacketLike",
    "PacketPart",
    "Redirect",
    "RouterAdvertisement",
    "RouterFlag",
    "RouterSolicitation",
    "Routing",
    "TCPFlag",
    "Transport",
    "TruncatedHeader",
    "TypedOption",
    "Verdict",
    "build",
    "checksums",
    "complete",
    "findings",
    "has",
    "hexdump",
    "internet_checksum",
    "ip_options",
    "ipv6_options",
    "listing",
    "nd_options",
    "parse",
    "reply",
    "summary",
    "tcp_options",
    "to_dict",
]
