"""The options of IPv4 in bytes and as objects (RFC 791 section 3.1)."""

from ipaddress import IPv4Address

import pytest

from tests.packet.golden import up
from tunlab.errors import MalformedError
from tunlab.packet import IPv4, build, ip_options, parse
from tunlab.packet.ip_options import (
    LooseSourceRoute,
    RecordRoute,
    RouterAlert,
    StreamIdentifier,
    StrictSourceRoute,
    Timestamp,
)
from tunlab.packet.options import Option

VECTORS = {
    "070704 0a000001": RecordRoute(("10.0.0.1",)),
    "070b08 0a000001 00000000": RecordRoute(("10.0.0.1", "0.0.0.0"), pointer=8),
    "070304": RecordRoute(()),
    "830704 c0000201": LooseSourceRoute(("192.0.2.1",)),
    "890b0c c0000201 c0000202": StrictSourceRoute(("192.0.2.1", "192.0.2.2"), pointer=12),
    "44080500 00000000": Timestamp((0,)),
    "440c0df1 0a000001 05265c00": Timestamp((0x0A000001, 86400000), pointer=13, overflow=15, flag=1),
    "44040500": Timestamp(()),
    "8804 1234": StreamIdentifier(0x1234),
    "9404 0000": RouterAlert(),
}


@pytest.mark.parametrize(("text", "option"), VECTORS.items())
def test_option_is_built_and_decoded(text, option):
    wire = bytes.fromhex(text)
    assert bytes(option).hex() == wire.hex()
    assert up(options=wire).decoded_options[0] == option
    assert parse(build(up(options=[option], protocol=253))).ip.decoded_options[0] == option


@pytest.mark.parametrize(
    "text",
    [
        "0702",  # no pointer
        "0703 03",  # the pointer points to the option's own pointer byte
        "0705 04 0a00",  # half an address
        "8306 04 0a0000",
        "4403 05",
        "4405 0500 00",
        "8803 12",
        "9403 00",
        "9405 000000",
    ],
)
def test_known_kind_with_wrong_length_decodes_to_untyped_option(text):
    wire = bytes.fromhex(text)
    option = up(options=wire).decoded_options[0]
    assert option == Option(wire[0], wire[2:])
    assert bytes(option) == wire


def test_kind_includes_copied_flag_and_class():
    # Number 7 is record route without the copied flag and in class 0; 0x87 and 0x27 are unknown options.
    assert [type(each) for each in up(options=bytes.fromhex("870304 270304 070304")).decoded_options] == [
        Option,
        Option,
        RecordRoute,
    ]


@pytest.mark.parametrize(
    ("route", "final"),
    [
        (LooseSourceRoute(("192.0.2.1", "192.0.2.2"), pointer=4), "192.0.2.2"),
        (LooseSourceRoute(("192.0.2.1", "192.0.2.2"), pointer=8), "192.0.2.2"),
        (LooseSourceRoute(("192.0.2.1", "192.0.2.2"), pointer=11), "192.0.2.2"),
        (LooseSourceRoute(("192.0.2.1", "192.0.2.2"), pointer=12), "10.1.2.1"),
        (StrictSourceRoute(("192.0.2.1",), pointer=4), "192.0.2.1"),
        (StrictSourceRoute(("192.0.2.1",), pointer=255), "10.1.2.1"),
        (StrictSourceRoute(()), "10.1.2.1"),
        (RecordRoute(("192.0.2.1",)), "10.1.2.1"),
    ],
)
def test_final_destination_with_source_route(route, final):
    assert up(options=[route]).final_destination == final
    assert up(options=[ip_options.NOP, route]).final_destination == final
    # Options behind the end of the list are ignored.
    assert up(options=[ip_options.END, route]).final_destination == "10.1.2.1"


def test_timestamp_words_list_becomes_tuple():
    assert Timestamp([1, 2]) == Timestamp((1, 2))
    assert hash(Timestamp([1, 2])) == hash(Timestamp((1, 2)))


def test_route_addresses_become_text():
    route = RecordRoute([IPv4Address("192.0.2.200"), "10.0.0.1"])
    assert route == RecordRoute(("192.0.2.200", "10.0.0.1"))
    assert hash(route) == hash(RecordRoute(("192.0.2.200", "10.0.0.1")))
    assert all(type(text) is str for text in route.addresses)


@pytest.mark.parametrize("address", ["10.0.0", "router", "10.0.0.256", "::1", None, 5, b"\x0a\0\0\1"])
def test_route_with_invalid_address_raises_at_construction(address):
    with pytest.raises(MalformedError, match=r"^address is .*: not an IPv4 address.*as '?10\.1\.2\.1"):
        RecordRoute((address,))


@pytest.mark.parametrize(
    ("option", "about"),
    [
        (RecordRoute(("10.0.0.1",), pointer=256), r"bytes must be in range\(0, 256\)"),
        (RecordRoute(("10.0.0.1",), pointer=-1), r"bytes must be in range\(0, 256\)"),
        (
            Timestamp((1,), overflow=16),
            "Timestamp.overflow is 16: the field has 4 bits. Give a number from 0 to 15.",
        ),
        (Timestamp((1,), flag=16), "Timestamp.flag is 16: the field has 4 bits"),
        (Timestamp((1,), flag=-1), "Timestamp.flag is -1: the field has 4 bits"),
        (Timestamp((2**32,)), "0 <= number <= 4294967295"),
        (StreamIdentifier(65536), "0 <= number <= 65535"),
        (StreamIdentifier("x"), "not an integer"),
        (RouterAlert(-1), "out of range|0 <= number <= 65535"),
        (RecordRoute(("10.0.0.1",) * 64), "253 bytes"),
    ],
)
def test_oversized_option_field_raises(option, about):
    with pytest.raises(MalformedError, match=about):
        bytes(option)
    with pytest.raises(MalformedError, match=rf"^IPv4\.options is \[.*({about})"):
        IPv4(src="10.1.2.1", dst="10.1.2.3", options=[option])
