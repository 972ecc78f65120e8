"""ARP: fields, computed values, addresses of other lengths, findings and texts."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from tunlab.errors import MalformedError, PacketError
from tunlab.packet import (
    ARP,
    ARPOperation,
    Ethernet,
    Packet,
    build,
    complete,
    findings,
    listing,
    parse,
    summary,
    to_dict,
)
from tunlab.packet.text.diagram import header_diagram

NEAR, FAR, ALL = "02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff"
HEAD = "0806 0001 0800 06 04"
REQUEST = bytes.fromhex(f"ffffffffffff 020000000001 {HEAD} 0001 020000000001 0a000001 000000000000 0a000002")
REPLY = bytes.fromhex(f"020000000001 020000000002 {HEAD} 0002 020000000002 0a000002 020000000001 0a000001")


def read(data):
    return parse(data, link_type=1)


def message(**fields):
    return ARP(sender_protocol="10.0.0.1", target_protocol="10.0.0.2", **fields)


def test_arp_request_is_parsed():
    packet = read(REQUEST)
    assert packet.arp == ARP(
        hardware_type=1,
        protocol_type=0x0800,
        hardware_length=6,
        protocol_length=4,
        operation=ARPOperation.REQUEST,
        sender_hardware=NEAR,
        sender_protocol="10.0.0.1",
        target_hardware="00:00:00:00:00:00",
        target_protocol="10.0.0.2",
    )
    assert (packet.payload, packet.trailer, findings(packet)) == (b"", b"", [])


def test_arp_request_is_built_from_two_addresses():
    assert build(Ethernet(dst=ALL, src=NEAR), message()) == REQUEST


def test_arp_reply_is_built():
    answer = ARP(
        operation=ARPOperation.REPLY,
        sender_protocol=IPv4Address("10.0.0.2"),
        target_hardware=bytes.fromhex("020000000001"),
        target_protocol=b"\x0a\0\0\1",
    )
    assert build(Ethernet(dst=NEAR, src=FAR), answer) == REPLY


def test_complete_arp_without_sender_address_or_ethernet_header_raises():
    with pytest.raises(MalformedError, match=r"^ARP.sender_hardware is None: no Ethernet header is before it. Give"):
        message().complete((), b"", None)


def test_padding_behind_arp_message_is_the_trailer():
    packet = read(REQUEST + bytes(18))
    assert (packet.payload, packet.trailer) == (b"", bytes(18))
    assert build(packet) == REQUEST + bytes(18)
    assert packet == complete(Packet.of(Ethernet(dst=ALL, src=NEAR), message()).padded())


def test_arp_addresses_of_other_lengths_are_hexadecimal_text():
    arp = message(sender_hardware="0A-b", target_hardware=b"\1\2").replace(
        hardware_type=6, sender_protocol="1:2:3", target_protocol=b"", protocol_length=0
    )
    assert (arp.sender_hardware, arp.sender_protocol, arp.target_protocol) == ("0a:0b", "01:02:03", "")
    short = arp.replace(sender_hardware="1:2", sender_protocol=b"\7", target_hardware="3:4", target_protocol=b"\x08")
    data = build(Ethernet(dst=ALL, src=NEAR), short.replace(protocol_length=None))
    packet = read(data)
    assert data[14:].hex(" ") == "00 06 08 00 02 01 00 01 01 02 07 03 04 08"
    assert (packet.arp.sender_protocol, packet.arp.target_hardware) == ("07", "03:04")
    assert packet.arp.header_length == 14
    assert [(field.start, field.bits) for field in packet.arp.fields()[-4:]] == [(64, 16), (80, 8), (88, 16), (104, 8)]
    assert [str(each) for each in findings(packet)] == ["ARP protocol length: IPv4 addresses have 4 bytes"]
    assert not ARP.where(sender_protocol=IPv4Network("10.0.0.0/8")).matches(packet)


@pytest.mark.parametrize("value", ["10.0.0", "fd00::1", "x", 7, None])
def test_error_for_invalid_protocol_address_names_the_field(value):
    with pytest.raises(MalformedError, match=r"^ARP.target_protocol is "):
        ARP(sender_protocol="10.0.0.1", target_protocol=value)


@pytest.mark.parametrize("value", ["x", "1:256", 7])
def test_error_for_invalid_hardware_address_names_the_field(value):
    with pytest.raises(MalformedError, match=r"^ARP.target_hardware is .*: not a hardware address. Give text as '02:"):
        message(target_hardware=value)


@pytest.mark.parametrize(
    ("data", "sentences"),
    [
        (REQUEST[:30], ["ARP header: the header is cut short (needed 28, got 16, limited by the end of the input)"]),
        (REQUEST[:17], ["ARP header: the header is cut short (needed 8, got 3, limited by the end of the input)"]),
        (
            REQUEST[:22] + b"\1" + REQUEST[23:],
            ["ARP sender hardware: a group address cannot be the sender's (RFC 1812 section 3.3.2)"],
        ),
        (
            REQUEST[:18] + b"\5\5" + REQUEST[20:],
            [
                "ARP hardware length: Ethernet addresses have 6 bytes",
                "ARP protocol length: IPv4 addresses have 4 bytes",
            ],
        ),
    ],
)
def test_faulty_arp_message_has_findings(data, sentences):
    assert list(map(str, findings(read(data)))) == sentences
    assert build(read(data)) == data


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (1, "ARP who has 10.0.0.2? tell 10.0.0.1"),
        (2, "ARP 10.0.0.1 is at 02:00:00:00:00:01"),
        (8, "ARP 8 (inverse request)"),
        (77, "ARP 77"),
    ],
)
def test_arp_summary_describes_the_operation(operation, text):
    assert summary(Packet.of(Ethernet(dst=ALL, src=NEAR), message(operation=operation))) == text


def test_arp_listing_has_all_fields():
    lines = listing(read(REPLY)).splitlines()
    assert lines[:2] == ["=== Parsed Frame ===", "ARP:"]
    assert "  Operation: 2 (reply)" in lines
    assert "  Sender Hardware: 02:00:00:00:00:02" in lines
    assert to_dict(read(REPLY))["arp"]["sender_protocol"] == "10.0.0.2"
    assert "sender protocol" in "\n".join(header_diagram(read(REPLY).arp, {"operation"}))


def test_where_matches_arp_fields():
    assert ARP.where(operation=ARPOperation.REPLY, sender_protocol=IPv4Network("10.0.0.0/24")).matches(read(REPLY))
    with pytest.raises(PacketError, match="the packet has no IP header; it has Ethernet, ARP"):
        read(REPLY).ip  # noqa: B018
