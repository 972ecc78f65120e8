"""The Internet checksum against the words of RFC 1071, and against its folding loop written out."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.strategies import sampled
from tunlab.packet import Checksum, Verdict, internet_checksum
from tunlab.packet.checksum import checksum_ok


def folded(octets):
    """RFC 1071 section 4.1, in its own steps."""
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize(
    ("octets", "checksum"),
    [
        ("0001f203f4f5f6f7", 0x220D),  # RFC 1071 section 3: the sum is ddf2
        ("", 0xFFFF),
        ("00", 0xFFFF),
        ("0000", 0xFFFF),
        ("ffff", 0),
        ("ffffffff", 0),
        ("fffe0001", 0),
        ("ff", 0x00FF),
        ("0001", 0xFFFE),
        ("010203", 0xFBFD),
        ("4500003044224000800600008c7c19acae241e2b", 0x442E),
    ],
)
def test_known_sums(octets, checksum):
    assert internet_checksum(bytes.fromhex(octets)) == checksum


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=4).map(lambda octets: octets * 500)))
@sampled(400)
def test_any_octets_sum_as_in_the_rfc(octets):
    assert internet_checksum(octets) == folded(octets)


@given(st.lists(st.sampled_from([b"\0\0", b"\xff\xff", b"\0\1", b"\xff\xfe", b"\x7f\xff", b"\x80\0"]), max_size=9))
@sampled(300)
def test_words_at_the_edges_sum_as_in_the_rfc(words):
    octets = b"".join(words)
    assert internet_checksum(octets) == folded(octets)
    assert checksum_ok(octets) == (folded(octets) == 0)


@given(st.binary(max_size=60))
@sampled(300)
def test_octets_with_their_checksum_are_intact_and_with_another_are_not(octets):
    octets += bytes(len(octets) % 2)
    checksum = internet_checksum(octets)
    assert checksum_ok(octets + checksum.to_bytes(2, "big"))
    if checksum not in (0, 0xFFFF):
        assert not checksum_ok(octets + (checksum ^ 0x0100).to_bytes(2, "big"))


def test_nothing_but_zeros_is_not_intact():
    assert not checksum_ok(bytes(20))
    assert not checksum_ok(b"")


@pytest.mark.parametrize(
    ("checksum", "text"),
    [
        (Checksum("TCP", Verdict.GOOD, 5, 5), "good"),
        (Checksum("TCP", Verdict.BAD, 5, 0xAB), "bad, should be 0x00ab"),
        (
            Checksum("UDP", Verdict.UNVERIFIABLE, 0, None, "the sender computed none"),
            "not verifiable: the sender computed none",
        ),
        (Checksum("UDP", Verdict.BAD, 5), "bad"),
    ],
)
def test_a_verdict_in_words(checksum, text):
    assert str(checksum) == text
