"""Ethernet headers and VLAN tags: fields, computed types, padding, findings, texts and the three laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.golden import HOST, ROUTER, up
from tests.packet.strategies import (
    arp,
    ethernet,
    fields,
    forced,
    forced_transports,
    headers,
    numbers,
    payloads,
    sampled,
    tags,
    udp,
)
from tunlab.errors import MalformedError, PacketError, TruncatedError
from tunlab.packet import (
    ARP,
    GRE,
    LLC,
    SLL,
    SLL2,
    SNAP,
    UDP,
    VLAN,
    Ethernet,
    GREFlag,
    IPv4,
    IPv6,
    Loopback,
    Packet,
    build,
    checksums,
    complete,
    findings,
    hexdump,
    listing,
    parse,
    summary,
    to_dict,
)
from tunlab.packet.address import mac_text
from tunlab.packet.text.diagram import header_diagram
from tunlab.packet.text.diff import diff

NEAR, FAR = "02:00:00:00:00:01", "02:00:00:00:00:02"
HEAD = bytes.fromhex("020000000002 020000000001")
TO_FAR = Ethernet(dst=FAR, src=NEAR)


def read(data, **given):
    return parse(data, link_type=1, **given)


def frame(*parts):
    return build(TO_FAR, *parts)


def test_ethernet_header_is_parsed_and_built():
    packet = read(HEAD + bytes.fromhex("88b5") + b"payload")
    assert packet.ethernet == Ethernet(dst=FAR, src=NEAR, type=0x88B5)
    assert (packet.payload, packet.trailer) == (b"payload", b"")
    assert build(packet) == HEAD + bytes.fromhex("88b5") + b"payload"


@pytest.mark.parametrize("address", ["02-00-00-00-00-0A", "2:0:0:0:0:a", bytes.fromhex("02000000000a")])
def test_mac_address_is_held_as_lower_case_text(address):
    assert Ethernet(dst=address, src=NEAR).dst == "02:00:00:00:00:0a"


@pytest.mark.parametrize(
    ("inner", "ethertype"),
    [
        (up(protocol=89), "0800"),
        (IPv6(src="fd00::1", dst="fd00::2"), "86dd"),
        (ARP(sender_protocol=HOST, target_protocol=ROUTER), "0806"),
        (VLAN(type=0x88B5), "8100"),
        (VLAN(type=0x8100), "88a8"),
    ],
)
def test_ethernet_type_is_computed_from_the_next_header(inner, ethertype):
    assert frame(inner)[12:14].hex() == ethertype


def test_build_ethernet_without_next_header_or_type_raises():
    with pytest.raises(MalformedError, match=r"^Ethernet.type is None: no header follows that implies it. Give `type`"):
        frame(b"payload")


def test_ethernet_without_an_address_raises():
    rule = r"required\. Give text as '02:00:00:00:00:01' or six bytes\."
    with pytest.raises(MalformedError, match=rf"^Ethernet\.src is None: {rule}$"):
        Ethernet(dst=FAR)


def test_build_with_header_after_arp_raises():
    with pytest.raises(PacketError, match="no header can follow ARP"):
        frame(ARP(sender_protocol=HOST, target_protocol=ROUTER), UDP())


def test_padded_adds_zeros_that_build_does_not_add():
    packet = Packet.of(TO_FAR, up(), UDP(1, 2), b"abc")
    assert len(build(packet)) == 45
    padded = packet.padded()
    assert (len(build(padded)), padded.trailer) == (60, bytes(15))
    assert packet.padded(64).padded(60) == packet.padded(64)
    assert read(build(padded)) == complete(padded)
    assert findings(padded) == []


def test_padding_of_a_received_frame_is_the_trailer():
    data = frame(up(), UDP(1, 2), b"abc") + b"padding"
    packet = read(data)
    assert (packet.payload, packet.trailer) == (b"abc", b"padding")
    assert build(packet) == data
    assert findings(packet) == []


def test_service_and_customer_tags_of_any_depth_are_parsed():
    tags = [VLAN(vid=number, pcp=number) for number in range(1, 5)]
    data = frame(*tags, up(), UDP(1, 2))
    assert data[12:28].hex(" ", 4) == "88a82001 88a84002 88a86003 81008004"
    packet = read(data)
    assert [header.vid for header in packet if isinstance(header, VLAN)] == [1, 2, 3, 4]
    assert packet.get(VLAN, 3).pcp == 4
    assert packet.ip.src == HOST


def test_vlan_tag_with_ethertype_9100_is_parsed():
    assert read(HEAD + bytes.fromhex("9100 0005 88b5"))[VLAN] == VLAN(vid=5, type=0x88B5)


@pytest.mark.parametrize(
    ("data", "sentences"),
    {
        "group source": (
            bytes.fromhex("020000000002 010000000001 88b5"),
            ["Ethernet src: a group address cannot be the source (IEEE 802.3 clause 3.2.3)"],
        ),
        "no EtherType": (
            HEAD + bytes.fromhex("05dd"),
            ["Ethernet type: 1501 to 1535 are neither a length nor an EtherType (IEEE 802.3 clause 3.2.6)"],
        ),
        "reserved VLAN": (
            HEAD + bytes.fromhex("8100 0fff 88b5"),
            ["VLAN vid: 4095 is reserved (IEEE 802.1Q table 9-2)"],
        ),
        "tag cut short": (
            HEAD + bytes.fromhex("8100 00"),
            ["VLAN header: the header is cut short (needed 4, got 1, limited by the end of the input)"],
        ),
        "IPv6 with IPv4's type": (
            HEAD + bytes.fromhex("0800 60") + bytes(39),
            ["IPv4 version: an IPv4 header begins with the version 4 (RFC 791 section 3.1)"],
        ),
        "nothing behind the header": (
            HEAD + bytes.fromhex("0800"),
            ["IPv4 header: the header is cut short (needed 20, got 0, limited by the end of the input)"],
        ),
    }.values(),
)
def test_faulty_frame_has_a_finding(data, sentences):
    packet = read(data)
    assert list(map(str, findings(packet))) == sentences
    assert build(packet) == data


@pytest.mark.parametrize("size", range(14))
def test_parse_truncated_ethernet_header_raises(size):
    with pytest.raises(TruncatedError, match=f"^Ethernet header needs 14 bytes, got {size}"):
        read(bytes(size))


def test_offset_of_checksum_finding_counts_from_the_start_of_the_frame():
    data = bytearray(frame(VLAN(vid=1), up(), UDP(1, 2)))
    data[18 + 20 + 7] ^= 1
    (finding,) = findings(read(bytes(data)))
    assert (finding.layer, finding.field, finding.offset) == ("UDP", "checksum", 18 + 20 + 6)
    assert [each.layer for each in checksums(read(bytes(data)))] == ["IPv4", "UDP"]


def test_summary_listing_and_dictionary_show_vlan_fields():
    packet = read(frame(VLAN(vid=7, pcp=5), up(), UDP(1, 2), b"abc"))
    assert summary(packet) == f"vlan 7, p 5, IP {HOST}.1 > {ROUTER}.2: UDP, length 3"
    assert listing(packet).startswith("=== Parsed IP Packet ===\nIP Packet:\n  Version: IPv4\n")
    assert listing(packet, verbose=True).startswith(
        f"=== Parsed IP Packet ===\nEthernet:\n  Dst: {FAR}\n  Src: {NEAR}\n  Type: VLAN (0x8100)\n"
        "VLAN:\n  PCP: 5\n  DEI: 0\n  VID: 7\n  Type: IPv4 (0x0800)\nIP Packet:\n"
    )
    assert to_dict(packet)["vlan"] == {"pcp": 5, "dei": 0, "vid": 7, "type": 0x800}
    assert summary(read(HEAD + bytes.fromhex("88b5 00"))) == f"{NEAR} > {FAR}, 0x88b5, length 1"
    assert summary(read(HEAD + bytes.fromhex("8100 0001 88b5 00"))) == "vlan 1, 0x88b5, length 1"
    assert hexdump(HEAD + bytes.fromhex("0800")).endswith("02 00 00 00\n00 02 02 00\n00 00 00 01\n08 00")


def test_ethernet_diagram_has_addresses_and_type():
    drawing = "\n".join(header_diagram(TO_FAR.replace(type=0x800), {"dst"}))
    assert FAR in drawing
    assert NEAR in drawing
    assert "^^^" in drawing


@pytest.mark.parametrize(
    "header",
    [
        TO_FAR,
        VLAN(vid=7),
        LLC(),
        LLC(dsap=0x42, ssap=0x42, control=0x305),
        SNAP(),
        ARP(sender_protocol=HOST, target_protocol=ROUTER),
        GRE(flags=GREFlag.CHECKSUM, key=5),
        SLL(),
        SLL2(),
        Loopback(),
    ],
    ids=lambda header: type(header).__name__,
)
def test_header_with_none_fields_has_diagram_and_diff(header):
    drawing = header_diagram(header, {"type"})
    assert drawing[3].strip()
    assert header.title is not None
    packet = Packet.of(TO_FAR, header) if header is not TO_FAR else Packet.of(header)
    lines = diff(packet, Packet.of(TO_FAR.replace(dst=NEAR)))
    assert any(line.startswith("Ethernet.dst: left ") for line in lines)


def test_gre_diagram_shows_and_underlines_optional_fields():
    drawing = "\n".join(header_diagram(GRE(protocol_type=0x800, flags=10, checksum=7, key=0xBEEF), {"key"}))
    assert [row[:4].strip() for row in drawing.splitlines() if "|" in row and row[:4].strip()] == ["0", "4", "8"]
    assert "checksum" in drawing
    assert "48879" in drawing
    assert drawing.splitlines()[-1].strip() == "+" + "^" * 63 + "+"


def test_where_matches_frames_by_address_and_vlan():
    packet = read(frame(VLAN(vid=7), up(), UDP(1, 2)))
    match = Ethernet.where(dst="02-00-00-00-00-02") & VLAN.where(vid=range(5, 9)) & IPv4.where(src=HOST)
    assert match.matches(packet)
    (difference,) = VLAN.where(vid=8).difference(packet)
    assert str(difference) == "VLAN.vid: wanted 8, got 7"
    with pytest.raises(MalformedError, match="not a MAC address"):
        Ethernet.where(dst=HOST)


frames = st.builds(
    lambda link, between, inner: Packet.of(link, *between, *inner),
    ethernet,
    tags,
    st.one_of(st.tuples(headers, udp, payloads), st.tuples(arp)),
)


@given(frames, st.binary(max_size=40))
@sampled(300)
def test_frames_obey_the_three_laws(packet, padding):
    packet = packet.replace(trailer=padding)
    data = build(packet)
    assert build(read(data)) == data
    assert read(data) == complete(packet)
    assert findings(packet) == []


forced_links = st.tuples(
    fields(Ethernet, "type", dst=st.binary(min_size=6, max_size=6), src=st.binary(min_size=6, max_size=6)),
    fields(VLAN, *dict(VLAN.LAYOUT)),
)
ethertypes = st.sampled_from([0, 3, 40, 1501, 0x800, 0x806, 0x8100, 0x86DD, 0x88A8, 0x9100, 0x6558])


@given(forced_links, ethertypes, ethertypes, st.one_of(forced, arp), forced_transports, payloads, numbers(7))
@sampled(500)
def test_law_1_with_forced_frames_cut_at_any_length(links, first, second, inner, transport, payload, size):
    outer, tag = links
    parts = [outer.replace(type=first), tag.replace(type=second)]
    data = b"".join([build(*parts), inner.replace(**sender(inner)).to_bytes(), transport.to_bytes(), payload])[:size]
    if len(data) < 14:
        with pytest.raises(TruncatedError):
            read(data)
        return
    packet = read(data)
    assert build(packet) == data
    assert complete(packet) == packet
    found = findings(packet)
    assert [each.offset for each in found] == sorted(each.offset for each in found)
    assert summary(packet)
    assert listing(packet, verbose=True)
    assert to_dict(packet)["findings"] == list(map(str, found))


def sender(inner):
    """Return the fields without which the bytes of a header cannot be written."""
    if isinstance(inner, ARP):
        return {"sender_hardware": mac_text(bytes(6)), "hardware_length": 6, "protocol_length": 4}
    return {}


@given(st.binary(min_size=14, max_size=100))
@sampled(300)
def test_law_1_with_random_frames(data):
    packet = read(data)
    assert build(packet) == data
    assert summary(packet)


@pytest.mark.slow
@given(frames, st.data())
@sampled(300)
def test_law_1_with_flipped_bits_of_frames(packet, data):
    raw = bytearray(build(packet))
    for at in data.draw(st.lists(st.integers(0, min(len(raw), 40) * 8 - 1), min_size=1, max_size=4)):
        raw[at // 8] ^= 1 << at % 8
    mutant = read(bytes(raw))
    assert build(mutant) == bytes(raw)
    assert complete(mutant) == mutant
    assert all(0 <= each.offset <= len(raw) for each in findings(mutant))
    assert summary(mutant)
    assert listing(mutant, verbose=True)
    assert hexdump(bytes(raw), link_type=1).count("Link headers (") == 1


def test_hexdump_of_a_frame_separates_link_header_ip_header_and_payload():
    data = frame(up(), UDP(1, 2), b"abc")
    assert hexdump(data, link_type=1).splitlines() == [
        "=== Raw Packet Hexdump ===", "", "Raw frame bytes:", "Link headers (14 bytes):",
        "02 00 00 00", "00 02 02 00", "00 00 00 01", "08 00", "Header (IHL: 20 bytes):",
        *[data[at : at + 4].hex(" ") for at in range(14, 34, 4)], "", "Payload:",
        *[data[at : at + 4].hex(" ") for at in range(34, 45, 4)],
    ]  # fmt: skip
    arp = frame(ARP(sender_protocol=HOST, target_protocol=ROUTER))
    assert "08 06\n\nPayload:\n00 01 08 00\n" in hexdump(arp, link_type=1)


def test_summary_of_frame_bytes_uses_the_link_type():
    assert summary(frame(up(), UDP(1, 2)), link_type=1) == f"IP {HOST}.1 > {ROUTER}.2: UDP, length 0"
    assert summary(b"x", link_type=1).startswith("1 byte, not a frame: Ethernet header needs 14 bytes, got 1 (input")
