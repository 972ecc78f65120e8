"""The options of TCP, octet by octet as their RFCs draw them."""

import pytest

from tunlab.errors import MalformedError
from tunlab.packet import TCP
from tunlab.packet.options import Option
from tunlab.packet.tcp_options import (
    AO,
    END,
    MD5,
    MSS,
    NOP,
    SACK,
    FastOpen,
    SACKPermitted,
    Timestamps,
    WindowScale,
)

VECTORS = {
    "0204 05b4": MSS(1460),
    "0303 0e": WindowScale(14),
    "0402": SACKPermitted(),
    "050a 00000001 ffffffff": SACK(((1, 0xFFFFFFFF),)),
    "0512 00000001 00000002 00000003 00000004": SACK(((1, 2), (3, 4))),
    "080a 00000007 1ce675fe": Timestamps(7, 0x1CE675FE),
    "2202": FastOpen(),
    "220a 0001020304050607": FastOpen(bytes(range(8))),
    "1312 000102030405060708090a0b0c0d0e0f": MD5(bytes(range(16))),
    "1d08 01ff 0a0b0c0d": AO(1, 255, b"\x0a\x0b\x0c\x0d"),
}


@pytest.mark.parametrize(("octets", "option"), VECTORS.items())
def test_an_option_both_ways(octets, option):
    wire = bytes.fromhex(octets)
    assert bytes(option).hex() == wire.hex()
    assert TCP(options=wire).decoded_options == (option,)


@pytest.mark.parametrize(
    "octets",
    [
        "0203 05",
        "0205 05b400",
        "0302",
        "0304 0000",
        "0403 00",
        "0502",
        "0509 00000000000000",
        "0809 00000000000000",
        "2204 0001",  # a cookie has 4 octets at least
        "2207 0001020304",  # and an even number of them
        "2214 000102030405060708090a0b0c0d0e0f1011",
        "1311 000102030405060708090a0b0c0d0e",
        "1d03 01",
    ],
)
def test_data_of_another_form_are_an_option_without_a_type(octets):
    wire = bytes.fromhex(octets)
    assert TCP(options=wire).decoded_options == (Option(wire[0], wire[2:]),)


def test_the_views_read_the_options():
    tcp = TCP(
        options=[
            MSS(1460),
            SACKPermitted(),
            Timestamps(1, 2),
            NOP,
            WindowScale(7),
            FastOpen(b"cook"),
            SACK(((3, 4),)),
            END,
        ]
    )
    assert (tcp.mss, tcp.window_scale, tcp.sack_permitted) == (1460, 7, True)
    assert (tcp.timestamps, tcp.fast_open, tcp.sack) == ((1, 2), b"cook", ((3, 4),))


@pytest.mark.parametrize("options", [b"", b"\1\1\1\0", b"\x1e\2", b"\2\0\5\xb4"])
def test_the_views_say_so_where_the_options_are_not_there(options):
    tcp = TCP(options=options)
    assert (tcp.mss, tcp.window_scale, tcp.sack_permitted, tcp.timestamps, tcp.fast_open, tcp.sack) == (
        None,
        None,
        False,
        None,
        None,
        (),
    )


def test_of_two_options_of_one_kind_the_first_counts():
    assert TCP(options=[MSS(1), MSS(2)]).mss == 1


def test_blocks_given_as_lists_are_held_as_tuples():
    option = SACK([[1, 2], [3, 4]])
    assert option == SACK(((1, 2), (3, 4)))
    assert hash(option) == hash(SACK(((1, 2), (3, 4))))


@pytest.mark.parametrize(
    "option",
    [
        MSS(65536),
        MSS(-1),
        MSS("1460"),
        MSS(None),
        WindowScale(256),
        SACK(((1,),)),
        SACK(((1, 2**32),)),
        Timestamps(-1),
        AO(1, 256, b""),
        AO(0, 0, "mac"),
    ],
)
def test_a_field_that_does_not_fit_is_refused(option):
    name = type(option).__name__
    with pytest.raises(MalformedError, match=rf"^{name} is .*: {name} has a field that does not fit its bytes \("):
        bytes(option)
    with pytest.raises(MalformedError, match=rf"^TCP\.options is \[.*: {name} has a field that does not fit its bytes"):
        TCP(options=[option])


@pytest.mark.parametrize("option", [FastOpen("cookie"), MD5(None)])
def test_data_that_are_no_octets_are_refused(option):
    with pytest.raises(MalformedError, match=r"bytes of data$"):
        bytes(option)
