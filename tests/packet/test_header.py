"""Properties of all header classes: field widths, errors that name the field, equality, immutability."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tests.packet.golden import up
from tests.packet.strategies import forced, forced_transports, sampled
from tunlab.errors import MalformedError
from tunlab.packet import ICMP, IGMP, TCP, UDP, Header, IPFlag, IPv4, Packet, TCPFlag, build

LAYERS = [IPv4, ICMP, IGMP, TCP, UDP]
FIELDS = [
    (layer, field, bits)
    for layer in LAYERS
    for field, bits in layer.LAYOUT
    if field not in ("src", "dst", "group", "flags")
]
each_field = pytest.mark.parametrize(
    ("layer", "field", "bits"), FIELDS, ids=lambda value: getattr(value, "__name__", None)
)


def header(layer, **fields):
    return up(**fields) if layer is IPv4 else layer(**fields)


def built(layer, **fields):
    one = header(layer, **fields)
    return build(one, b"") if layer is IPv4 else build(up(), one)


@pytest.mark.parametrize("layer", LAYERS)
def test_layout_lists_the_fixed_fields_in_wire_order(layer):
    assert sum(bits for _, bits in layer.LAYOUT) == {IPv4: 160, TCP: 160}.get(layer, 64)
    assert [name for name, _ in layer.LAYOUT] == list(layer.__struct_fields__)[: len(layer.LAYOUT)]
    assert {name for name, _ in layer.LAYOUT} >= layer.DERIVED
    assert set(layer.VIEWS).isdisjoint(layer.__struct_fields__)
    assert all(hasattr(layer, view) for view in layer.VIEWS)


@each_field
@pytest.mark.parametrize("wrong", ["too large", -1, "x", 1.0, b"\1", (), ...], ids=str)
def test_error_for_oversized_value_or_other_type_names_the_field(layer, field, bits, wrong):
    value = 1 << bits if wrong == "too large" else wrong
    with pytest.raises(MalformedError) as error_info:
        built(layer, **{"protocol": 253, field: value} if layer is IPv4 else {field: value})
    if isinstance(value, int):
        rule = f"the field has {bits} bits. Give a number from 0 to {2**bits - 1}."
    else:
        rule = f"not an integer. Give an integer from 0 to {2**bits - 1}."
    assert str(error_info.value) == f"{layer.__name__}.{field} is {value!r}: {rule}"
    assert (error_info.value.layer, error_info.value.field) == (layer.__name__, field)


@each_field
def test_none_is_accepted_for_derived_fields_only(layer, field, bits):
    fields = {"protocol": 253, field: None} if layer is IPv4 else {field: None}
    if (layer, field) == (IPv4, "protocol"):
        with pytest.raises(MalformedError, match=r"^IPv4.protocol is None: no header follows that implies it"):
            built(layer, **fields)
    elif field in layer.DERIVED:
        assert built(layer, **fields) == built(layer, **{"protocol": 253} if layer is IPv4 else {})
    else:
        with pytest.raises(MalformedError, match=rf"^{layer.__name__}.{field} is None: not an integer"):
            built(layer, **fields)


@pytest.mark.parametrize("layer", LAYERS)
def test_to_bytes_of_incomplete_header_raises(layer):
    with pytest.raises(MalformedError, match=r"is None: it is computed only by complete\(\) or build\(\)$"):
        header(layer).to_bytes()


@each_field
def test_lowest_and_highest_value_of_each_field_fit(layer, field, bits):
    for value in (0, (1 << bits) - 1):
        given = {"protocol": 253, field: value} if layer is IPv4 else {field: value}
        assert len(built(layer, **given)) >= 20


@pytest.mark.parametrize(("layer", "kind", "highest"), [(IPv4, IPFlag, 7), (TCP, TCPFlag, 511)])
def test_flags_accept_members_and_numbers(layer, kind, highest):
    assert type(header(layer, flags=1).flags) is kind
    assert header(layer, flags=kind(highest)).flags == highest
    assert header(layer, flags=0) == header(layer, flags=kind(0)) == header(layer)
    for wrong in (-1, highest + 1, "SYN", None, 2.0, [1], 1 << 70):
        with pytest.raises(MalformedError) as error_info:
            header(layer, flags=wrong)
        assert str(error_info.value) == (
            f"{layer.__name__}.flags is {wrong!r}: "
            f"not flags. Join members of {kind.__name__} by |, or give a number from 0 to {highest}."
        )
    with pytest.raises(MalformedError, match=rf"^{layer.__name__}.flags is .*{highest + 1}.*: not flags. Join members"):
        built(layer, **{"protocol": 253} if layer is IPv4 else {}, flags=kind(highest + 1))


def test_header_is_immutable_and_replace_returns_a_checked_copy():
    before = up()
    with pytest.raises(AttributeError):
        before.ttl = 1
    after = before.replace(ttl=1, flags=2, dst="10.9.9.9", options=bytearray(b"\1"))
    assert (before.ttl, after.ttl) == (64, 1)
    assert (type(after.flags), type(after.options)) == (IPFlag, bytes)
    with pytest.raises(MalformedError):
        before.replace(src="nobody")


@given(forced, forced_transports)
@sampled(60)
def test_headers_and_packets_survive_pickle_and_copy(ip, transport):
    for one in (ip, transport, Packet.of(ip, transport, b"x")):
        for twin in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
            assert twin == one
            assert hash(twin) == hash(one)
            assert type(twin) is type(one)


def struct_classes(kind):
    return [each for direct in kind.__subclasses__() for each in (direct, *struct_classes(direct))]


@pytest.mark.parametrize(
    "kind", sorted({each for each in struct_classes(Struct) if each.__module__.startswith("tunlab.packet")}, key=str)
)
def test_classes_of_the_package_are_frozen(kind):
    assert kind.__struct_config__.frozen


def test_headers_of_different_classes_are_unequal():
    assert UDP(1, 2, 8, 0) != ICMP(1, 2, 8, 0)
    assert UDP() != TCP()
    assert len({UDP(), ICMP(), TCP(), IGMP()}) == 4


def test_match_statement_matches_header_fields():
    match TCP(dst_port=80, flags=TCPFlag.SYN):
        case TCP(dst_port=80, flags=TCPFlag.SYN) as tcp:
            assert tcp.window == 65535
        case _:
            pytest.fail("a header does not match its own fields")


@given(st.sampled_from(FIELDS), st.data())
@sampled(200)
def test_field_value_is_at_its_bits_on_the_wire(which, data):
    layer, field, bits = which
    value = data.draw(st.integers(0, (1 << bits) - 1))
    given = {"protocol": 253, field: value} if layer is IPv4 else {field: value}
    raw = built(layer, **given)
    width = sum(bits for _, bits in layer.LAYOUT)
    start = 0 if layer is IPv4 else 20
    number = int.from_bytes(raw[start : start + width // 8], "big")
    for name, bits in layer.LAYOUT:  # count down to the last bit of the field
        width -= bits
        if name == field:
            break
    assert number >> width & (1 << bits) - 1 == value


def test_base_header_to_bytes_is_not_implemented():
    with pytest.raises(NotImplementedError):
        Header().to_bytes()
