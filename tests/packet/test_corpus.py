"""Compare the parser with tshark on 6,142 packets from public captures: every field and every checksum verdict."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    IPFlag,
    IPv4,
    IPv6,
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
from tunlab.packet.options import Option

CORPUS = os.environ.get("TUNLAB_CORPUS")
pytestmark = pytest.mark.skipif(
    not CORPUS, reason="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder"
)

TSHARK_BAD, TSHARK_GOOD, TSHARK_NOT_VERIFIED = 0, 1, 2

IP_FIELDS = {
    "version": lambda ip: ip.version,
    "hdr_len": lambda ip: ip.header_length,
    "dscp": lambda ip: ip.dscp,
    "ecn": lambda ip: ip.ecn,
    "len": lambda ip: ip.total_length,
    "id": lambda ip: ip.identification,
    "rb": lambda ip: int(IPFlag.RESERVED in ip.flags),
    "df": lambda ip: int(IPFlag.DF in ip.flags),
    "mf": lambda ip: int(IPFlag.MF in ip.flags),
    "frag_offset": lambda ip: ip.fragment_offset,
    "ttl": lambda ip: ip.ttl,
    "proto": lambda ip: ip.protocol,
    "checksum": lambda ip: ip.checksum,
    "src": lambda ip: ip.src,
    "dst": lambda ip: ip.dst,
    "cur_rt": lambda ip: ip.dst,
}
TCP_FIELDS = {
    "srcport": lambda tcp: tcp.src_port,
    "dstport": lambda tcp: tcp.dst_port,
    "seq_raw": lambda tcp: tcp.seq,
    "ack_raw": lambda tcp: tcp.ack,
    "hdr_len": lambda tcp: tcp.header_length,
    "flags": lambda tcp: tcp.reserved << 9 | tcp.flags,
    "window": lambda tcp: tcp.window,
    "checksum": lambda tcp: tcp.checksum,
    "urgent": lambda tcp: tcp.urgent_pointer,
    "options_raw": lambda tcp: tcp.options.hex(),
}
UDP_FIELDS = {
    "srcport": lambda udp: udp.src_port,
    "dstport": lambda udp: udp.dst_port,
    "length": lambda udp: udp.length,
    "checksum": lambda udp: udp.checksum,
}
ICMP_FIELDS = {
    "type": lambda icmp: icmp.type,
    "code": lambda icmp: icmp.code,
    "checksum": lambda icmp: icmp.checksum,
    "ident": lambda icmp: icmp.identifier,
    "seq": lambda icmp: icmp.sequence_number,
    "mtu": lambda icmp: icmp.mtu,
    "redir_gw": lambda icmp: icmp.gateway,
}
IGMP_FIELDS = {
    "version": lambda igmp: igmp.version,
    "type": lambda igmp: igmp.type,
    "checksum": lambda igmp: igmp.checksum,
    "maddr": lambda igmp: igmp.group,
}
PARTIAL_FIELDS = {
    "igmp": {"type": lambda fields: fields["type"]},
}


@pytest.fixture(scope="module")
def corpus():
    with gzip.open(Path(CORPUS, "ipv4.jsonl.gz"), "rt") as lines:
        return [json.loads(line) for line in lines]


def parsed_records(corpus):
    """Yield each record with its bytes and packet, except records without an IPv4 header."""
    for record in corpus:
        data = bytes.fromhex(record["hex"])
        try:
            packet = parse(data, wire_length=record["wire_len"])
        except (TruncatedError, MalformedError):
            continue
        if isinstance(packet.headers[0], IPv4):
            yield record, data, packet


def kind_of(option):
    return option.kind if isinstance(option, Option) else option.KIND


def options_readable(packet, layer):
    """Return True if all bytes of the header are present and its options can be read to their end."""
    return not any(each.layer == layer and each.field in ("options", "ihl", "data_offset") for each in findings(packet))


def differences(fields, header, wanted):
    return [
        (name, wanted[name], read(header))
        for name, read in fields.items()
        if wanted.get(name) is not None and read(header) != wanted[name]
    ]


def test_parse_rejects_only_data_without_an_ipv4_header(corpus):
    refused = Counter()
    for record in corpus:
        data = bytes.fromhex(record["hex"])
        try:
            parse(data)
        except (TruncatedError, MalformedError):
            assert len(data) < 20 or data[0] >> 4 != 4 or data[0] & 15 < 5, record["id"]
            refused["refused"] += 1
    assert len(corpus) == 6142
    assert 0 < refused["refused"] < 60


def test_build_of_parsed_packet_returns_the_same_bytes(corpus):
    for record, data, packet in parsed_records(corpus):
        assert build(packet) == data, record["id"]


def test_ip_fields_equal_tshark(corpus):
    compared = 0
    for record, _, packet in parsed_records(corpus):
        wanted = record["tshark"]["ip"]
        assert not differences(IP_FIELDS, packet[IPv4], wanted), record["id"]
        compared += sum(wanted.get(name) is not None for name in IP_FIELDS)
    assert compared > 85_000


def test_number_of_ip_headers_in_tunnels_equals_tshark(corpus):
    tunnels = 0
    for record, _, packet in parsed_records(corpus):
        inner = record["tshark"]["inner_ip_layers"]
        if inner:
            assert sum(isinstance(header, (IPv4, IPv6)) for header in packet) == 1 + inner, record["id"]
            tunnels += 1
    assert tunnels == 32


@pytest.mark.parametrize(
    ("name", "kind", "fields", "least"),
    [
        ("tcp", TCP, TCP_FIELDS, 39_000),
        ("udp", UDP, UDP_FIELDS, 4_500),
        ("icmp", ICMP, ICMP_FIELDS, 700),
        ("igmp", IGMP, IGMP_FIELDS, 400),
    ],
)
def test_transport_fields_equal_tshark(corpus, name, kind, fields, least):
    compared = partial = 0
    for record, _, packet in parsed_records(corpus):
        wanted = record["tshark"].get(name)
        if wanted is None:  # another protocol, a later fragment or a tunnel: the corpus has no inner transport header
            continue
        header = packet.transport
        if isinstance(header, TruncatedHeader):  # tshark gives the fields that are present
            given = PARTIAL_FIELDS[name]
            assert not differences(given, header.values, wanted), record["id"]
            partial += 1
        else:
            given = fields
            assert isinstance(header, kind), record["id"]
            assert not differences(given, header, wanted), record["id"]
        compared += sum(wanted.get(field) is not None for field in given)
    assert compared > least
    assert bool(partial) == (name in PARTIAL_FIELDS)


def test_ip_options_equal_tshark(corpus):
    compared = Counter()
    for record, _, packet in parsed_records(corpus):
        wanted = record["tshark"]["ip"]["options"]
        if options_readable(packet, "IPv4"):
            ours = packet[IPv4].decoded_options
            assert [kind_of(option) for option in ours] == [option["type"] for option in wanted], record["id"]
            assert [bytes(option).hex() for option in ours] == [option["raw"] for option in wanted], record["id"]
            lengths = [len(bytes(option)) if kind_of(option) > 1 else None for option in ours]
            assert lengths == [option["len"] for option in wanted], record["id"]
            compared.update(map(kind_of, ours))
    assert compared.total() > 100
    assert set(compared) >= {0, 1, 7, 68, 130, 131, 148}


def test_tcp_option_kinds_equal_tshark(corpus):
    compared = 0
    for record, _, packet in parsed_records(corpus):
        if "tcp" in record["tshark"] and isinstance(packet.transport, TCP) and options_readable(packet, "TCP"):
            kinds = record["tshark"]["tcp"]["option_kinds"]
            # tshark omits kind 30 (multipath TCP), and lists the padding behind the end of the options.
            kinds = kinds[: kinds.index(0) + 1] if 0 in kinds else kinds
            assert [kind for kind in map(kind_of, packet.tcp.decoded_options) if kind != 30] == kinds, record["id"]
            compared += len(kinds)
    assert compared > 4_000


def test_tcp_payload_length_equals_tshark(corpus):
    compared = 0
    for record, _, packet in parsed_records(corpus):
        wanted = (record["tshark"].get("tcp") or {}).get("len")
        if wanted is None or packet.missing or packet.tcp.data_offset < 5:
            continue  # tshark gives the length on the wire, and no length if the data offset is impossible
        assert len(packet.payload) == wanted, record["id"]
        compared += 1
    assert compared > 3_900


def test_checksum_verdicts_equal_tshark(corpus):
    verdicts = Counter()
    for record, _, packet in parsed_records(corpus):
        ours = {each.layer: each.verdict for each in reversed(checksums(packet))}
        for name, layer in (("ip", "IPv4"), ("tcp", "TCP"), ("udp", "UDP"), ("icmp", "ICMP"), ("igmp", "IGMP")):
            status = (record["tshark"].get(name) or {}).get("checksum_status")
            if status == TSHARK_NOT_VERIFIED and layer != "IPv4":
                assert ours.get(layer) is Verdict.UNVERIFIABLE, (record["id"], layer)
                verdicts[layer, TSHARK_NOT_VERIFIED] += 1
            if status in (TSHARK_BAD, TSHARK_GOOD):
                wanted = Verdict.GOOD if status == TSHARK_GOOD else Verdict.BAD
                if layer != "IPv4" and packet.ip.total_length > record["wire_len"]:
                    # tshark computes the checksum of a packet that is cut short, and calls it bad.
                    assert wanted is Verdict.BAD
                    wanted = Verdict.UNVERIFIABLE
                assert ours.get(layer) is wanted, (record["id"], layer)
                verdicts[layer, wanted] += 1
    assert verdicts["IPv4", Verdict.BAD] == 723
    assert [verdicts[layer, TSHARK_NOT_VERIFIED] for layer in ("TCP", "UDP", "ICMP")] == [43, 121, 3]
    assert min(verdicts[layer, Verdict.GOOD] for layer in ("IPv4", "TCP", "UDP", "ICMP", "IGMP")) > 50


def test_findings_and_texts_of_every_packet_do_not_raise(corpus):
    with_findings = 0
    for _, _, packet in parsed_records(corpus):
        with_findings += bool(findings(packet))
        assert listing(packet, verbose=True).startswith("=== Parsed IP Packet ===\nIP Packet:\n  Version: IPv4\n")
        assert summary(packet).startswith("IP ")
        json.dumps(to_dict(packet))
    assert 723 < with_findings < 3_000


def test_packets_quoted_by_icmp_errors_parse(corpus):
    quoted = 0
    for record, _, packet in parsed_records(corpus):
        if isinstance(packet.transport, ICMP) and packet.icmp.is_error and len(packet.payload) >= 28:
            inner = packet.quoted
            assert bytes(inner) == packet.payload[: packet.icmp.quoted_length], record["id"]
            quoted += 1
    assert quoted > 20
