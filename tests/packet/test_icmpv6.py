"""ICMPv6: echo messages and errors, their names, quoted packets and findings."""

import pytest

from tunlab.errors import MalformedError, PacketError
from tunlab.packet import (
    UDP,
    Fragment,
    ICMPv6,
    ICMPv6Echo,
    ICMPv6ErrorMessage,
    ICMPv6Type,
    IPv6,
    Packet,
    TruncatedHeader,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    listing,
    parse,
    reply,
    summary,
    to_dict,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6
from tunlab.packet.text.diagram import explain

IP = IPv6(src="fd00::1", dst="fd00::2")
QUESTION = build(IPv6(src="fd00::2", dst="fd00::9"), UDP(1024, 53), b"question")
PING = ICMPv6.echo_request(0x1234, 5)


def read(data, **more):
    return parse(data, link_type=LINKTYPE_IPV6, **more)


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (PING, "8000 0000 1234 0005"),
        (ICMPv6.echo_reply(0x1234, 5), "8100 0000 1234 0005"),
        (ICMPv6.unreachable(4), "0104 0000 0000 0000"),
        (ICMPv6.packet_too_big(1400), "0200 0000 0000 0578"),
        (ICMPv6.time_exceeded(), "0300 0000 0000 0000"),
        (ICMPv6.time_exceeded(1), "0301 0000 0000 0000"),
        (ICMPv6.parameter_problem(40, code=1), "0401 0000 0000 0028"),
        (ICMPv6(type=200, code=7), "c807 0000"),
    ],
    ids=lambda value: value.name if isinstance(value, ICMPv6) else "",
)
def test_message_constructor_builds_the_bytes_of_the_rfc(message, raw):
    wanted = bytes.fromhex(raw)
    packet = Packet.of(IP, message, b"" if message.type >= 128 else QUESTION)
    data = build(packet)
    made = data[40 : 40 + len(wanted)]
    assert made[:2] + made[4:] == wanted[:2] + wanted[4:]
    assert read(data) == complete(packet)
    assert findings(packet) == []
    assert checksums(packet)[0].verdict is Verdict.GOOD


def test_packets_captured_from_the_kernel_are_parsed_and_built():
    reply_bytes = bytes.fromhex(
        "60056d4d 00103a40 fd000000 00000000 00000000 00000001 fd000000 00000000 00000000 00000002"
        "8100a5a6 12340005 30313233 34353637"
    )
    down = IPv6(src="fd00::1", dst="fd00::2", flow_label=0x56D4D)
    assert build(down, ICMPv6.echo_reply(0x1234, 5), b"01234567").hex(" ", 4) == reply_bytes.hex(" ", 4)
    unreachable = bytes.fromhex(
        "60097fbb 00393a40 fd000000 00000000 00000000 00000001 fd000000 00000000 00000000 00000002"
        "01049354 00000000 60000000 00091140 fd000000 00000000 00000000 00000002 fd000000 00000000 00000000 00000001"
        "00010035 00098da1 78"
    )
    packet = read(unreachable)
    assert packet.quoted == read(build(IPv6(src="fd00::2", dst="fd00::1"), UDP(1, 53), b"x"))
    assert build(packet.headers[0], ICMPv6.unreachable(4), bytes(packet.quoted)) == unreachable
    assert findings(packet) == []
    damaged = reply_bytes[:42] + b"\0\0" + reply_bytes[44:]
    assert [each.brief for each in findings(read(damaged))] == ["bad ICMPv6 checksum 0x0000, should be 0xa5a6"]


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (128, 0, "echo request"),
        (129, 0, "echo reply"),
        (1, 0, "no route to destination"),
        (1, 3, "address unreachable"),
        (1, 9, "destination unreachable code 9"),
        (2, 0, "packet too big"),
        (3, 0, "hop limit exceeded in transit"),
        (4, 1, "unrecognized next header type"),
        (135, 0, "neighbor solicitation"),
        (155, 1, "rpl control code 1"),
        (200, 1, "type 200 code 1"),
    ],
)
def test_name_of_icmpv6_message(kind, code, name):
    assert ICMPv6(kind, code).name == name


def test_views_are_none_for_other_messages():
    messages = PING, ICMPv6.packet_too_big(1400), ICMPv6.parameter_problem(40), ICMPv6.unreachable(0), ICMPv6(200)
    assert [each.identifier for each in messages] == [0x1234, None, None, None, None]
    assert [each.sequence_number for each in messages] == [5, None, None, None, None]
    assert [each.mtu for each in messages] == [None, 1400, None, None, None]
    assert [each.pointer for each in messages] == [None, None, 40, None, None]
    assert [each.is_error for each in messages] == [False, True, True, True, False]


def test_icmpv6_where_matches_messages_of_derived_classes():
    packet = Packet.of(IP, PING)
    assert ICMPv6 in packet
    assert packet.icmpv6 is packet[ICMPv6Echo]
    assert ICMPv6.where(type=128, identifier=0x1234).matches(packet)
    assert ICMPv6Echo.where(sequence_number=range(4, 6)).matches(packet)
    assert not ICMPv6ErrorMessage.where().matches(packet)
    (difference,) = ICMPv6.where(type=128, mtu=1280).difference(packet)
    assert str(difference) == "ICMPv6.mtu: wanted 1280, got None"
    lines = explain(packet, ICMPv6.where(type=1).difference(packet))
    assert lines[:2] == ["ICMPv6.type: wanted 1, got ECHO_REQUEST", "ICMPv6Echo as received:"]
    assert "     +^^^^^^^^^^^^^^^+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+" in lines


def test_error_for_oversized_field_names_the_field():
    with pytest.raises(MalformedError, match=r"^ICMPv6PacketTooBig.mtu is 4294967296: the field has 32 bits"):
        ICMPv6.packet_too_big(1 << 32)


def test_reply_to_echo_request_keeps_identifier_and_sequence_number():
    assert reply(Packet.of(IP, PING, b"data")) == (IPv6(src="fd00::2", dst="fd00::1"), ICMPv6.echo_reply(0x1234, 5))
    with pytest.raises(PacketError, match="cannot answer this packet"):
        reply(Packet.of(IP, ICMPv6.echo_reply(1, 2)))


def test_truncated_icmpv6_message_is_parsed_as_header_and_payload():
    data = build(IP, ICMPv6(128), b"\x12\x34")
    packet = read(data)
    assert type(packet.icmpv6) is ICMPv6
    assert packet.payload == b"\x12\x34"
    assert list(map(str, findings(packet))) == [
        "ICMPv6 type: the message is cut short (needed 8, got 6, limited by IPv6.payload_length)"
    ]
    assert checksums(packet)[0].verdict is Verdict.GOOD
    assert build(packet) == data


def test_truncated_icmpv6_header_is_a_truncated_header():
    data = build(IP.replace(next_header=58), b"\x80\0\0")
    packet = read(data)
    assert packet[TruncatedHeader].layer is ICMPv6
    assert packet[TruncatedHeader].values == {"type": 128, "code": 0}
    assert list(map(str, findings(packet))) == [
        "ICMPv6 header: the header is cut short (needed 4, got 3, limited by IPv6.payload_length)"
    ]
    assert build(packet) == data


def test_quoted_of_icmpv6_error_is_the_packet_that_caused_it():
    packet = read(build(IP, ICMPv6.unreachable(4), QUESTION))
    assert packet.quoted == read(QUESTION)
    assert summary(packet) == "IP6 fd00::1 > fd00::2: ICMPv6 port unreachable, for UDP to fd00::9 port 53, length 64"
    long = build(IPv6(src="fd00::2", dst="fd00::9"), UDP(1024, 53), bytes(1400))
    cut = read(build(IP, ICMPv6.packet_too_big(1280), long[:1232]))
    assert (cut.quoted.udp.dst_port, cut.quoted.missing) == (53, 216)
    assert findings(cut.quoted) == findings(cut) == []


def test_quoted_packet_excludes_padding_and_extensions():
    # RFC 4884: byte 4 is the length of the quoted packet with its padding, in units of 8 bytes; extensions follow it.
    padded = QUESTION + bytes(128 - len(QUESTION))
    extension = bytes.fromhex("2000 0000 0008 0101 0001 0101")
    for message in (ICMPv6.unreachable(4), ICMPv6.time_exceeded()):
        packet = read(build(IP, message.replace(length=16), padded, extension))
        assert bytes(packet.quoted) == QUESTION
        assert findings(packet) == []


def test_quoted_of_other_messages_raises():
    with pytest.raises(PacketError, match=r"^an ICMPv6 echo request quotes no packet; errors do \(RFC 4443\)$"):
        Packet.of(IP, PING).quoted  # noqa: B018
    with pytest.raises(PacketError, match=r"^the packet has no ICMP header"):
        Packet.of(IP).quoted  # noqa: B018


def about(src="fd00::2", dst="fd00::9", *rest):
    return build(IPv6(src=src, dst=dst, next_header=None if rest else 59), *rest)


ERROR_FAULTS = {
    "about an error": (
        ICMPv6.unreachable(0),
        about("fd00::2", "fd00::9", ICMPv6.time_exceeded(), QUESTION),
        "ICMPv6 type: an error about an ICMPv6 error or redirect must not be sent (RFC 4443 section 2.4)",
    ),
    "about an error behind a fragment header, cut short": (
        ICMPv6.unreachable(0),
        about("fd00::2", "fd00::9", Fragment(), ICMPv6.unreachable(0))[:54],
        "ICMPv6 type: an error about an ICMPv6 error or redirect must not be sent (RFC 4443 section 2.4)",
    ),
    "about a packet to a multicast address": (
        ICMPv6.unreachable(4),
        about("fd00::2", "ff02::1"),
        "ICMPv6 type: an error about a packet to a multicast address must not be sent (RFC 4443 section 2.4)",
    ),
    "about a packet from the unspecified address": (
        ICMPv6.unreachable(4),
        about("::"),
        "ICMPv6 type: an error about a packet whose source is not one node must not be sent (RFC 4443 section 2.4)",
    ),
    "without a quoted packet": (
        ICMPv6.unreachable(4),
        b"",
        "ICMPv6 type: the error does not quote the IPv6 header of the packet that caused it (RFC 4443 section 2.4)",
    ),
    "of a packet of which more fits": (
        ICMPv6.unreachable(4),
        QUESTION[:48],
        ("ICMPv6 payload: more of the quoted packet fits in 1280 bytes (RFC 4443 section 2.4) (needed 56, got 48)"),
    ),
    "of an MTU that is too small": (
        ICMPv6.packet_too_big(1279),
        QUESTION,
        "ICMPv6 mtu: no IPv6 link has an MTU below 1280 bytes (RFC 8200 section 5) (needed 1280, got 1279)",
    ),
    "larger than 1280 bytes": (
        ICMPv6.unreachable(4),
        about("fd00::2", "fd00::9", UDP(1, 2), bytes(1185)),
        "ICMPv6 payload: the error's packet is larger than 1280 bytes (RFC 4443 section 2.4) (needed 1280, got 1281)",
    ),
}


@pytest.mark.parametrize(("message", "quote", "sentence"), ERROR_FAULTS.values(), ids=ERROR_FAULTS)
def test_faulty_icmpv6_error_has_a_finding(message, quote, sentence):
    assert list(map(str, findings(Packet.of(IP, message, quote)))) == [sentence]


@pytest.mark.parametrize("message", [ICMPv6.packet_too_big(1280), ICMPv6.parameter_problem(40, code=2)])
def test_icmpv6_errors_allowed_for_multicast_packets_have_no_findings(message):
    assert findings(Packet.of(IP, message, about("fd00::2", "ff02::1"))) == []


def test_summary_listing_and_dictionary_show_icmpv6_fields():
    packet = read(build(IP, ICMPv6.parameter_problem(40, code=1), QUESTION))
    assert summary(packet) == (
        "IP6 fd00::1 > fd00::2: ICMPv6 unrecognized next header type, pointer 40, for UDP to fd00::9 port 53, length 64"
    )
    assert listing(packet, verbose=True).splitlines()[-5:] == [
        "ICMPv6:",
        "  Type: 4 (unrecognized next header type)",
        "  Code: 1",
        "  Checksum: 0x9028 (good)",
        "  Pointer: 40",
    ]
    assert to_dict(packet)["icmpv6"] == {"type": 4, "code": 1, "checksum": 0x9028, "pointer": 40}
    assert ICMPv6Type(packet.icmpv6.type) is ICMPv6Type.PARAMETER_PROBLEM


def test_quote_that_is_not_a_packet_names_the_ipv6_header():
    packet = parse(build(IPv6(src="fd00::1", dst="fd00::2"), ICMPv6.unreachable(1), bytes(8)))
    with pytest.raises(MalformedError, match=r"^IPv6.version at offset 0 is 0: an IPv6 header begins"):
        packet.quoted  # noqa: B018
