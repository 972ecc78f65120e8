"""Packets that the kernel sends over IPv6: echo replies, errors, neighbor advertisements and MLD reports."""

import socket

import pytest

from tunlab.packet import (
    UDP,
    DestinationOptions,
    HopByHop,
    ICMPv6,
    ICMPv6Echo,
    IPv6,
    MLDv2Report,
    NeighborAdvertisement,
    NeighborFlag,
    NeighborSolicitation,
    build,
    findings,
    ipv6_options,
    nd_options,
)

HOST, PEER = "fd00::1", "fd00::2"
IP = IPv6(src=PEER, dst=HOST)
PING = ICMPv6.echo_request(7, 9)


@pytest.fixture
def tun(make_tun):
    """A TUN with the address HOST."""
    tun = make_tun(ipv6=True)
    tun.device.add_address(f"{HOST}/64")
    return tun


def answer(tun, *parts, wanted=ICMPv6):
    """Inject a packet and return the kernel's answer, which has no findings."""
    tun.inject(*parts)
    packet = tun.expect(wanted.where())
    assert findings(packet) == []
    assert (packet.ip.src, packet.ip.dst) == (HOST, PEER)
    return packet


def test_echo_reply_has_identifier_number_and_payload_of_the_request(tun):
    packet = answer(tun, IP, HopByHop(options=[ipv6_options.RouterAlert()]), PING, b"payload", wanted=ICMPv6Echo)
    assert (packet.icmpv6, packet.payload) == (
        ICMPv6.echo_reply(7, 9).replace(checksum=packet.icmpv6.checksum),
        b"payload",
    )


ERRORS = {
    "port unreachable": ((IP, UDP(5, 6), b"data"), (1, 4, None)),
    "unknown next header": ((IP.replace(next_header=253), b"data"), (4, 1, 6)),
    "unknown next header behind options": ((IP, DestinationOptions(next_header=253), b"data"), (4, 1, 40)),
    "unknown option": ((IP, HopByHop(options=[ipv6_options.IPv6Option(0x9E)]), PING), (4, 2, 42)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_quotes_the_packet_that_caused_it(tun, name):
    parts, wanted = ERRORS[name]
    packet = answer(tun, *parts)
    assert (packet.icmpv6.type, packet.icmpv6.code, packet.icmpv6.pointer) == wanted
    assert bytes(packet.quoted) == build(*parts)
    assert findings(packet.quoted) == []


def test_error_about_a_large_packet_quotes_1232_bytes(tun):
    packet = answer(tun, IP, UDP(5, 6), bytes(1400))
    assert len(packet.payload) == 1232
    assert packet.quoted.missing == 40 + 8 + 1400 - 1232


def test_packet_too_big_has_the_mtu_of_the_next_link(make_tun, tun):
    tun.netns.set_sysctl("net.ipv6.conf.all.forwarding", 1)
    other = make_tun(netns=tun.netns, ifname="tun1", address="10.9.9.1/24", mtu=1280)
    other.device.add_address("fd09::1/64")
    sent = tun.inject(IPv6(src=PEER, dst="fd09::9"), UDP(5, 6), bytes(1300))
    packet = tun.expect(ICMPv6.where(type=2))
    assert packet.icmpv6.mtu == 1280
    assert bytes(packet.quoted) == sent[:1232]
    assert findings(packet) == []


def test_hop_limit_exceeded_quotes_the_forwarded_packet(tun):
    tun.netns.set_sysctl("net.ipv6.conf.all.forwarding", 1)
    sent = tun.inject(IPv6(src=PEER, dst="fd00::9", hop_limit=1), UDP(5, 6))
    packet = tun.expect(ICMPv6.where(type=3, code=0))
    assert bytes(packet.quoted) == sent
    assert packet.quoted.ip.hop_limit == 1


def test_neighbor_solicitation_is_answered_by_an_advertisement(tun):
    options = [nd_options.SourceLinkLayerAddress("02:00:00:00:00:02"), nd_options.Nonce(b"random")]
    packet = answer(tun, IP, NeighborSolicitation(target=HOST, options=options), wanted=NeighborAdvertisement)
    assert packet.icmpv6.target == HOST
    assert NeighborFlag.SOLICITED in packet.icmpv6.flags
    assert packet.ip.hop_limit == 255


def test_joined_group_is_reported(tun):
    with tun.netns.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listener:
        group = socket.inet_pton(socket.AF_INET6, "ff05::1:3") + tun.device.link.index.to_bytes(4, "little")
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        packet = tun.expect(MLDv2Report.where(records=lambda records: "ff05::1:3" in str(records)))
    assert findings(packet) == []
    assert packet[HopByHop].has_option(ipv6_options.RouterAlert)
