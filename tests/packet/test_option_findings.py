"""Findings on complete options that no correct sender sends: wrong lengths and forbidden values."""

import pytest

from tests.packet.golden import down, up
from tests.packet.strategies import IP_OPTIONS, TCP_OPTIONS
from tunlab.packet import TCP, FindingKind, build, findings, ip_options, parse, tcp_options
from tunlab.packet.options import NO_OPERATION

# (options, offset of the faulty one in the packet, sentence of the finding without "TCP options: ")
TCP_FAULTS = [
    ("0203 05 01", 40, "option 2 (MSS) has length 3; it needs 4 (RFC 9293 section 3.2)"),
    ("01 0302 00", 41, "option 3 (WindowScale) has length 2; it needs 3 (RFC 7323 section 2.2)"),
    ("0303 0f 00", 40, "the window scale is 15; the maximum is 14 (RFC 7323 section 2.3)"),
    ("0303 ff 00", 40, "the window scale is 255; the maximum is 14 (RFC 7323 section 2.3)"),
    ("0403 00 00", 40, "option 4 (SACKPermitted) has length 3; it needs 2 (RFC 2018 section 2)"),
    (
        "0101 0101 0509 00000000000000 000000",
        44,
        "option 5 (SACK) has length 9; it needs 2 and 8 for each block, one at least (RFC 2018 section 3)",
    ),
    (
        "0502 0000",
        40,
        "option 5 (SACK) has length 2; it needs 2 and 8 for each block, one at least (RFC 2018 section 3)",
    ),
    ("0809 00000000000000 000000", 40, "option 8 (Timestamps) has length 9; it needs 10 (RFC 7323 section 3.2)"),
    (
        "2204 0001",
        40,
        "option 34 (FastOpen) has length 4; it needs 2, or 6 to 18 by twos (RFC 7413 section 4.1.1)",
    ),
    ("1304 0001", 40, "option 19 (MD5) has length 4; it needs 18 (RFC 2385 section 3)"),
    ("1d03 01 00", 40, "option 29 (AO) has length 3; it needs 4 at least (RFC 5925 section 2.2)"),
]
ROUTE = "3 and 4 for each address, with a pointer of at least 4 (RFC 791 section 3.1)"
WORDS = "4 and 4 for each word (RFC 791 section 3.1)"
IP_FAULTS = [
    ("0706 04 010203 0000", 20, f"option 7 (RecordRoute) has length 6; it needs {ROUTE}"),
    ("0703 03 00", 20, f"option 7 (RecordRoute) has length 3; it needs {ROUTE}"),
    ("01 8304 0400 000000", 21, f"option 131 (LooseSourceRoute) has length 4; it needs {ROUTE}"),
    ("8902 0000", 20, f"option 137 (StrictSourceRoute) has length 2; it needs {ROUTE}"),
    ("4405 050000 000000", 20, f"option 68 (Timestamp) has length 5; it needs {WORDS}"),
    ("8202 0000", 20, "option 130 (Security) has length 2; it needs 3 at least (RFC 1108 section 2)"),
    ("8603 00 00", 20, "option 134 (CIPSO) has length 3; it needs 8 at least (FIPS 188)"),
    ("8803 00 00", 20, "option 136 (StreamIdentifier) has length 3; it needs 4 (RFC 791 section 3.1)"),
    ("9403 00 00", 20, "option 148 (RouterAlert) has length 3; it needs 4 (RFC 2113 section 2.1)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "offset", "sentence", "layer"),
    [(*fault, "TCP") for fault in TCP_FAULTS] + [(*fault, "IPv4") for fault in IP_FAULTS],
)
def test_faulty_option_has_one_finding(data, offset, sentence, layer):
    options = bytes.fromhex(data)
    faulty = (
        build(up(), TCP(flags=2, options=options)) if layer == "TCP" else build(down(options=options), TCP(flags=2))
    )
    (found,) = findings(faulty)
    assert (found.layer, found.field, found.kind, found.offset) == (layer, "options", FindingKind.OPTION, offset)
    assert str(found) == f"{layer} options: {sentence}"
    assert build(parse(faulty)) == faulty


def test_faulty_examples_include_every_option_class():
    assert {bytes.fromhex(data).lstrip(b"\1")[0] for data, *_ in TCP_FAULTS} == set(tcp_options.TYPES)
    assert {bytes.fromhex(data).lstrip(b"\1")[0] for data, *_ in IP_FAULTS} == set(ip_options.TYPES)
    assert set(TCP_OPTIONS) == set(tcp_options.TYPES.values())
    assert set(IP_OPTIONS) == set(ip_options.TYPES.values())


def test_each_faulty_option_of_a_list_has_a_finding():
    options = bytes.fromhex("0203 05 01 0303 0f 01 0809 00")
    found = findings(build(up(), TCP(flags=2, options=options)))
    assert [each.offset for each in found] == [40, 44, 48]
    assert "overruns the header" in found[2].rule


@pytest.mark.parametrize("shift", range(15))
def test_window_scale_up_to_14_has_no_findings(shift):
    assert findings(build(up(), TCP(flags=2, options=[tcp_options.WindowScale(shift)]))) == []


def test_unknown_option_has_no_findings():
    assert NO_OPERATION not in tcp_options.TYPES
    assert findings(build(up(), TCP(flags=2, options=bytes.fromhex("fd05 000102 000000")))) == []
