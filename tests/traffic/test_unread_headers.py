"""Negative assertions beside packets of which a header could not be read: it may be the unwanted one."""

import socket

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import (
    ARP,
    GRE,
    ICMP,
    TCP,
    UDP,
    Fragment,
    HopByHop,
    ICMPv6,
    IPv4,
    IPv6,
    NeighborSolicitation,
    build,
    parse,
)
from tunlab.traffic.expectation import CombinedExpectation

ETHERNET = bytes.fromhex("020000000202 020000000201")
IP4 = IPv4(src="10.1.2.1", dst="10.1.2.2")
IP6 = IPv6(src="fd00::1", dst="fd00::2")
CUT_IPV4 = b"\x45" + bytes(18)

# The packet, its link type, the class of the header that could not be read, a class that this header may be or carry,
# and one that it cannot be; None: it may carry everything.
PACKETS = {
    "no header": (b"\x45 cut", None, "Header", ARP, None),
    "IPv4 cut": (ETHERNET + b"\x08\x00\x45\x00", 1, "IPv4", TCP, None),
    "IPv6 cut": (ETHERNET + b"\x86\xdd\x60\x00", 1, "IPv6", TCP, None),
    "EtherType of IPv4 before IPv6": (ETHERNET + b"\x08\x00" + build(IP6, UDP(1, 2)), 1, "IPv4", UDP, None),
    "VLAN tag cut": (ETHERNET + b"\x81\x00\x00", 1, "VLAN", UDP, None),
    "ARP cut": (ETHERNET + b"\x08\x06\x00\x01", 1, "ARP", ARP, UDP),
    "IPIP cut": (build(IP4.replace(protocol=4), CUT_IPV4), None, "IPv4", UDP, None),
    "GRE cut": (build(IP4, GRE(protocol_type=0x0800), CUT_IPV4), None, "IPv4", UDP, None),
    "hop-by-hop options cut": (build(IP6.replace(next_header=0), b"\x11\x00"), None, "HopByHop", UDP, None),
    "hop-by-hop options past the end": (
        build(IP6, HopByHop(next_header=17, length=5, options=bytes(6))), None, "UDP", UDP, TCP,
    ),
    "ICMPv6 cut": (build(IP6.replace(next_header=58), b"\x87\x00"), None, "ICMPv6", NeighborSolicitation, UDP),
    "neighbor solicitation cut": (
        build(IP6.replace(next_header=58), b"\x87\x00\x00\x00" + bytes(6)),
        None, "NeighborSolicitation", NeighborSolicitation, ICMPv6.where(type=128),
    ),
    "TCP cut": (build(IP4.replace(protocol=6), bytes(9)), None, "TCP", TCP.where(dst_port=80), UDP),
    "no byte of UDP": (build(IP4.replace(protocol=17)), None, "UDP", UDP, TCP),
    "later fragment of IPv4": (build(IP4.replace(protocol=17, fragment_offset=5), bytes(9)), None, "UDP", UDP, TCP),
    "later fragment of IPv6": (
        build(IP6, Fragment(next_header=17, fragment_offset=5), bytes(9)), None, "UDP", UDP, TCP,
    ),
    "more than 256 headers": (build(*[IP4] * 300, UDP(1, 2)), None, "IPv4", UDP, None),
}  # fmt: skip


@pytest.mark.parametrize(("data", "link_type", "unread", "possible", "impossible"), PACKETS.values(), ids=PACKETS)
def test_unread_header_may_match_its_own_class_and_what_it_may_carry(data, link_type, unread, possible, impossible):
    packet = parse(data, link_type) if unread != "Header" else parse(build(IP4, UDP())).replace(headers=())
    assert packet.unread_header.__name__ == unread
    assert not CombinedExpectation.of((possible,)).matches(packet)
    assert CombinedExpectation.of((possible,)).may_match(packet)
    assert impossible is None or not CombinedExpectation.of((impossible,)).may_match(packet)


@pytest.mark.parametrize(
    "parts",
    [
        (IP4, UDP(1, 2), b"x"),
        (IP4.replace(protocol=89), b"not a protocol that has a reader"),
        (IP6, ICMPv6.echo_request(1, 1)),
        (IP6,),
        (IP4.replace(flags=1), ICMP.echo_request(1, 1), bytes(8)),
    ],
    ids=["UDP", "unknown protocol", "ICMPv6", "no next header", "first fragment"],
)
def test_packet_whose_headers_are_all_read_has_no_unread_header(parts):
    packet = parse(build(*parts))
    assert packet.unread_header is None
    assert not CombinedExpectation.of((TCP,)).may_match(packet)


def test_condition_on_a_header_that_could_be_read_excludes_the_packet():
    packet = parse(build(IP4.replace(protocol=17), b"\x00\x05"))
    assert CombinedExpectation.of((IPv4.where(dst="10.1.2.2"), UDP.where(src_port=5))).may_match(packet)
    assert not CombinedExpectation.of((IPv4.where(dst="10.1.2.3"), UDP)).may_match(packet)


def test_function_that_reads_an_unread_header_does_not_exclude_the_packet():
    packet = parse(build(IP4.replace(protocol=17), b"\x00\x05"))
    assert CombinedExpectation.of((lambda each: each.udp.src_port == 5,)).may_match(packet)
    assert not CombinedExpectation.of((lambda each: each.ip.ttl == 5,)).may_match(packet)


def test_expect_none_on_a_tap_raises_for_a_cut_packet_in_a_frame(make_tun):
    tap = make_tun(mode="tap")
    with tap.netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((tap.ifname, 0x0800))
        sender.send(ETHERNET + b"\x08\x00\x45\x00")
    for unwanted in (TCP, IPv4, UDP.where(dst_port=5)):
        with pytest.raises(ExpectationError, match=r"<-- unwanted: its IPv4 header cannot be read, and it may be one$"):
            tap.expect_none(unwanted)


def test_expect_none_of_another_protocol_passes_beside_a_later_fragment(tun):
    tun.emit(IP4.replace(protocol=17, fragment_offset=5), bytes(16))
    tun.expect_none(TCP)
    with pytest.raises(ExpectationError, match="its UDP header cannot be read"):
        tun.expect_none(UDP)
