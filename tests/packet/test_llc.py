"""LLC and SNAP in frames of IEEE 802.3: computed lengths, control formats, findings, texts and the three laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.golden import HOST, ROUTER, up
from tests.packet.strategies import arp, ethernet, fields, headers, numbers, payloads, sampled, tags, udp
from tunlab.errors import MalformedError
from tunlab.packet import (
    ARP,
    LLC,
    SNAP,
    UDP,
    VLAN,
    Ethernet,
    Packet,
    build,
    complete,
    findings,
    listing,
    parse,
    summary,
)

NEAR, FAR = "02:00:00:00:00:01", "02:00:00:00:00:02"
HEAD = bytes.fromhex("020000000002 020000000001")
TO_FAR = Ethernet(dst=FAR, src=NEAR)


def read(data):
    return parse(data, link_type=1)


def test_llc_length_and_service_access_points_are_computed():
    packet = Packet.of(TO_FAR, LLC(), SNAP(), ARP(sender_protocol=HOST, target_protocol=ROUTER))
    data = build(packet)
    assert data[12:22].hex(" ") == "00 24 aa aa 03 00 00 00 08 06"
    assert read(data) == complete(packet)
    assert read(data).ethernet.length == 36
    assert Ethernet(dst=FAR, src=NEAR, type=0x800).length is None


def test_length_of_llc_behind_a_vlan_tag_is_computed():
    packet = read(build(TO_FAR, VLAN(vid=1), LLC(dsap=0x42, ssap=0x42), b"bpdu"))
    assert (packet.ethernet.type, packet[VLAN].length, packet.payload) == (0x8100, 7, b"bpdu")


def test_bytes_beyond_802_3_length_are_the_trailer():
    data = HEAD + bytes.fromhex("0005 424203") + b"ab" + bytes(41)
    packet = read(data)
    assert (packet[LLC], packet.payload, packet.trailer) == (LLC(dsap=0x42, ssap=0x42), b"ab", bytes(41))
    assert build(packet) == data
    assert findings(packet) == []


@pytest.mark.parametrize(
    ("control", "data"),
    [(0x03, "03"), (0xFF, "ff"), (0x0305, "0503"), (0x0200, "0002"), (0x01, "0100")],
    ids=["unnumbered", "unnumbered 0xff", "supervisory", "information", "receiver ready"],
)
def test_llc_control_field_has_one_or_two_bytes(control, data):
    llc = LLC(dsap=0x42, ssap=0x43, control=control)
    frame = build(TO_FAR, llc, b"x")
    assert frame[14:].hex() == f"4243{data}78"
    assert (read(frame)[LLC], read(frame).payload) == (llc, b"x")
    assert llc.fields()[-1].bits == len(data) * 4


@pytest.mark.parametrize("control", [0x103, 0x10000, -1, "x"])
def test_invalid_llc_control_field_raises(control):
    with pytest.raises(MalformedError, match=r"^LLC.control is "):
        LLC(control=control)


def test_build_802_3_frame_with_over_1500_bytes_raises():
    with pytest.raises(MalformedError, match=r"^LLC.length is 1501: a frame of IEEE 802.3 carries at most 1500 bytes"):
        build(TO_FAR, LLC(dsap=0x42, ssap=0x42), bytes(1498))
    assert build(TO_FAR, LLC(dsap=0x42, ssap=0x42), bytes(1497))[12:14] == b"\x05\xdc"


def test_build_llc_without_next_header_or_service_access_point_raises():
    with pytest.raises(MalformedError, match=r"^LLC.ssap is None: no header follows that implies it. Give `ssap`"):
        build(TO_FAR, LLC(dsap=0x42), b"bpdu")


def test_content_of_snap_with_unknown_organization_is_payload():
    packet = read(HEAD + bytes.fromhex("000a aaaa03 00000c 2000 0102"))
    assert packet[SNAP] == SNAP(oui=0x00000C, type=0x2000)
    assert packet.payload == b"\1\2"
    assert summary(packet) == "SNAP, oui 00:00:0c, type 0x2000, length 2"


@pytest.mark.parametrize(
    ("data", "sentences"),
    {
        "frame cut short": (
            "0010 424203 00",
            ["Ethernet type: the frame is cut short (needed 16, got 4, limited by the end of the input)"],
        ),
        "LLC cut short": ("0002 4242 00", ["LLC header: the header is cut short (needed 3, got 2, limited by END)"]),
        "control cut short": (
            "0003 424200",
            ["LLC header: the header is cut short (needed 4, got 3, limited by END)"],
        ),
        "SNAP cut short": (
            "0006 aaaa03 000000",
            ["SNAP header: the header is cut short (needed 5, got 3, limited by END)"],
        ),
    }.values(),
)
def test_faulty_llc_frame_has_a_finding(data, sentences):
    packet = read(HEAD + bytes.fromhex(data))
    assert list(map(str, findings(packet))) == [each.replace("END", "Ethernet.type") for each in sentences]
    assert build(packet) == HEAD + bytes.fromhex(data)


def test_802_3_frame_with_length_0_has_no_llc_header():
    packet = read(HEAD + bytes(48))
    assert ([type(header) for header in packet], packet.payload, packet.trailer) == ([Ethernet], b"", bytes(46))


def test_summary_and_listing_show_llc_and_snap_fields():
    packet = read(build(TO_FAR, LLC(dsap=0x42, ssap=0x42), b"bpdu"))
    assert summary(packet) == "LLC, dsap 0x42 (STP), ssap 0x42 (STP), control 0x03 (UI), length 4"
    assert listing(packet, verbose=True).splitlines()[3:] == [
        f"  Src: {NEAR}",
        "  Type: length 7",
        "LLC:",
        "  DSAP: 0x42 (STP)",
        "  SSAP: 0x42 (STP)",
        "  Control: 0x03 (UI)",
    ]
    carried = read(build(TO_FAR, LLC(), SNAP(), up(), UDP(1, 2)))
    assert summary(carried) == f"IP {HOST}.1 > {ROUTER}.2: UDP, length 0"
    assert "SNAP:\n  OUI: 00:00:00\n  Type: IPv4 (0x0800)\n" in listing(carried, verbose=True)


llc = fields(LLC, dsap=st.integers(0, 0xA9), ssap=numbers(8), control=st.sampled_from([3, 0xAF, 0xE3, 0x305, 0x200]))
frames = st.one_of(
    st.builds(lambda link, between, *rest: Packet.of(link, *between, *rest), ethernet, tags, llc, payloads),
    st.builds(
        lambda link, between, inner: Packet.of(link, *between, LLC(), SNAP(), *inner),
        ethernet,
        tags,
        st.one_of(st.tuples(headers, udp, payloads), st.tuples(arp)),
    ),
)


@given(frames, st.binary(max_size=40))
@sampled(200)
def test_frames_with_llc_obey_the_three_laws(packet, padding):
    packet = packet.replace(trailer=padding)
    data = build(packet)
    assert build(read(data)) == data
    assert read(data) == complete(packet)
    assert findings(packet) == []


@given(st.sampled_from([b"", b"\xaa\xaa\x03", b"\xaa\xaa\x03\0\0\0\x08\0"]), st.binary(max_size=60), numbers(6))
@sampled(300)
def test_law_1_with_random_content_of_802_3_frames(head, rest, length):
    data = HEAD + length.to_bytes(2, "big") + head + rest
    packet = read(data)
    assert build(packet) == data
    assert complete(packet) == packet
    assert summary(packet)
    assert findings(packet) is not None
