"""The options of TCP in bytes and as objects."""

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


@pytest.mark.parametrize(("text", "option"), VECTORS.items())
def test_option_is_built_and_decoded(text, option):
    wire = bytes.fromhex(text)
    assert bytes(option).hex() == wire.hex()
    assert TCP(options=wire).decoded_options == (option,)


@pytest.mark.parametrize(
    "text",
    [
        "0203 05",
        "0205 05b400",
        "0302",
        "0304 0000",
        "0403 00",
        "0502",
        "0509 00000000000000",
        "0809 00000000000000",
        "2204 0001",  # a cookie has at least 4 bytes
        "2207 0001020304",  # a cookie has an even number of bytes
        "2214 000102030405060708090a0b0c0d0e0f1011",
        "1311 000102030405060708090a0b0c0d0e",
        "1d03 01",
    ],
)
def test_known_kind_with_wrong_length_decodes_to_untyped_option(text):
    wire = bytes.fromhex(text)
    assert TCP(options=wire).decoded_options == (Option(wire[0], wire[2:]),)


def test_views_return_option_values():
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
def test_views_without_options_are_none_or_empty(options):
    tcp = TCP(options=options)
    assert (tcp.mss, tcp.window_scale, tcp.sack_permitted, tcp.timestamps, tcp.fast_open, tcp.sack) == (
        None,
        None,
        False,
        None,
        None,
        (),
    )


def test_view_returns_first_of_repeated_options():
    assert TCP(options=[MSS(1), MSS(2)]).mss == 1


def test_sack_blocks_lists_become_tuples():
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
def test_oversized_option_field_raises(option):
    name = type(option).__name__
    with pytest.raises(MalformedError, match=rf"^{name} is .*: {name} has a field that does not fit its bytes \("):
        bytes(option)
    with pytest.raises(MalformedError, match=rf"^TCP\.options is \[.*: {name} has a field that does not fit its bytes"):
        TCP(options=[option])


@pytest.mark.parametrize("option", [FastOpen("cookie"), MD5(None)])
def test_option_data_of_wrong_type_raises(option):
    with pytest.raises(MalformedError, match=r"bytes of data$"):
        bytes(option)
