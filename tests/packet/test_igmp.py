"""IGMP: versions 1 to 3, which type and length distinguish."""

import pytest

from tests.packet.golden import igmp
from tunlab.errors import MalformedError
from tunlab.packet import IGMP, GroupRecord, IGMPType, build, findings, parse

RECORD = GroupRecord(1, "232.1.1.1", ("10.0.0.1", "10.0.0.2"), b"aux!")


@pytest.mark.parametrize(
    ("message", "version", "name"),
    [
        (IGMP.query(max_response_code=0), 1, "v1 membership query"),
        (IGMP.query(), 2, "v2 membership query"),
        (IGMP.query(sources=[]), 3, "v3 membership query"),
        (IGMP.query(sources=[], max_response_code=0), 3, "v3 membership query"),
        (IGMP(0x11, 100, rest=b"\2"), None, "membership query of no version"),
        (IGMP(0x11, 0, rest=b"\2\x7d\0"), None, "membership query of no version"),
        (IGMP(0x12), 1, "v1 membership report"),
        (IGMP.report("224.1.1.1"), 2, "v2 membership report"),
        (IGMP.leave("224.1.1.1"), 2, "v2 leave group"),
        (IGMP.report_v3([]), 3, "v3 membership report"),
        (IGMP(0x13), None, "type 0x13"),
    ],
    ids=lambda value: value.name if isinstance(value, IGMP) else "",
)
def test_version_and_name_of_messages(message, version, name):
    assert (message.version, message.name) == (version, name)


def test_version_3_query_builds_the_bytes_of_rfc_3376():
    message = IGMP.query("224.1.1.1", sources=["10.0.0.1"], robustness=7, interval_code=255, max_response_code=1)
    assert build(igmp("224.1.1.1"), message)[24:].hex(" ", 4) == "1101fbfa e0010101 07ff0001 0a000001"
    assert message.sources == ("10.0.0.1",)


def test_version_3_report_builds_the_bytes_of_rfc_3376():
    message = IGMP.report_v3([RECORD, GroupRecord(6, "224.1.1.1")])
    assert message.rest.hex(" ", 4) == "01010002 e8010101 0a000001 0a000002 61757821 06000000 e0010101"
    assert (message.record_count, message.group) == (2, "0.0.0.2")
    assert message.records == (RECORD, GroupRecord(6, "224.1.1.1"))


@pytest.mark.parametrize("message", [IGMP.query(), IGMP.report("224.1.1.1"), IGMP(0x99, rest=bytes(20))])
def test_igmp_messages_without_lists_have_no_sources_and_records(message):
    assert (message.sources, message.records, message.record_count) == ((), (), None)


@pytest.mark.parametrize("length", range(len(bytes(RECORD)) * 2))
def test_records_of_truncated_report_are_those_present(length):
    message = IGMP(IGMPType.V3_MEMBERSHIP_REPORT, group="0.0.0.2", rest=(bytes(RECORD) * 2)[:length])
    assert message.records == (RECORD,) * (length // len(bytes(RECORD)))
    assert [each.present for each in findings(build(igmp("224.0.0.22"), message))] == [len(message.records)]


@pytest.mark.parametrize("length", range(4, 12))
def test_sources_of_truncated_query_are_those_present(length):
    message = IGMP(rest=bytes.fromhex("027d0002 0a000001 0a000002")[:length])
    assert message.sources == ("10.0.0.1", "10.0.0.2")[: length // 4 - 1]
    assert [each.present for each in findings(build(igmp("224.0.0.1"), message))] == [len(message.sources)]


def test_igmp_counts_of_65535_read_only_present_records_and_sources():
    report = IGMP(IGMPType.V3_MEMBERSHIP_REPORT, group="0.0.255.255", rest=bytes(8 * 5))
    assert len(report.records) == 5
    assert len(IGMP(rest=b"\2\x7d\xff\xff" + bytes(4 * 5)).sources) == 5
    assert IGMP(IGMPType.V3_MEMBERSHIP_REPORT, group="0.0.255.255", rest=b"\0\xff\xff\xff" + bytes(40)).records == ()


def test_bytes_behind_igmp_message_are_rest_not_payload():
    packet = parse(build(igmp("224.0.0.1"), IGMP.query(), bytes(4)))
    assert (packet.igmp.rest, packet.payload) == (bytes(4), b"")
    assert findings(packet) == []


def test_rest_is_copied_from_bytearray():
    given_as = bytearray(b"\2\x7d\0\0")
    message = IGMP(rest=given_as)
    given_as[0] = 9
    assert message.rest == b"\2\x7d\0\0"
    assert hash(message) == hash(IGMP(rest=b"\2\x7d\0\0"))
    assert IGMP(rest=RECORD).rest == bytes(RECORD)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: IGMP(rest="text"), "IGMP.rest is 'text': not bytes. Give bytes, or an object that has __bytes__."),
        (lambda: IGMP(rest=None), "IGMP.rest is None: not bytes"),
        (lambda: IGMP(rest=5), "IGMP.rest is 5: not bytes"),
        (lambda: IGMP.report("everyone"), "IGMP.group is 'everyone': not an IPv4 address. Write four numbers"),
        (lambda: IGMP.query(sources=["me"]), "address is 'me': not an IPv4 address. Write four numbers"),
        (lambda: IGMP.query(sources=[], robustness=8), "IGMP.robustness is 8: the field has 3 bits"),
        (lambda: IGMP.query(sources=[], robustness=-1), "IGMP.robustness is -1: the field has 3 bits"),
        (lambda: IGMP.query(sources=[], interval_code=256), "IGMP.interval_code is 256: the field has 8 bits"),
        (lambda: bytes(GroupRecord(256, "224.1.1.1")), "GroupRecord.type is 256: the field has 8 bits"),
        (
            lambda: bytes(GroupRecord("x", "224.1.1.1")),
            "GroupRecord.type is 'x': not an integer. Give an integer from 0 to 255.",
        ),
        (
            lambda: bytes(GroupRecord(1, "224.1.1.1", (), b"odd")),
            "GroupRecord.auxiliary is b'odd': auxiliary data are whole words of four bytes (RFC 3376 section 4.2.6)",
        ),
        (lambda: bytes(GroupRecord(1, "224.1.1.1", (), bytes(1024))), "GroupRecord.auxiliary is 256: "),
        (lambda: bytes(GroupRecord(1, "224.1.1.1", ["10.0.0.1"] * 65536)), "GroupRecord.sources is 65536: "),
    ],
)
def test_unencodable_argument_error_names_the_field(make, sentence):
    with pytest.raises(MalformedError) as error_info:
        make()
    assert str(error_info.value).startswith(sentence)


def test_group_record_from_lists_is_hashable():
    assert GroupRecord(1, "232.1.1.1", ["10.0.0.1", "10.0.0.2"], b"aux!") == RECORD
    assert hash(GroupRecord(1, "232.1.1.1", ["10.0.0.1", "10.0.0.2"], b"aux!")) == hash(RECORD)
