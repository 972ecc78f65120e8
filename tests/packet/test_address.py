"""Addresses in their three forms, and a memory that nothing else gets into."""

from enum import Enum, StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.strategies import sampled
from tunlab.errors import MalformedError
from tunlab.packet import IGMP, GroupRecord, IPv4, address, build, parse, summary
from tunlab.packet.address import ENDS, OCTETS, TEXT, address_text


class Peer(StrEnum):
    HOST = "10.77.0.1"


class Place(str, Enum):  # noqa: UP042  # whose members print as their names
    HOST = "10.77.0.2"


@given(st.binary(min_size=4, max_size=4))
@sampled(100)
def test_octets_and_text_are_each_others_inverse(octets):
    assert OCTETS[TEXT[octets]] == octets
    assert TEXT[octets] == str(IPv4Address(octets))


@pytest.mark.parametrize(
    ("given_as", "text"),
    [
        ("10.1.2.1", "10.1.2.1"),
        (IPv4Address("10.1.2.1"), "10.1.2.1"),
        (IPv4Interface("10.1.2.1/24"), "10.1.2.1"),
        (Peer.HOST, "10.77.0.1"),
        (Place.HOST, "10.77.0.2"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
    ],
)
def test_an_address_is_held_as_text_of_no_other_kind(given_as, text):
    assert address_text(given_as) == text
    for _ in range(2):  # the second time it is remembered
        ip = IPv4(src=given_as, dst=given_as, protocol=253)
        group = IGMP.query(given_as).group
        assert [type(each) for each in (ip.src, ip.dst, group, address_text(given_as))] == [str] * 4
        assert (ip.src, ip.dst, group) == (text, text, text)
        assert summary(build(ip)) == f"IP {text} > {text}: protocol 253, length 0"


@pytest.mark.parametrize(
    "wrong",
    ["", "10.1.2", "10.1.2.3.4", "10.1.2.256", "010.1.2.3", "10.1.2.1 ", "10.1.2.1\n", "10.1.2.-1", "١.2.3.4", "::1"],
)
def test_a_text_that_is_no_address_is_refused_with_what_one_looks_like(wrong):
    for _ in range(2):
        with pytest.raises(MalformedError) as refusal:
            address_text(wrong)
        text = str(refusal.value)
        assert text.startswith(f"address is {wrong!r}: no IPv4 address (")
        assert text.endswith("); write four numbers from 0 to 255, as 10.1.2.1")
        with pytest.raises(MalformedError, match=r"^IPv4\.dst is .*: no IPv4 address \("):
            IPv4(src="10.1.2.1", dst=wrong)
        assert wrong not in OCTETS


@pytest.mark.parametrize(
    "wrong", [None, 5, 0, True, b"\x0a\1\2\1", ["10.1.2.1"], IPv6Address("::1"), IPv4Network("10.0.0.0/8")]
)
def test_what_is_no_text_is_refused(wrong):
    sentence = "no IPv4 address; give text as '10.1.2.1' or an ipaddress.IPv4Address"
    for make, name in (
        (address_text, "address"),
        (lambda given_as: IPv4(src=given_as, dst="10.1.2.1"), "IPv4.src"),
        (lambda given_as: IGMP(group=given_as), "IGMP.group"),
        (lambda given_as: GroupRecord(1, given_as), "address"),
        (lambda given_as: GroupRecord(1, "224.0.0.1", (given_as,)), "address"),
    ):
        with pytest.raises(MalformedError) as refusal:
            make(wrong)
        assert str(refusal.value) == f"{name} is {wrong!r}: {sentence}"


@pytest.mark.parametrize("key", [5, b"\x0a\1\2\1", IPv4Address("10.1.2.1"), Place.HOST])
def test_the_memory_takes_text_and_nothing_else(key):
    address_text("10.77.0.2")
    if key != "10.77.0.2":
        with pytest.raises(AddressValueError, match=r"is no text$"):
            OCTETS[key]
    assert all(type(text) is str for text in OCTETS)


def test_a_missing_address_is_named():
    with pytest.raises(MalformedError) as refusal:
        IPv4(src="10.1.2.1")
    assert str(refusal.value) == "IPv4.dst is None: every datagram has one; give it as text, as '10.1.2.1'"
    with pytest.raises(MalformedError, match=r"^IPv4\.src is None: every datagram has one"):
        IPv4(dst="10.1.2.1")


def test_a_full_memory_is_emptied_and_headers_stay_whole(monkeypatch):
    monkeypatch.setattr(address, "REMEMBERED", 8)
    kept = IPv4(src="10.66.0.1", dst="10.66.0.2", protocol=253)
    octets = build(kept)
    for last in range(40):
        packet = parse(build(IPv4(src=f"10.67.0.{last}", dst=f"10.68.0.{last}", protocol=253)))
        assert (packet.ip.src, packet.ip.dst) == (f"10.67.0.{last}", f"10.68.0.{last}")
        assert max(len(OCTETS), len(TEXT), len(ENDS)) <= 8
    assert build(kept) == octets
    assert parse(octets).ip.src == kept.src
