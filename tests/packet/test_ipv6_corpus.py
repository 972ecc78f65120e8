"""Compare the parser with tshark on 906 IPv6 packets from public captures: every field and every checksum verdict."""

import gzip
import json
import os
from collections import Counter
from operator import itemgetter
from pathlib import Path

import pytest

from tests.packet.test_corpus import TCP_FIELDS, TSHARK_BAD, TSHARK_GOOD, UDP_FIELDS, differences
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import (
    TCP,
    UDP,
    DestinationOptions,
    Fragment,
    HopByHop,
    ICMPv6,
    IPv6,
    Routing,
    TruncatedHeader,
    Verdict,
    build,
    checksums,
    findings,
    listing,
    parse,
    summary,
    to_dict,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6

CORPUS = os.environ.get("TUNLAB_CORPUS")
pytestmark = pytest.mark.skipif(
    not CORPUS, reason="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder"
)

FIELDS = {
    "version": lambda ip: ip.version,
    "tclass": lambda ip: ip.traffic_class,
    "flow": lambda ip: ip.flow_label,
    "plen": lambda ip: ip.payload_length,
    "nxt": lambda ip: ip.next_header,
    "hlim": lambda ip: ip.hop_limit,
    "src": lambda ip: ip.src,
    "dst": lambda ip: ip.dst,
}
EXTENSIONS = {"hopopts": HopByHop, "dstopts": DestinationOptions, "routing": Routing, "fraghdr": Fragment}
ICMPV6_FIELDS = {
    "type": lambda message: message.type,
    "code": lambda message: message.code,
    "checksum": lambda message: message.checksum,
    "ident": lambda message: message.identifier,
    "seq": lambda message: message.sequence_number,
}
# tshark does not verify fragments and packets that are cut short; its status is null for the UDP checksum 0.
TSHARK_VERDICTS = {
    TSHARK_BAD: Verdict.BAD,
    TSHARK_GOOD: Verdict.GOOD,
    2: Verdict.UNVERIFIABLE,
    None: Verdict.UNVERIFIABLE,
}
FRAGMENT_FIELDS = {
    "nxt": lambda fragment: fragment.next_header,
    "offset": lambda fragment: fragment.fragment_offset,
    "more": lambda fragment: fragment.more_fragments,
    "ident": lambda fragment: fragment.identification,
}


@pytest.fixture(scope="module")
def records():
    """Return each record with its bytes and packet, except records without an IPv6 header."""
    found, rejected = [], 0
    with gzip.open(Path(CORPUS, "ipv6.jsonl.gz"), "rt") as lines:
        for line in lines:
            record = json.loads(line)
            data = bytes.fromhex(record["hex"])
            try:
                found.append((record, data, parse(data, link_type=LINKTYPE_IPV6, wire_length=record["wire_len"])))
            except (TruncatedError, MalformedError):
                assert len(data) < 40 or data[0] >> 4 != 6
                rejected += 1
    assert (len(found), rejected) == (899, 7)
    return found


def test_build_of_parsed_ipv6_packet_returns_the_same_bytes(records):
    for record, data, packet in records:
        assert build(packet) == data, record["id"]


def test_ipv6_fields_equal_tshark(records):
    for record, _, packet in records:
        assert not differences(FIELDS, packet[IPv6], record["tshark"]["ipv6"]), record["id"]


def test_extension_headers_equal_tshark(records):
    compared = Counter()
    for record, _, packet in records:
        wanted = record["tshark"]["ipv6"]["ext"]
        if record["id"] == "8d95bc60c9abdfa5":
            wanted = []  # tshark lists a routing header of which less than 8 bytes are present
        ours = [name for header in packet for name, kind in EXTENSIONS.items() if type(header) is kind]
        assert sorted(ours) == sorted(wanted), record["id"]
        compared.update(ours)
        fragment = record["tshark"]["ipv6"]["frag"]
        if fragment:
            assert not differences(FRAGMENT_FIELDS, packet[Fragment], fragment), record["id"]
    assert min(compared[name] for name in EXTENSIONS) > 20


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [("tcp", TCP, TCP_FIELDS), ("udp", UDP, UDP_FIELDS), ("icmpv6", ICMPv6, ICMPV6_FIELDS)],
)
def test_transport_fields_and_verdicts_over_ipv6_equal_tshark(records, name, kind, fields):
    verdicts = Counter()
    for record, _, packet in records:
        wanted = record["tshark"].get(name)
        if wanted is None:  # another protocol, a later fragment or a tunnel: the corpus has no inner transport header
            continue
        header = packet.transport
        if isinstance(header, TruncatedHeader):  # tshark gives the fields that are present
            assert header.layer is kind, record["id"]
            assert not differences({field: itemgetter(field) for field in header.values}, header.values, wanted)
            assert wanted["checksum_status"] is None, record["id"]
            continue
        assert not differences(fields, packet[kind], wanted), record["id"]
        verdict = {each.layer: each.verdict for each in checksums(packet)}[kind.__name__]
        assert verdict is TSHARK_VERDICTS[wanted["checksum_status"]], record["id"]
        verdicts[verdict] += 1
    assert min(verdicts.values()) >= 5
    assert verdicts.total() > 170


def test_findings_and_texts_of_every_ipv6_packet_do_not_raise(records):
    for _, _, packet in records:
        findings(packet)
        assert summary(packet).startswith("IP6 ")
        assert listing(packet, verbose=True).startswith("=== Parsed IP Packet ===\nIP Packet:\n  Version: IPv6\n")
        json.dumps(to_dict(packet))
