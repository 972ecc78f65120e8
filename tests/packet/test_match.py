"""Matches: `where`, `difference`, `&`, and errors for conditions that can never be met."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from tests.packet.golden import GOLDEN, down, up
from tunlab.errors import MalformedError
from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    Difference,
    GroupRecord,
    IPFlag,
    IPv4,
    Packet,
    TCPFlag,
    TruncatedHeader,
    build,
    parse,
)
from tunlab.packet.match import Match, format_value, nearest
from tunlab.packet.tcp_options import MSS


def golden(name):
    return parse(bytes.fromhex(GOLDEN[name][0]))


SYN, ECHO, UNREACHABLE = golden("SYN"), golden("ping"), golden("port unreachable")


def even(number):
    return number % 2 == 0


@pytest.mark.parametrize(
    "match",
    [
        TCP.where(),
        TCP.where(src_port=55624, dst_port=80, flags=TCPFlag.SYN),
        TCP.where(flags=2),
        TCP.where(dst_port=range(80, 81)),
        TCP.where(dst_port={80, 443}),
        TCP.where(dst_port=frozenset((80,))),
        TCP.where(src_port=even),
        TCP.where(flags={TCPFlag.SYN, TCPFlag.SYN | TCPFlag.ACK}),
        TCP.where(mss=1460, window_scale=10, sack_permitted=True, timestamps=(484865534, 0), fast_open=None, sack=()),
        TCP.where(mss=range(1400, 1500)),
        TCP.where(options=bytes.fromhex("020405b40402080a1ce675fe000000000103030a")),
        TCP.where(payload=b""),
        TCP.where(payload=bytearray()),
        TCP.where(payload=lambda payload: not payload),
        IPv4.where(src="10.1.2.3", dst=IPv4Address("10.1.2.1"), ihl=5, protocol=6, flags=IPFlag.DF),
        IPv4.where(src=IPv4Network("10.1.2.0/24"), dst={"10.1.2.1", IPv4Address("10.9.9.9")}),
        IPv4.where(header_length=20, is_fragment=False, final_destination=IPv4Address("10.1.2.1")),
        IPv4.where(final_destination=IPv4Network("10.0.0.0/8")),
        IPv4.where(ttl=64) & TCP.where(dst_port=80) & IPv4.where(ecn=0),
    ],
    ids=str,
)
def test_difference_of_matching_packet_is_empty(match):
    assert match.difference(SYN) == []
    assert match.matches(SYN)


@pytest.mark.parametrize(
    ("match", "packet", "rows"),
    [
        (TCP.where(dst_port=81), SYN, ["TCP.dst_port: wanted 81, got 80"]),
        (TCP.where(dst_port=range(81, 90)), SYN, ["TCP.dst_port: wanted range(81, 90), got 80"]),
        (TCP.where(dst_port={443, 8080, 22}), SYN, ["TCP.dst_port: wanted {22, 443, 8080}, got 80"]),
        (TCP.where(seq=even), SYN, ["TCP.seq: wanted even, got 2915556125"]),
        (TCP.where(flags=TCPFlag.SYN | TCPFlag.ACK), SYN, ["TCP.flags: wanted SYN|ACK, got SYN"]),
        (TCP.where(flags=0), SYN, ["TCP.flags: wanted 0, got SYN"]),
        (TCP.where(payload=b"GET"), SYN, ["TCP.payload: wanted 3 bytes 47 45 54, got no bytes"]),
        (
            TCP.where(mss=536, sack=((1, 2),)),
            SYN,
            ["TCP.mss: wanted 536, got 1460", "TCP.sack: wanted ((1, 2),), got ()"],
        ),
        (TCP.where(mss=None), SYN, ["TCP.mss: wanted None, got 1460"]),
        (TCP.where(fast_open=b""), SYN, ["TCP.fast_open: wanted no bytes, got None"]),
        (IPv4.where(src=IPv4Network("10.9.0.0/16")), SYN, ["IPv4.src: wanted 10.9.0.0/16, got 10.1.2.3"]),
        (IPv4.where(src={"10.9.9.9"}), SYN, ["IPv4.src: wanted {10.9.9.9}, got 10.1.2.3"]),
        (UDP.where(dst_port=80), SYN, ["UDP: wanted present, got IPv4/TCP"]),
        (UDP.where() & ICMP.where(), SYN, ["UDP: wanted present, got IPv4/TCP", "ICMP: wanted present, got IPv4/TCP"]),
        (
            ICMP.where(type=0, sequence_number=2),
            ECHO,
            ["ICMP.type: wanted 0, got 8", "ICMP.sequence_number: wanted 2, got 1"],
        ),
        (ICMP.where(name="echo reply"), ECHO, ["ICMP.name: wanted echo reply, got echo request"]),
        (
            ICMP.where(payload=bytes(40)),
            ECHO,
            [f"ICMP.payload: wanted 40 bytes {bytes(32).hex(' ')} …, got 56 bytes {ECHO.payload[:32].hex(' ')} …"],
        ),
        (ICMP.where(gateway=IPv4Address("10.0.0.1")), ECHO, ["ICMP.gateway: wanted 10.0.0.1, got None"]),
        (ICMP.where(gateway=IPv4Network("10.0.0.0/8")), ECHO, ["ICMP.gateway: wanted 10.0.0.0/8, got None"]),
    ],
)
def test_difference_shows_wanted_and_actual_value(match, packet, rows):
    assert list(map(str, match.difference(packet))) == rows
    assert not match.matches(packet)


def test_difference_holds_field_and_values():
    assert TCP.where(dst_port=81).difference(SYN) == [Difference("TCP.dst_port", 81, 80)]


def test_where_accepts_views_and_none():
    assert ICMP.where(type=3, code=3, is_error=True, gateway=None, pointer=None, mtu=None).matches(UNREACHABLE)
    redirect = parse(build(down(), ICMP.redirect("10.1.2.254")))
    assert ICMP.where(gateway="10.1.2.254").matches(redirect)
    assert ICMP.where(gateway=IPv4Network("10.1.2.0/24")).matches(redirect)
    report = parse(build(up(), IGMP.report_v3([GroupRecord(4, "224.1.2.3")])))
    assert IGMP.where(version=3, record_count=1, records=(GroupRecord(4, "224.1.2.3"),), sources=()).matches(report)


def test_truncated_header_matches_by_its_present_fields():
    quoted = UNREACHABLE.quoted
    assert UDP.where(dst_port=5).matches(quoted)
    short = parse(build(up(), TruncatedHeader(TCP, bytes.fromhex("d9480050adc7db1d"))))
    assert TruncatedHeader.where(src_port=55624, dst_port=80, seq=0xADC7DB1D, type=None).matches(short)
    assert list(map(str, TCP.where(dst_port=80).difference(short))) == ["TCP: wanted present, got IPv4/TruncatedHeader"]


def test_unbuilt_packet_matches_by_its_given_fields():
    assert TCP.where(dst_port=80).matches(Packet.of(up(), TCP(dst_port=80)))
    assert list(map(str, TCP.where(checksum=1).difference(Packet.of(up(), TCP())))) == [
        "TCP.checksum: wanted 0x0001, got None"
    ]


@pytest.mark.parametrize(
    ("layer", "name", "hint"),
    [
        (TCP, "dst_prot", "Did you mean dst_port?"),
        (TCP, "sport", "Did you mean src_port?"),
        (TCP, "Flags", "Did you mean flags?"),
        (IPv4, "tos", "Its fields are version, ihl, dscp"),
        (ICMP, "sequence", "Did you mean sequence_number?"),
        (UDP, "zzz", "Its fields are src_port, dst_port, length, checksum, payload"),
    ],
)
def test_where_unknown_field_error_suggests_a_name(layer, name, hint):
    with pytest.raises(TypeError) as error_info:
        layer.where(**{name: 1})
    assert str(error_info.value).startswith(f"{layer.__name__} has no field {name!r}. {hint}")


@pytest.mark.parametrize(
    ("layer", "field", "value"),
    [
        (TCP, "dst_port", 65536),
        (TCP, "dst_port", -1),
        (TCP, "dst_port", "80"),
        (TCP, "dst_port", 80.0),
        (TCP, "dst_port", None),
        (TCP, "dst_port", {80, 65536}),
        (TCP, "dst_port", range(1, 65537 + 1)),
        (TCP, "dst_port", range(-1, 5)),
        (TCP, "dst_port", IPv4Network("10.0.0.0/8")),
        (TCP, "flags", 512),
        (TCP, "flags", -1),
        (TCP, "flags", "SYN"),
        (TCP, "options", "mss"),
        (TCP, "payload", "text"),
        (TCP, "payload", 5),
        (TCP, "payload", range(5)),
        (TCP, "payload", {"text"}),
        (IPv4, "src", "10.0.0"),
        (IPv4, "src", range(5)),
        (IPv4, "src", {"10.0.0.1", "router"}),
        (IPv4, "final_destination", "router"),
        (IPv4, "version", 16),
        (IPv4, "flags", 8),
        (ICMP, "gateway", "router"),
        (IGMP, "group", "224.0.0.256"),
        (IGMP, "rest", "x"),
    ],
)
def test_where_error_for_oversized_value_names_the_field(layer, field, value):
    with pytest.raises(MalformedError) as error_info:
        layer.where(**{field: value})
    assert str(error_info.value).startswith(f"{layer.__name__}.{field} is ")


def test_match_str_shows_its_conditions():
    match = TCP.where(dst_port=80, flags=TCPFlag.SYN | TCPFlag.ACK, seq=even, src_port=range(1024, 65536))
    assert str(match) == "TCP(dst_port=80, flags=SYN|ACK, seq=even, src_port=range(1024, 65536))"
    both = IPv4.where(src=IPv4Network("10.0.0.0/8"), dst={"10.0.0.10", "10.0.0.9"}) & UDP.where(payload=b"\1\2")
    assert str(both) == "IPv4(src=10.0.0.0/8, dst={10.0.0.9, 10.0.0.10}) & UDP(payload=2 bytes 01 02)"
    assert str(TCP.where()) == "TCP()"
    assert str(ICMP.where(pointer=None)) == "ICMP(pointer=None)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", "no bytes"),
        (bytes(33), f"33 bytes {bytes(32).hex(' ')} …"),
        (TCPFlag.SYN, "SYN"),
        (TCPFlag(0), "0"),
        (even, "even"),
        (frozenset(), "{}"),
        (frozenset({MSS(1)}), "{MSS(size=1)}"),
        ("text", "text"),
        (None, "None"),
        ((1, 2), "(1, 2)"),
    ],
)
def test_format_value(value, text):
    assert format_value(value) == text


def test_match_copies_mutable_values():
    ports = {80}
    match = TCP.where(dst_port=ports)
    ports.clear()
    assert match.matches(SYN)
    assert hash(match) == hash(TCP.where(dst_port={80}))
    assert match == TCP.where(dst_port=frozenset({80}))


def test_and_joins_matches_only():
    with pytest.raises(TypeError, match="unsupported operand"):
        TCP.where() & True
    assert isinstance(TCP.where() & UDP.where(), Match)


def test_nearest_sorts_by_differences_then_latest_first():
    """A packet without the header comes last: a missing header counts more than any number of fields."""
    match = TCP.where(dst_port=80, flags=TCPFlag.ACK)
    packets = [ECHO, SYN, golden("SYN-ACK"), SYN]
    assert [index for index, _ in nearest(match, packets)] == [3, 1, 2, 0]
    assert [[row.field for row in rows] for _, rows in nearest(match, packets)] == [
        ["TCP.flags"],
        ["TCP.flags"],
        ["TCP.dst_port", "TCP.flags"],
        ["TCP"],
    ]


def test_format_value_uses_the_singular_for_one_byte():
    assert [format_value(bytes(n)) for n in (0, 1, 2)] == ["no bytes", "1 byte 00", "2 bytes 00 00"]


def test_network_of_the_other_ip_version_raises():
    with pytest.raises(MalformedError, match=r"^IPv4.dst is .*fd00::/64.*: the field cannot hold its addresses."):
        IPv4.where(dst=IPv6Network("fd00::/64"))
