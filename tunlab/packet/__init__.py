"""Packets: octets ↔ headers, sans-I/O. Build and parse, judge, match, explain, print.

    octets = build(IPv4(src="10.1.2.3", dst="10.1.2.1"), ICMP.echo_request(1, 1), b"payload")
    packet = parse(octets)
    packet.ip.ttl, packet.icmp.sequence_number, packet.payload
    findings(packet), checksums(packet)
    TCP.where(dst_port=80).difference(packet)
    print(listing(packet), hexdump(octets), summary(packet))

Header files keep the wire's units and the RFC's words; `ip_options` and `tcp_options` hold the options.
"""

from tunlab.packet import ip_options, tcp_options
from tunlab.packet.checksum import Checksum, Verdict, internet_checksum
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Transport
from tunlab.packet.icmp import ICMP, ICMPTimestamps, ICMPType
from tunlab.packet.igmp import IGMP, GroupRecord, IGMPType
from tunlab.packet.ipv4 import IPFlag, IPv4
from tunlab.packet.match import Difference, Match
from tunlab.packet.options import Option, OptionFault, TypedOption
from tunlab.packet.packet import Packet, build, checksums, complete, findings, parse, reply
from tunlab.packet.tcp import TCP, TCPFlag
from tunlab.packet.text import hexdump, listing, summary, to_dict
from tunlab.packet.truncated import TruncatedHeader
from tunlab.packet.udp import UDP

__all__ = [
    "ICMP",
    "IGMP",
    "TCP",
    "UDP",
    "Checksum",
    "Difference",
    "Finding",
    "FindingKind",
    "GroupRecord",
    "Header",
    "ICMPTimestamps",
    "ICMPType",
    "IGMPType",
    "IPFlag",
    "IPv4",
    "Match",
    "Option",
    "OptionFault",
    "Packet",
    "TCPFlag",
    "Transport",
    "TruncatedHeader",
    "TypedOption",
    "Verdict",
    "build",
    "checksums",
    "complete",
    "findings",
    "hexdump",
    "internet_checksum",
    "ip_options",
    "listing",
    "parse",
    "reply",
    "summary",
    "tcp_options",
    "to_dict",
]
