"""The packet filter of `tunlab dump` and `tunlab report`: protocols and addresses of both families, frames."""

import pytest

from tunlab.cli.packet_filter import PacketFilter, parse_network, parse_protocol
from tunlab.packet import ARP, GRE, ICMP, TCP, UDP, VLAN, Ethernet, HopByHop, ICMPv6, IPv4, IPv6, TCPFlag, build, parse

FOUR, SIX = IPv4(src="10.1.2.1", dst="10.1.2.3"), IPv6(src="fd00::1", dst="fd00::2")
TO_ALL = Ethernet(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01")
SYN = TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN)
FRAMES = {
    "icmp": (FOUR, ICMP.echo_request(1, 1)),
    "udp": (FOUR, UDP(5353, 53)),
    "tcp": (FOUR, SYN),
    "ospf": (FOUR.replace(protocol=89), b"hello"),
    "icmp6": (SIX, HopByHop(), ICMPv6.echo_request(1, 1)),
    "tcp6": (SIX, SYN),
    "udp6": (SIX, UDP(5353, 53)),
    "ospf6": (SIX.replace(next_header=89), b"hello"),
    "arp": (ARP(sender_protocol="10.1.2.1", target_protocol="10.1.2.3"),),
    "vlan": (VLAN(vid=7), FOUR, SYN),
    "gre": (FOUR, GRE(), SIX.replace(src="fd00::9"), SYN),
    "unknown": (TO_ALL.replace(type=0x88B5), b"payload"),
}
PACKETS = {
    name: parse(build(*parts) if name == "unknown" else build(TO_ALL, *parts), 1) for name, parts in FRAMES.items()
}


def passing(**conditions):
    packet_filter = PacketFilter(**conditions)
    return " ".join(name for name, packet in PACKETS.items() if packet_filter.matches(packet))


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        ({}, "icmp tcp ospf vlan gre"),
        ({"everything": True}, " ".join(PACKETS)),
        ({"protocol": "icmp6"}, "icmp6"),
        ({"protocol": "icmpv6"}, "icmp6"),
        ({"protocol": "arp"}, "arp"),
        ({"protocol": "vlan"}, "vlan"),
        ({"protocol": "tcp"}, "tcp tcp6 vlan gre"),
        ({"protocol": "udp"}, "udp udp6"),
        ({"protocol": "ip"}, "icmp udp tcp ospf vlan gre"),
        ({"protocol": "ip6"}, "icmp6 tcp6 udp6 ospf6 gre"),
        ({"protocol": "gre"}, "gre"),
        ({"protocol": "hopbyhop"}, "icmp6"),
        ({"protocol": "89"}, "ospf ospf6"),
        ({"address": "fd00::1"}, "icmp6 tcp6 udp6 ospf6"),
        ({"address": "fd00::/16", "everything": True}, "icmp6 tcp6 udp6 ospf6 gre"),
        ({"address": "10.1.2.3"}, "icmp udp tcp ospf vlan gre"),
        ({"address": "10.1.2.3", "everything": True}, "icmp udp tcp ospf arp vlan gre"),
        ({"address": "10.1.2.3", "protocol": "arp"}, "arp"),
        ({"address": "10.9.9.9", "protocol": "arp"}, ""),
        ({"src": "fd00::9"}, "gre"),
        ({"dst": "fd00::9"}, ""),
        ({"src": "10.1.2.1"}, "icmp udp tcp ospf vlan gre"),
        ({"dst": "fd00::2"}, "icmp6 tcp6 udp6 ospf6 gre"),
        ({"src": "10.1.2.1", "dst": "fd00::2"}, ""),
        ({"port": 53}, "udp udp6"),
        ({"port": 80}, "tcp tcp6 vlan gre"),
        ({"port": 80, "dst": "fd00::2"}, "tcp6 gre"),
    ],
)
def test_packet_filter_passes_matching_packets(conditions, shown):
    parsers = {"protocol": parse_protocol, "address": parse_network, "src": parse_network, "dst": parse_network}
    parsed = {name: parsers[name](value) if name in parsers else value for name, value in conditions.items()}
    assert passing(**parsed) == shown


def test_packet_filter_passes_unreadable_bytes_only_with_everything_and_no_condition():
    assert PacketFilter(everything=True).matches(None)
    assert not PacketFilter().matches(None)
    assert not PacketFilter(everything=True, port=80).matches(None)


def test_packet_filter_by_address_rejects_arp_for_another_protocol():
    message = ARP(sender_protocol=b"\1", target_protocol=b"\2")
    packet = parse(build(TO_ALL, message), 1)
    assert not PacketFilter(protocol=ARP, address=parse_network("10.0.0.0/8")).matches(packet)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fd00::1/64", "'fd00::1/64' has host bits set. Did you mean fd00::/64?"),
        ("fd00::x", "'fd00::x' is not an IP address or network. Give one like 10.1.2.3, 10.1.2.0/24 or fd00::1."),
    ],
)
def test_error_of_parse_network_with_invalid_text_says_what_to_give(text, sentence):
    with pytest.raises(ValueError, match="^" + sentence.replace("?", r"\?")):
        parse_network(text)
