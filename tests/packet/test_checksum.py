"""The Internet checksum, compared with the example and the algorithm in RFC 1071."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.strategies import sampled
from tunlab.packet import Checksum, Verdict, internet_checksum
from tunlab.packet.checksum import checksum_ok


def rfc_1071_checksum(data):
    """Return the checksum by the algorithm of RFC 1071 section 4.1, step by step."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
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
def test_internet_checksum_equals_known_values(data, checksum):
    assert internet_checksum(bytes.fromhex(data)) == checksum


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=4).map(lambda data: data * 500)))
@sampled(400)
def test_internet_checksum_of_any_data_equals_rfc_algorithm(data):
    assert internet_checksum(data) == rfc_1071_checksum(data)


@given(st.lists(st.sampled_from([b"\0\0", b"\xff\xff", b"\0\1", b"\xff\xfe", b"\x7f\xff", b"\x80\0"]), max_size=9))
@sampled(300)
def test_internet_checksum_of_extreme_words_equals_rfc_algorithm(words):
    data = b"".join(words)
    assert internet_checksum(data) == rfc_1071_checksum(data)
    assert checksum_ok(data) == (rfc_1071_checksum(data) == 0)


@given(st.binary(max_size=60))
@sampled(300)
def test_checksum_ok_accepts_the_right_checksum_only(data):
    data += bytes(len(data) % 2)
    checksum = internet_checksum(data)
    assert checksum_ok(data + checksum.to_bytes(2, "big"))
    if checksum not in (0, 0xFFFF):
        assert not checksum_ok(data + (checksum ^ 0x0100).to_bytes(2, "big"))


def test_checksum_ok_rejects_all_zeros():
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
def test_checksum_str_describes_the_verdict(checksum, text):
    assert str(checksum) == text
