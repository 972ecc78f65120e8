"""Multicast listener discovery: queries, reports and "done" of versions 1 and 2."""

import pytest

from tunlab.errors import MalformedError
from tunlab.packet import (
    MLD,
    HopByHop,
    ICMPv6,
    IPv6,
    MLDv2Report,
    MulticastAddressRecord,
    Packet,
    build,
    complete,
    findings,
    ipv6_options,
    listing,
    parse,
    summary,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6

GROUP = "ff02::1:2"
GROUP_HEX = "ff020000 00000000 00000000 00010002"
SOURCE_HEX = "fd000000 00000000 00000000 00000001"
ALERT = HopByHop(options=[ipv6_options.RouterAlert()])
DOWN = IPv6(src="fe80::1", dst="ff02::1")
RECORD = MulticastAddressRecord(4, GROUP, ["fd00::1"], b"more")
MESSAGES = {
    "general query v1": (MLD.query(), "8200 0000 2710 0000" + "00" * 16),
    "query v1": (MLD.query(GROUP, max_response_code=5), "8200 0000 0005 0000" + GROUP_HEX),
    "query v2": (
        MLD.query(GROUP, sources=["fd00::1"], robustness=7, interval_code=9),
        "8200 0000 2710 0000" + GROUP_HEX + "0709 0001" + SOURCE_HEX,
    ),
    "query v2 without sources": (MLD.query(GROUP, sources=[]), "8200 0000 2710 0000" + GROUP_HEX + "027d 0000"),
    "report v1": (MLD.report(GROUP), "8300 0000 0000 0000" + GROUP_HEX),
    "done": (MLD.done(GROUP), "8400 0000 0000 0000" + GROUP_HEX),
    "report v2": (
        MLDv2Report.of([RECORD]),
        "8f00 0000 0000 0001 0401 0001" + GROUP_HEX + SOURCE_HEX + b"more".hex(),
    ),
}


def read(data, **more):
    return parse(data, link_type=LINKTYPE_IPV6, **more)


@pytest.mark.parametrize(("message", "raw"), MESSAGES.values(), ids=MESSAGES)
def test_mld_message_has_the_bytes_of_the_rfc(message, raw):
    wanted = bytes.fromhex(raw)
    packet = Packet.of(DOWN, ALERT, message)
    made = build(packet)[48:]
    assert (made[:2] + made[4:]).hex(" ", 4) == (wanted[:2] + wanted[4:]).hex(" ", 4)
    assert read(build(packet)) == complete(packet)
    assert findings(packet) == []
    assert complete(packet).ip.hop_limit == 1
    assert ICMPv6.where(type=message.type).matches(packet)


def test_version_and_sources_of_mld_queries():
    queries = MLD.query(), MLD.query(sources=["fd00::1", "fd00::2"]), MLD(rest=b"abc"), MLD.report(GROUP)
    assert [each.version for each in queries] == [1, 2, None, 1]
    assert [each.sources for each in queries] == [(), ("fd00::1", "fd00::2"), (), ()]
    assert MLD.where(version=2, sources=("fd00::1", "fd00::2")).matches(Packet.of(DOWN, queries[1]))


def test_records_of_mldv2_report_equal_the_given_records():
    assert MLDv2Report.of([RECORD, MulticastAddressRecord(3, GROUP)]).records == (
        RECORD,
        MulticastAddressRecord(3, GROUP),
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MLD.query("10.0.0.1"), "MLD.multicast_address is '10.0.0.1': not an IPv6 address"),
        (lambda: MLD.query(sources=[], robustness=8), "MLD.robustness is 8: the field has 3 bits"),
        (lambda: MLD.query(max_response_code=1 << 16), "MLD.max_response_code is 65536: the field has 16 bits"),
        (lambda: bytes(MulticastAddressRecord(256, GROUP)), "MulticastAddressRecord.type is 256: the field has 8 bits"),
        (lambda: bytes(MulticastAddressRecord(1, GROUP, (), b"odd")), "MulticastAddressRecord.auxiliary is"),
    ],
)
def test_error_for_invalid_mld_value_names_the_field(make, sentence):
    with pytest.raises(MalformedError) as error_info:
        make()
    assert str(error_info.value).startswith(sentence)


def of(rule):
    return f"ICMPv6 type: {rule} (RFC 3810 section 5)"


MISSING = (
    "the message ends before the last of them (RFC 3810 section 5) (needed 2, got 1, limited by the end of the input)"
)
FAULTS = {
    "hop limit": ((DOWN.replace(hop_limit=64), ALERT, MLD.query()), of("the hop limit is 64 and must be 1")),
    "no router alert": (
        (DOWN, HopByHop(), MLD.query()),
        of("a hop-by-hop header must have the option router alert"),
    ),
    "global source": (
        (DOWN.replace(src="fd00::1"), ALERT, MLD.report(GROUP)),
        of("the source must be a link-local address"),
    ),
    "query from the unspecified address": (
        (DOWN.replace(src="::"), ALERT, MLD.query()),
        of("the source must be a link-local address"),
    ),
    "report on a unicast address": (
        (DOWN, ALERT, MLD.report("fd00::1")),
        "ICMPv6 multicast address: not a multicast address (RFC 3810 section 5)",
    ),
    "query of 25 bytes": (
        (DOWN, ALERT, MLD(rest=b"x")),
        "ICMPv6 rest: a query has 24 bytes, or 28 and more (RFC 3810 section 8.1) (needed 28, got 25)",
    ),
    "sources that are missing": (
        (DOWN, ALERT, MLD(rest=bytes.fromhex("027d0002") + bytes(16))),
        "ICMPv6 number of sources: " + MISSING,
    ),
    "records that are missing": (
        (DOWN, ALERT, MLDv2Report(record_count=2, rest=bytes(RECORD))),
        "ICMPv6 record count: " + MISSING,
    ),
}


@pytest.mark.parametrize(("headers", "sentence"), FAULTS.values(), ids=FAULTS)
def test_faulty_mld_message_has_a_finding(headers, sentence):
    data = build(*headers)
    packet = read(data)
    assert list(map(str, findings(packet))) == [sentence]
    assert build(packet) == data


def test_mldv2_report_from_unspecified_address_has_no_findings():
    assert findings(Packet.of(DOWN.replace(src="::"), ALERT, MLDv2Report.of([RECORD]))) == []


def test_summary_and_listing_show_mld_fields():
    packet = Packet.of(DOWN, ALERT, MLD.query(GROUP, sources=["fd00::1"]))
    assert summary(packet) == (
        "IP6 fe80::1 > ff02::1: ICMPv6 multicast listener query v2, ff02::1:2, 1 source, length 44"
    )
    assert listing(packet, verbose=True).splitlines()[-6:] == [
        "  Reserved: 0",
        "  Suppress: 0",
        "  Robustness: 2",
        "  Interval Code: 125",
        "  Source Count: 1",
        "  Source: fd00::1",
    ]
    report = Packet.of(DOWN, ALERT, MLDv2Report.of([RECORD]))
    assert summary(report) == "IP6 fe80::1 > ff02::1: ICMPv6 multicast listener report v2, ff02::1:2, length 48"
    assert listing(report, verbose=True).endswith("\n  Record: type 4, multicast address ff02::1:2, 1 source")
