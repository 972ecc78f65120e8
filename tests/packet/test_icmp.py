"""ICMP: messages, their names, and the fields in bytes 4 to 7, which depend on the type."""

import pytest

from tests.packet.golden import QUESTION, down, up
from tunlab.errors import MalformedError, PacketError, TruncatedError
from tunlab.packet import ICMP, ICMPTimestamps, ICMPType, Packet, build, findings, parse, reply


@pytest.mark.parametrize(
    ("icmp", "raw"),
    [
        (ICMP.echo_request(0x1234, 5), "0800 0000 1234 0005"),
        (ICMP.echo_reply(0x1234, 5), "0000 0000 1234 0005"),
        (ICMP.unreachable(1), "0301 0000 0000 0000"),
        (ICMP.unreachable(4, mtu=1280), "0304 0000 0000 0500"),
        (ICMP.time_exceeded(), "0b00 0000 0000 0000"),
        (ICMP.time_exceeded(1), "0b01 0000 0000 0000"),
        (ICMP.redirect("10.1.2.254"), "0501 0000 0a01 02fe"),
        (ICMP.redirect("10.1.2.254", code=0), "0500 0000 0a01 02fe"),
        (ICMP.parameter_problem(255), "0c00 0000 ff00 0000"),
        (ICMP.parameter_problem(20, code=2), "0c02 0000 1400 0000"),
        (ICMP.timestamp(1, 2), "0d00 0000 0001 0002"),
        (ICMP.timestamp_reply(1, 2), "0e00 0000 0001 0002"),
        (ICMP(), "0800 0000 0000 0000"),
    ],
    ids=lambda value: value.name if isinstance(value, ICMP) else "",
)
def test_message_constructor_builds_the_bytes_of_the_rfc(icmp, raw):
    wanted = bytes.fromhex(raw)
    made = build(up(), icmp)[20:]
    assert made[:2] + made[4:] == wanted[:2] + wanted[4:]
    assert parse(build(up(), icmp)).icmp == ICMP(
        icmp.type, icmp.code, int.from_bytes(made[2:4], "big"), icmp.identifier, icmp.sequence_number
    )


@pytest.mark.parametrize(
    ("icmp", "gateway", "pointer", "mtu", "is_error"),
    [
        (ICMP.echo_request(1, 2), None, None, None, False),
        (ICMP.unreachable(3), None, None, None, True),
        (ICMP.unreachable(4, 1400), None, None, 1400, True),
        (ICMP.redirect("10.1.2.254"), "10.1.2.254", None, None, True),
        (ICMP.parameter_problem(20), None, 20, None, True),
        (ICMP(ICMPType.SOURCE_QUENCH), None, None, None, True),
        (ICMP.time_exceeded(), None, None, None, True),
        (ICMP(ICMPType.TIMESTAMP), None, None, None, False),
        (ICMP(200, 4), None, None, None, False),
    ],
)
def test_gateway_pointer_and_mtu_are_none_for_other_messages(icmp, gateway, pointer, mtu, is_error):
    assert (icmp.gateway, icmp.pointer, icmp.mtu, icmp.is_error) == (gateway, pointer, mtu, is_error)


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (8, 0, "echo request"),
        (0, 0, "echo reply"),
        (3, 0, "net unreachable"),
        (3, 3, "port unreachable"),
        (3, 6, "destination network unknown"),
        (3, 7, "destination host unknown"),
        (3, 8, "source host isolated"),
        (3, 11, "network unreachable for type of service"),
        (3, 12, "host unreachable for type of service"),
        (3, 14, "host precedence violation"),
        (3, 15, "precedence cutoff in effect"),
        (3, 16, "destination unreachable code 16"),
        (4, 0, "source quench"),
        (5, 1, "redirect for the host"),
        (11, 1, "fragment reassembly time exceeded"),
        (12, 0, "parameter problem"),
        (12, 1, "parameter problem, required option missing"),
        (13, 0, "timestamp"),
        (8, 3, "echo request code 3"),
        (99, 1, "type 99 code 1"),
    ],
)
def test_name_of_icmp_message(kind, code, name):
    assert ICMP(kind, code).name == name


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ICMP.redirect("router"), "address is 'router': not an IPv4 address"),
        (lambda: ICMP.parameter_problem(256), "ICMP.pointer is 256: the field has 8 bits"),
        (lambda: ICMP.parameter_problem(-1), "ICMP.pointer is -1: the field has 8 bits"),
        (lambda: ICMP.unreachable(4, 65536), "ICMP.mtu is 65536: the field has 16 bits"),
        (lambda: ICMP.unreachable(4, "big"), "ICMP.mtu is 'big': not an integer. Give an integer from 0 to 65535."),
    ],
)
def test_unencodable_argument_error_names_the_field(make, sentence):
    with pytest.raises(MalformedError) as error_info:
        make()
    assert str(error_info.value).startswith(sentence)


def test_quoted_packet_excludes_padding_and_extensions():
    # RFC 4884: byte 5 is the length of the quoted packet with its padding, in words; extensions follow it.
    padded = QUESTION + bytes(128 - len(QUESTION))
    extension = bytes.fromhex("2000 0000 0008 0101 0001 0101")
    for icmp, quoted_length in (
        (ICMP(3, 3, identifier=32), 128),
        (ICMP(11, 0, identifier=32), 128),
        (ICMP(12, 0, identifier=20 << 8 | 32), 128),
        (ICMP(3, 3), None),
        (ICMP(5, 1, identifier=32), None),
        (ICMP(8, 0, identifier=32), None),
    ):
        assert icmp.quoted_length == quoted_length
        if icmp.is_error and quoted_length:
            packet = parse(build(down(), icmp, padded, extension))
            assert bytes(packet.quoted) == QUESTION
            assert findings(packet.quoted) == findings(packet) == []
            assert packet.quoted.payload == b"question"


def test_quoted_of_other_messages_raises():
    with pytest.raises(PacketError) as error_info:
        Packet.of(up(), ICMP.echo_request()).quoted  # noqa: B018
    assert str(error_info.value) == "an ICMP echo request quotes no packet. Only ICMP errors do (RFC 792)."
    with pytest.raises(TruncatedError):
        Packet.of(up(), ICMP.unreachable(1), b"Eight...").quoted  # noqa: B018


def test_timestamps_are_built_and_parsed():
    raw = bytes.fromhex("00000001 05265bff 80000000")
    assert bytes(ICMPTimestamps(1, 86399999, 1 << 31)) == raw
    assert ICMPTimestamps.parse(raw + b"more") == ICMPTimestamps(1, 86399999, 1 << 31)
    with pytest.raises(TruncatedError) as error_info:
        ICMPTimestamps.parse(raw[:11])
    assert (error_info.value.needed, error_info.value.present) == (12, 11)
    with pytest.raises(MalformedError, match=r"^ICMP timestamps.receive is 4294967296: the field has 32 bits"):
        bytes(ICMPTimestamps(0, 1 << 32))


def test_reply_to_echo_request_keeps_identifier_and_sequence_number():
    ip, icmp = reply(Packet.of(up(ttl=3), ICMP.echo_request(7, 8), b"data"))
    assert (ip, icmp) == (down(), ICMP.echo_reply(7, 8))
