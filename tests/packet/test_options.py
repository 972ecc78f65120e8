"""Option lists: reading ends at impossible lengths, and options are given as bytes or objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.golden import up
from tests.packet.strategies import IP_OPTIONS, TCP_OPTIONS, sampled
from tunlab.errors import MalformedError
from tunlab.packet import TCP, UDP, FindingKind, IPv4, build, findings, ip_options, parse, tcp_options
from tunlab.packet.options import (
    MAX_OPTIONS_LENGTH,
    Option,
    decode_options,
    options_to_bytes,
    pad_options,
    split_options,
)

TYPES = pytest.mark.parametrize("types", [ip_options.TYPES, tcp_options.TYPES, {}], ids=["IP", "TCP", "none"])


@TYPES
def test_decode_stops_at_end_of_options(types):
    raw = b"\1\1\0\2\4\5\xb4"
    assert split_options(raw) == (((1, b""), (1, b""), (0, b"")), None)
    assert decode_options(raw, types) == (Option(1), Option(1), Option(0))


@TYPES
@pytest.mark.parametrize(
    ("raw", "offset", "length", "present", "rule"),
    [
        (b"\x09", 0, None, 1, "option 9 has no length byte"),
        (b"\x09\0", 0, 0, 2, "option 9 has length 0; the minimum is 2"),
        (b"\x09\1\x09\1", 0, 1, 4, "option 9 has length 1; the minimum is 2"),
        (b"\1\1\x09\3", 2, 3, 2, "option 9 has length 3 and overruns the header"),
        (b"\x09\2\x09\xff", 2, 255, 2, "option 9 has length 255 and overruns the header"),
    ],
)
def test_decode_stops_at_impossible_length(types, raw, offset, length, present, rule):
    options, (pairs, fault) = decode_options(raw, types), split_options(raw)
    assert len(options) == len(pairs)
    assert b"".join(map(bytes, options)) == raw[:offset]
    assert (fault.offset, fault.kind, fault.length, fault.present, fault.rule) == (offset, 9, length, present, rule)


@TYPES
@given(raw=st.binary(max_size=MAX_OPTIONS_LENGTH))
@sampled(300)
def test_decode_of_random_bytes_ends(types, raw):
    options, (pairs, fault) = decode_options(raw, types), split_options(raw)
    assert len(options) == len(pairs)
    assert len(options) <= len(raw)
    read = b"".join(map(bytes, options))
    assert raw.startswith(read)
    if fault is None:
        assert read == raw or read.endswith(b"\0")
    else:
        assert (fault.offset, fault.present) == (len(read), len(raw) - len(read))
        assert fault.length is None or fault.length < 2 or fault.length > fault.present


# Two well-known Python parsers never return from options of length zero.
@pytest.mark.parametrize("kind", [2, 7, 68, 130, 255])
@pytest.mark.parametrize("length", [0, 1])
def test_options_of_length_0_or_1_are_one_finding(kind, length):
    options = bytes((kind, length)) * 20
    for raw, layer, at in (
        (build(up(options=options), UDP()), "IPv4", 20),
        (build(up(), TCP(flags=2, options=options)), "TCP", 40),
    ):
        packet = parse(raw)
        assert build(packet) == raw
        assert packet[{"IPv4": IPv4, "TCP": TCP}[layer]].decoded_options == ()
        assert [(each.layer, each.kind, each.offset) for each in findings(packet)] == [(layer, FindingKind.OPTION, at)]


@pytest.mark.parametrize(
    "kind", {**IP_OPTIONS, **TCP_OPTIONS}, ids=lambda kind: f"{kind.__module__[-11:]}.{kind.__name__}"
)
@given(data=st.data())
@sampled(40)
def test_typed_option_is_decoded_to_an_equal_option(kind, data):
    option = data.draw({**IP_OPTIONS, **TCP_OPTIONS}[kind])
    types = ip_options.TYPES if kind in IP_OPTIONS else tcp_options.TYPES
    raw = bytes(option)
    assert raw[:2] == bytes((kind.KIND, len(raw)))
    assert raw[2:] == option.data()
    assert decode_options(raw, types) == (option,)
    assert decode_options(raw, {}) == (Option(kind.KIND, option.data()),)
    assert split_options(raw) == (((kind.KIND, option.data()),), None)
    assert hash(option) == hash(kind.read(option.data()))


def test_options_from_bytes_and_objects_are_equal():
    objects = [tcp_options.MSS(1460), tcp_options.NOP, tcp_options.WindowScale(7)]
    raw = b"\2\4\5\xb4\1\3\3\7"
    for given_as in (objects, tuple(objects), iter(objects), raw, bytearray(raw), memoryview(raw), [raw]):
        assert TCP(options=given_as).options == raw
    assert up(options=ip_options.NOP).options == b"\1"
    assert TCP(options=[]).options == TCP(options=b"").options == b""


def test_options_are_copied_from_bytearray():
    given_as = bytearray(b"\1\1\1\1")
    header = up(options=given_as)
    given_as[0] = 9
    assert header.options == b"\1\1\1\1"
    assert type(header.options) is bytes


@pytest.mark.parametrize("wrong", ["text", 5, None, [1, 2], ["text"], [None], object(), 3.5, True])
@pytest.mark.parametrize("layer", ["IPv4", "TCP"])
def test_options_of_wrong_type_raises(layer, wrong):
    with pytest.raises(MalformedError, match=rf"^{layer}\.options is .*: not bytes. Give bytes, or an object"):
        up(options=wrong) if layer == "IPv4" else TCP(options=wrong)
    with pytest.raises(ValueError, match="not bytes"):
        options_to_bytes(wrong)


@pytest.mark.parametrize("length", [41, 44, 400])
def test_build_with_more_than_40_bytes_of_options_raises(length):
    with pytest.raises(MalformedError) as error_info:
        build(up(options=bytes(length)), UDP())
    whole = len(pad_options(bytes(length)))
    assert str(error_info.value) == (
        f"IPv4.options is '{whole} bytes': a header holds at most 40 bytes of options (RFC 791 section 3.1)"
    )
    with pytest.raises(
        MalformedError, match=rf"^TCP.options is '{whole} bytes': a header holds at most 40 bytes of options"
    ):
        build(up(), TCP(options=[bytes(length)]))


@pytest.mark.parametrize("length", range(41))
def test_options_are_padded_to_words(length):
    raw = build(up(options=b"\1" * length), TCP(flags=2, options=b"\1" * length))
    packet = parse(raw)
    wanted = b"\1" * length + bytes(-length % 4)
    assert (packet.ip.options, packet.tcp.options) == (wanted, wanted)
    assert packet.ip.ihl == packet.tcp.data_offset == 5 + len(wanted) // 4
    assert findings(packet) == []


def test_options_are_not_padded_if_header_length_is_forced():
    raw = build(up(ihl=5, options=b"\7"), TCP(data_offset=5, options=b"\2"))
    assert raw[20:21] == b"\7"
    assert raw[41:] == b"\2"


def test_kinds_0_and_1_have_no_length_byte():
    assert (bytes(Option(0)), bytes(Option(1)), bytes(Option(2))) == (b"\0", b"\1", b"\2\2")


@pytest.mark.parametrize("option", [Option(256), Option(-1), Option(9, bytes(254)), Option(9, "text"), Option("x")])
def test_option_with_unencodable_kind_or_data_raises(option):
    sentence = "an option has a kind up to 255 and at most 253 bytes of data"
    with pytest.raises(MalformedError) as error_info:
        bytes(option)
    assert str(error_info.value) == f"Option is {option!r}: {sentence}"
    with pytest.raises(MalformedError) as error_info:
        TCP(options=[option])
    assert str(error_info.value) == f"TCP.options is [{option!r}]: {sentence}"
