"""Neighbor discovery: its five messages, their options, and the rules of RFC 4861 for receivers."""

from ipaddress import IPv6Address

import pytest

from tunlab.errors import MalformedError, PacketError
from tunlab.packet import (
    UDP,
    HopByHop,
    ICMPv6,
    IPv6,
    NeighborAdvertisement,
    NeighborFlag,
    NeighborSolicitation,
    Packet,
    Redirect,
    RouterAdvertisement,
    RouterFlag,
    RouterSolicitation,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    has,
    listing,
    nd_options,
    parse,
    summary,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6

HOST, ROUTER, NODES = "fd00::1", "fe80::1", "ff02::1"
MAC = "02:00:00:00:00:01"
IP = IPv6(src=HOST, dst="fd00::2")
CAUSE = build(IPv6(src=HOST, dst="fd00::9"), UDP(1, 2), b"question")
SOURCE, TARGET = nd_options.SourceLinkLayerAddress(MAC), nd_options.TargetLinkLayerAddress(MAC)
MESSAGES = {
    "router solicitation": (
        IPv6(src=ROUTER, dst="ff02::2"),
        RouterSolicitation(options=[SOURCE]),
        "8500 0000 0000 0000 0101 0200 0000 0001",
    ),
    "router advertisement": (
        IPv6(src=ROUTER, dst=NODES),
        RouterAdvertisement(
            flags=RouterFlag.OTHER,
            preference=1,
            router_lifetime=9,
            reachable_time=10,
            retrans_timer=11,
            options=[nd_options.MTU(1500)],
        ),
        "8600 0000 4048 0009 0000000a 0000000b 0501 0000 000005dc",
    ),
    "neighbor solicitation": (
        IPv6(src=HOST, dst="ff02::1:ff00:2"),
        NeighborSolicitation(target=IPv6Address("fd00::2"), options=[SOURCE]),
        "8700 0000 0000 0000 fd000000 00000000 00000000 00000002 0101 0200 0000 0001",
    ),
    "neighbor advertisement": (
        IPv6(src="fd00::2", dst=HOST),
        NeighborAdvertisement(target="fd00::2", flags=6, options=[TARGET]),
        "8800 0000 c000 0000 fd000000 00000000 00000000 00000002 0201 0200 0000 0001",
    ),
    "redirect": (
        IPv6(src=ROUTER, dst=HOST),
        Redirect(target="fe80::2", destination="fd00::9", options=[nd_options.RedirectedHeader(CAUSE)]),
        "8900 0000 0000 0000 fe800000 00000000 00000000 00000002 fd000000 00000000 00000000 00000009"
        "0408 0000 0000 0000" + CAUSE.hex(),
    ),
}


def read(data, **more):
    return parse(data, link_type=LINKTYPE_IPV6, **more)


@pytest.mark.parametrize(("ip", "message", "raw"), MESSAGES.values(), ids=MESSAGES)
def test_nd_message_has_the_bytes_of_the_rfc(ip, message, raw):
    wanted = bytes.fromhex(raw)
    packet = Packet.of(ip, message)
    made = build(packet)[40:]
    assert (made[:2] + made[4:]).hex(" ", 4) == (wanted[:2] + wanted[4:]).hex(" ", 4)
    assert read(build(packet)) == complete(packet)
    assert findings(packet) == []
    assert checksums(packet)[0].verdict is Verdict.GOOD
    assert complete(packet).ip.hop_limit == 255
    assert packet.icmpv6.name == next(name for name, value in MESSAGES.items() if value[1] is message)
    assert ICMPv6.where(type=message.type).matches(packet)


OPTIONS = {
    "prefix information": (
        nd_options.PrefixInformation("fd00::", 56, 0x80, 7, 6),
        "0304 3880 00000007 00000006 00000000 fd000000 00000000 00000000 00000000",
    ),
    "redirected header": (nd_options.RedirectedHeader(b"packet"), "0402 0000 0000 0000 7061636b6574 0000"),
    "MTU": (nd_options.MTU(1280), "0501 0000 00000500"),
    "nonce": (nd_options.Nonce(b"random"), "0e01 72616e646f6d"),
    "recursive DNS servers": (
        nd_options.RecursiveDNSServer(["fd00::53", "fd00::54"], 60),
        "1905 0000 0000003c fd000000 00000000 00000000 00000053 fd000000 00000000 00000000 00000054",
    ),
    "link-layer address of 8 bytes": (
        nd_options.SourceLinkLayerAddress(bytes(range(1, 15))),
        "0102 01020304 05060708 090a0b0c 0d0e",
    ),
    "unknown": (nd_options.NDOption(200, b"abc"), "c801 61626300 0000"),
}


@pytest.mark.parametrize(("option", "raw"), OPTIONS.values(), ids=OPTIONS)
def test_nd_option_has_the_bytes_of_the_rfc(option, raw):
    wanted = bytes.fromhex(raw)
    assert bytes(option) == wanted
    message = RouterSolicitation(options=[option, SOURCE])
    assert [bytes(each) for each in message.decoded_options] == [wanted, bytes(SOURCE)]
    assert type(message.decoded_options[0]) is type(option)
    assert findings(Packet.of(IPv6(src=ROUTER, dst="ff02::2"), message)) == []


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NeighborSolicitation(), "NeighborSolicitation.target is None: required"),
        (
            lambda: NeighborSolicitation(target="10.0.0.1"),
            "NeighborSolicitation.target is '10.0.0.1': not",
        ),
        (lambda: NeighborAdvertisement(target=HOST, flags=8), "NeighborAdvertisement.flags is 8: not flags"),
        (
            lambda: RouterAdvertisement(cur_hop_limit=256),
            "RouterAdvertisement.cur_hop_limit is 256: the field",
        ),
        (lambda: nd_options.SourceLinkLayerAddress("router"), "address is 'router': not a MAC address"),
        (lambda: bytes(nd_options.MTU(1 << 32)), "MTU is MTU(mtu=4294967296): MTU has a field that does not fit"),
        (lambda: bytes(nd_options.NDOption(1, bytes(2039))), "NDOption is NDOption("),
    ],
)
def test_error_for_invalid_nd_value_names_the_field(make, sentence):
    with pytest.raises(MalformedError) as error_info:
        make()
    assert str(error_info.value).startswith(sentence)


def test_quoted_of_redirect_is_the_packet_that_caused_it():
    ip, message, _ = MESSAGES["redirect"]
    assert read(build(ip, message)).quoted == read(CAUSE)
    with pytest.raises(PacketError, match="the redirect quotes no packet: it has no option RedirectedHeader"):
        Packet.of(ip, message.replace(options=b"")).quoted  # noqa: B018


def of(number, rule, field="type"):
    return f"ICMPv6 {field}: {rule} (RFC 4861 section {number})"


SOLICITATION, ADVERTISEMENT = NeighborSolicitation(target="fd00::2"), NeighborAdvertisement(target="fd00::2")
ANYONE, SOLICITED_NODE = "::", "ff02::1:ff00:2"
FAULTS = {
    "hop limit": (IP.replace(hop_limit=64), SOLICITATION, of("7.1.1", "the hop limit is 64 and must be 255")),
    "code": (IP, SOLICITATION.replace(code=1), of("7.1.1", "the code must be 0")),
    "reserved": (IP, SOLICITATION.replace(reserved=1), of("4", "must be zero", "reserved")),
    "router solicitation of an unknown source": (
        IPv6(src=ANYONE, dst="ff02::2"),
        RouterSolicitation(options=[SOURCE]),
        of("6.1.1", "from the unspecified address it must not have a source link-layer address"),
    ),
    "router advertisement from a global address": (
        IP,
        RouterAdvertisement(),
        of("6.1.2", "the source must be a link-local address"),
    ),
    "multicast target": (
        IP,
        NeighborSolicitation(target=NODES),
        of("7.1.1", "the target must not be a multicast address"),
    ),
    "duplicate address detection with a source option": (
        IPv6(src=ANYONE, dst=SOLICITED_NODE),
        NeighborSolicitation(target="fd00::2", options=[SOURCE]),
        of("7.1.1", "from the unspecified address it must not have a source link-layer address"),
    ),
    "duplicate address detection to one node": (
        IPv6(src=ANYONE, dst="fd00::2"),
        SOLICITATION,
        of("7.1.1", "from the unspecified address it must be sent to a solicited-node multicast address"),
    ),
    "solicited advertisement to all nodes": (
        IPv6(src="fd00::2", dst=NODES),
        ADVERTISEMENT.replace(flags=NeighborFlag.SOLICITED),
        of("7.1.2", "to a multicast address it must not have the flag SOLICITED"),
    ),
    "redirect to a global router": (
        IPv6(src=ROUTER, dst=HOST),
        Redirect(target="fd00::3", destination="fd00::9"),
        of("8.1", "the target must be link-local, or the destination itself"),
    ),
    "redirect of a multicast address": (
        IPv6(src=ROUTER, dst=HOST),
        Redirect(target="fe80::3", destination=NODES),
        of("8.1", "the destination must not be a multicast address"),
    ),
    "option of length 0": (
        IP,
        SOLICITATION.replace(options=b"\1\0" + bytes(6)),
        of("4.6", "option 1 has length 0", "options") + " (needed 8, got 0, limited by IPv6.payload_length)",
    ),
    "option past the end": (
        IP,
        SOLICITATION.replace(options=b"\1\2" + bytes(6)),
        "ICMPv6 options: option 1 overruns the message (needed 16, got 8, limited by IPv6.payload_length)",
    ),
    "option without a length": (
        IP,
        SOLICITATION.replace(options=bytes(SOURCE) + b"\1"),
        "ICMPv6 options: option 1 has no length byte (needed 2, got 1, limited by IPv6.payload_length)",
    ),
    "option of a wrong length": (
        IP,
        SOLICITATION.replace(options=b"\3\1" + bytes(6)),
        "ICMPv6 options: option 3 (PrefixInformation) has 8 bytes; it needs 32 (RFC 4861 section 4.6.2)",
    ),
    "prefix of more than 128 bits": (
        IP,
        SOLICITATION.replace(options=bytes(nd_options.PrefixInformation("fd00::", 129))),
        "ICMPv6 options: the prefix length is 129; the maximum is 128 (RFC 4861 section 4.6.2)",
    ),
    "preferred lifetime over the valid one": (
        IP,
        SOLICITATION.replace(options=bytes(nd_options.PrefixInformation("fd00::", 64, 0, 1, 2))),
        "ICMPv6 options: the preferred lifetime is longer than the valid lifetime (RFC 4862 section 5.5.3)",
    ),
    "cut short": (
        IP,
        ICMPv6(135),
        "ICMPv6 type: the message is cut short (needed 24, got 4, limited by IPv6.payload_length)",
    ),
}


@pytest.mark.parametrize(("ip", "message", "sentence"), FAULTS.values(), ids=FAULTS)
def test_faulty_nd_message_has_a_finding(ip, message, sentence):
    data = build(ip, message)
    packet = read(data)
    assert list(map(str, findings(packet))) == [sentence]
    assert build(packet) == data
    summary(packet)
    listing(packet, verbose=True)


def test_nd_options_truncated_by_the_capture_have_no_findings():
    data = build(IP, SOLICITATION.replace(options=bytes(nd_options.PrefixInformation("fd00::"))))
    assert findings(read(data[:80], wire_length=len(data))) == []


def test_hop_limit_with_extension_header_before_nd_message_is_255():
    assert complete(Packet.of(IP, HopByHop(), SOLICITATION)).ip.hop_limit == 255
    assert complete(Packet.of(IP, HopByHop(next_header=0), SOLICITATION)).ip.hop_limit == 64


def test_where_matches_nd_fields():
    packet = read(build(IP, ADVERTISEMENT.replace(flags=6)))
    assert NeighborAdvertisement.where(target="FD00::2", flags=has(NeighborFlag.SOLICITED)).matches(packet)
    (difference,) = NeighborAdvertisement.where(flags=NeighborFlag.OVERRIDE).difference(packet)
    assert str(difference) == "NeighborAdvertisement.flags: wanted OVERRIDE, got SOLICITED|ROUTER"


SUMMARIES = {
    "router solicitation": "IP6 fe80::1 > ff02::2: ICMPv6 router solicitation, length 16",
    "router advertisement": "IP6 fe80::1 > ff02::1: ICMPv6 router advertisement, length 24",
    "neighbor solicitation": "IP6 fd00::1 > ff02::1:ff00:2: ICMPv6 neighbor solicitation, who has fd00::2, length 32",
    "neighbor advertisement": (
        "IP6 fd00::2 > fd00::1: ICMPv6 neighbor advertisement, tgt is fd00::2, Flags [router, solicited], length 32"
    ),
    "redirect": "IP6 fe80::1 > fd00::1: ICMPv6 redirect, fd00::9 to fe80::2, length 104",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_nd_summary_shows_addresses_and_flags(name):
    ip, message, _ = MESSAGES[name]
    assert summary(Packet.of(ip, message)) == SUMMARIES[name]


def test_verbose_listing_shows_nd_options():
    prefix = nd_options.PrefixInformation("fd00::", 64, 0, 1, 0)
    packet = Packet.of(IPv6(src=ROUTER, dst=NODES), RouterAdvertisement(options=[prefix, nd_options.NDOption(200)]))
    assert listing(packet, verbose=True).splitlines()[-2:] == [
        "  Option: PrefixInformation prefix fd00::, prefix length 64, flags 0, valid lifetime 1, preferred lifetime 0",
        "  Option: kind 200 00 00 00 00 00 00",
    ]
    assert "prefix fd00::/64" in summary(packet)
