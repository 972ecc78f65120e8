"""Addresses as bytes, as text and as `ipaddress` objects."""

from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.strategies import sampled
from tunlab.errors import MalformedError
from tunlab.packet import IGMP, GroupRecord, IPv4, build, parse, summary
from tunlab.packet.address import ipv4_address, ipv4_bytes, ipv4_text, ipv6_bytes, ipv6_text

MAPPED = bytes(10) + b"\xff\xff"


class Peer(StrEnum):
    HOST = "10.77.0.1"


class NamedAddress(str, Enum):  # noqa: UP042  # members print as "NamedAddress.HOST", not as the address
    HOST = "10.77.0.2"


@given(st.binary(min_size=4, max_size=4))
@sampled(100)
def test_ipv4_text_and_ipv4_bytes_are_inverse_functions(data):
    text = str(IPv4Address(data))
    assert ipv4_text(data) == text
    assert ipv4_bytes(text) == data
    packet = parse(build(IPv4(src=text, dst="10.1.2.1", protocol=253)))
    assert packet.ip.src == IPv4.read(bytes(packet), 0, 20)[0].src == text


@given(st.lists(st.sampled_from([0, 0, 1, 0x10, 0xFFFF]), min_size=8, max_size=8))
@sampled(300)
def test_ipv6_text_has_the_canonical_form_of_rfc_5952(words):
    data = b"".join(word.to_bytes(2, "big") for word in words)
    text = ipv6_text(data)
    assert ipv6_bytes(text) == data
    if not data.startswith(MAPPED):  # before 3.13 Python writes these without dots
        assert text == str(IPv6Address(data))


@pytest.mark.parametrize(
    ("given_as", "text"),
    [
        ("10.1.2.1", "10.1.2.1"),
        (IPv4Address("10.1.2.1"), "10.1.2.1"),
        (IPv4Interface("10.1.2.1/24"), "10.1.2.1"),
        (Peer.HOST, "10.77.0.1"),
        (NamedAddress.HOST, "10.77.0.2"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
    ],
)
def test_address_of_any_kind_is_stored_as_plain_str(given_as, text):
    assert ipv4_address(given_as) == text
    ip = IPv4(src=given_as, dst=given_as, protocol=253)
    group = IGMP.query(given_as).group
    assert [type(each) for each in (ip.src, ip.dst, group, ipv4_address(given_as))] == [str] * 4
    assert (ip.src, ip.dst, group) == (text, text, text)
    assert summary(build(ip)).startswith(f"IP {text} > {text}: protocol 253, length 0")


@pytest.mark.parametrize(
    "wrong",
    ["", "10.1.2", "10.1.2.3.4", "10.1.2.256", "010.1.2.3", "10.1.2.1 ", "10.1.2.1\n", "10.1.2.-1", "١.2.3.4", "::1"],
)
def test_malformed_address_text_error_shows_an_example(wrong):
    for _ in range(2):
        with pytest.raises(MalformedError) as error_info:
            ipv4_address(wrong)
        rule = "not an IPv4 address. Write four numbers from 0 to 255, without leading zeros, as 10.1.2.1."
        assert str(error_info.value) == f"address is {wrong!r}: {rule}"
        with pytest.raises(MalformedError, match=r"^IPv4\.dst is .*: not an IPv4 address\. Write four"):
            IPv4(src="10.1.2.1", dst=wrong)


@pytest.mark.parametrize(
    "wrong", [None, 5, 0, True, b"\x0a\1\2\1", ["10.1.2.1"], IPv6Address("::1"), IPv4Network("10.0.0.0/8")]
)
def test_address_of_wrong_type_error_names_the_field(wrong):
    sentence = "not an IPv4 address. Give text as '10.1.2.1' or an ipaddress.IPv4Address."
    for make, name in (
        (ipv4_address, "address"),
        (lambda given_as: IPv4(src=given_as, dst="10.1.2.1"), "IPv4.src"),
        (lambda given_as: IGMP(group=given_as), "IGMP.group"),
        (lambda given_as: GroupRecord(1, given_as), "address"),
        (lambda given_as: GroupRecord(1, "224.0.0.1", (given_as,)), "address"),
    ):
        with pytest.raises(MalformedError) as error_info:
            make(wrong)
        assert str(error_info.value) == f"{name} is {wrong!r}: {sentence}"


def test_missing_address_error_names_the_field():
    with pytest.raises(MalformedError) as error_info:
        IPv4(src="10.1.2.1")
    rule = "required. Give text as '10.1.2.1' or an ipaddress.IPv4Address."
    assert str(error_info.value) == f"IPv4.dst is None: {rule}"
    with pytest.raises(MalformedError, match=r"^IPv4\.src is None: required"):
        IPv4(dst="10.1.2.1")
