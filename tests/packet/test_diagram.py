"""Header diagrams with the fields that differ underlined, and byte strings compared line by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.golden import GOLDEN
from tunlab.packet import ICMP, IGMP, TCP, UDP, IPFlag, IPv4, Packet, TCPFlag, TruncatedHeader, build, parse
from tunlab.packet.match import Difference
from tunlab.packet.tcp_options import MSS, Timestamps
from tunlab.packet.text.diagram import (
    diff_bytes,
    difference_lines,
    differing_fields,
    explain,
    header_diagram,
    short_values,
)

ALL = [parse(bytes.fromhex(data)) for data, *_ in GOLDEN.values()]


def test_ipv4_diagram_looks_like_rfc_791():
    header = parse(
        build(IPv4(src="10.1.2.3", dst="10.1.2.1", identification=7, flags=IPFlag.DF), UDP(src_port=1, dst_port=2))
    ).ip
    assert (
        "\n".join(header_diagram(header, {"ttl", "flags"}))
        == """\
      0                   1                   2                   3
      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   0 |version|  ihl  |    dscp   |ecn|          total length         |
     |   4   |   5   |     0     | 0 |               28              |
     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   4 |         identification        |flags|     fragment offset     |
     |               7               |  DF |            0            |
     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+^^^^^+-+-+-+-+-+-+-+-+-+-+-+-+-+
   8 |      ttl      |    protocol   |            checksum           |
     |       64      |       17      |             0x22c5            |
     +^^^^^^^^^^^^^^^+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  12 |                              src                              |
     |                            10.1.2.3                           |
     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  16 |                              dst                              |
     |                            10.1.2.1                           |
     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+"""
    )


@pytest.mark.parametrize("packet", ALL, ids=list(GOLDEN))
def test_diagram_places_each_field_at_its_bits(packet):
    offset = 0
    for header in packet.headers:
        drawn = header_diagram(header, {"src_port", "options", "rest", "checksum"}, offset=offset)
        assert {len(line) for line in drawn[2:]} == {70}
        names = [line for line in drawn if line[:4].strip()]
        bit, fixed = 0, sum(bits for _, bits in header.LAYOUT)
        for name, bits in [(field.name, field.bits) for field in header.fields() if field.start < fixed]:
            row = names[bit // 32]
            start = 6 + bit % 32 * 2
            cell = row[start : start + 2 * bits - 1]
            assert cell.strip()[:2] in ("of", "rs", name[:2]), name
            assert row[start - 1] == row[start + 2 * bits - 1] == "|"
            bit += bits
        assert [int(line[:4]) for line in names] == sorted({int(line[:4]) for line in names})
        assert int(names[0][:4]) == offset
        offset += len(header.to_bytes())


def test_diagram_shows_options_in_rows_of_sixteen_bytes():
    header = TCP(options=[MSS(1460), Timestamps(1, 2), MSS(3)])
    drawn = header_diagram(header, {"options"}, offset=20)
    assert drawn[-3:] == [
        "  40 | options  02 04 05 b4 08 0a 00 00 00 01 00 00 00 02 02 04      |",
        f"  56 |          {header.options[16:].hex(' '):<53}|",
        "     +" + "^" * 63 + "+",
    ]


def test_diagram_of_truncated_header_ends_with_last_complete_field():
    drawn = header_diagram(TruncatedHeader(TCP, bytes.fromhex("1234567800000001")), {"seq"}, offset=20)
    assert [line[:4].strip() for line in drawn if line[:4].strip()] == ["20", "24"]
    assert drawn[-1] == "     +" + "^" * 63 + "+"
    drawn = header_diagram(TruncatedHeader(UDP, bytes.fromhex("1234")), offset=20)
    assert drawn[-1] == "     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+"


def test_diagram_abbreviates_many_flags_to_letters():
    drawn = header_diagram(TCP(flags=TCPFlag.SYN | TCPFlag.ACK | TCPFlag.PSH | TCPFlag.URG | TCPFlag.FIN))
    assert any("|      FSPAU      |" in line for line in drawn)


def test_diagram_of_unbuilt_header_shows_none():
    assert any(line.count("None") == 2 for line in header_diagram(UDP()))
    packet = Packet.of(IPv4(src="10.0.0.1", dst="10.0.0.2"), UDP(src_port=1))
    assert "  20 |            src port           |" in "\n".join(
        explain(packet, UDP.where(src_port=2).difference(packet))
    )


@pytest.mark.parametrize(
    ("match", "packet", "wanted"),
    [
        (TCP.where(dst_port=1, mss=1), "SYN", {TCP: {"dst_port", "mss", "options"}}),
        (IPv4.where(ttl=1, header_length=9) & TCP.where(seq=1), "SYN",
         {IPv4: {"ttl", "header_length", "ihl"}, TCP: {"seq"}}),
        (IPv4.where(is_fragment=True, final_destination="1.1.1.1"), "SYN",
         {IPv4: {"is_fragment", "final_destination", "flags", "fragment_offset", "dst", "options"}}),
        (ICMP.where(name="x", payload=b"x"), "ping", {ICMP: {"name", "type", "code"}}),
        (ICMP.where(gateway="1.1.1.1"), "ping", {ICMP: {"gateway", "identifier", "sequence_number"}}),
        (ICMP.where(pointer=1), "ping", {ICMP: {"pointer", "identifier"}}),
        (ICMP.where(mtu=1, is_error=True), "ping", {ICMP: {"mtu", "is_error", "sequence_number", "type"}}),
        (UDP.where(dst_port=1), "SYN", {}),
        (TCP.where(payload=b"x"), "SYN", {}),
    ],
)  # fmt: skip
def test_differing_fields_include_the_fields_behind_a_view(match, packet, wanted):
    packet = parse(bytes.fromhex(GOLDEN[packet][0]))
    assert differing_fields(match.difference(packet), packet) == wanted


def test_views_name_existing_fields():
    for layer in (IPv4, ICMP, IGMP, TCP, UDP):
        known = {name for name, _ in layer.LAYOUT} | set(layer.__struct_fields__)
        assert {field for fields in layer.VIEWS.values() for field in fields} <= known


def test_explain_lists_differences_then_diagrams():
    packet = parse(bytes.fromhex(GOLDEN["SYN"][0]))
    lines = explain(packet, (IPv4.where(ttl=1) & TCP.where(dst_port=1)).difference(packet))
    assert [line for line in lines if "as received" in line] == ["IPv4 as received:", "TCP as received:"]
    assert lines[:2] == ["IPv4.ttl: wanted 1, got 64", "TCP.dst_port: wanted 1, got 80"]
    assert difference_lines(UDP.where().difference(packet)) == ["UDP: wanted present, got IPv4/TCP"]


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_diff_bytes_underlines_differing_bytes_of_first_three_lines(wanted, got):
    lines = diff_bytes(wanted, got)
    differing = [at for at in range(max(len(wanted), len(got))) if wanted[at : at + 1] != got[at : at + 1]]
    if not differing:
        assert lines == []
        return
    assert f"wanted {len(wanted)} byte{'s' * (len(wanted) != 1)}, got {len(got)}: " in lines[0]
    shown = []
    for line, carets in zip(lines[1::3], lines[3::3], strict=False):
        start = int(line.split()[1])
        shown += [start + (at - 16) // 3 for at in range(len(carets)) if carets[at] == "^"][::2]
    starts = sorted({at // 16 for at in differing})[:3]
    assert shown == [at for at in differing if at // 16 in starts]
    assert ("more lines of sixteen" in lines[-1]) == (len({at // 16 for at in differing}) > 3)


def test_diff_bytes_shows_missing_bytes_as_dashes():
    assert diff_bytes(b"GET /", b"GET") == [
        "bytes: wanted 5 bytes, got 3: 2 bytes differ, the first is byte 3",
        "  wanted     0  47 45 54 20 2f                                   GET /",
        "  got        0  47 45 54 -- --                                   GET",
        "                         ^^ ^^",
    ]
    assert diff_bytes(b"", b"a", "TCP.payload")[0] == "TCP.payload: wanted 0 bytes, got 1: byte 0 differs"


@pytest.mark.parametrize(
    ("wanted", "got", "text"),
    [
        (TCPFlag.SYN, TCPFlag.RST, "wanted SYN, got RST"),
        (b"hello", b"hullO", "wanted 65 at 1 and 6f at 4, got 75 at 1 and 4f at 4"),
        (b"GET /", b"GET", "wanted 5 bytes, 20 2f at 3–4, got 3 bytes, nothing at 3–4"),
        (b"", b"a", "wanted 0 bytes, nothing at 0, got 1 byte, 61 at 0"),
        (bytes(9), b"\1" * 9, "wanted 00 00 00 00 00 00 00 00 … at 0–8, got 01 01 01 01 01 01 01 01 … at 0–8"),
    ],
)
def test_short_values_show_only_the_bytes_that_differ(wanted, got, text):
    shown_wanted, shown_got = short_values(Difference("X.payload", wanted, got))
    assert f"wanted {shown_wanted}, got {shown_got}" == text


def test_short_values_of_large_values_are_under_250_characters():
    """Short values are stored in pcapng comments, which hold at most 65,535 bytes."""
    assert len("".join(short_values(Difference("TCP.src_port", frozenset(range(65536)), 0)))) < 200
    _, many = short_values(Difference("X.payload", b"ab" * 30_000, b"aB" * 30_000))
    assert many.endswith("42 at 11 and 29994 more places")
    assert len(many) < 250
