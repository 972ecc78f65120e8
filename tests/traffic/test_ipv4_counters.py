"""Mutants of IPv4 packets, whose findings predict which error counters of the kernel move.

`COUNTERS_OF_FINDINGS` has the counters of findings, and `discarded_by_receiver` the reasons for which this receiver may
discard packets that are correct. The addresses are not mutated, because routing decides about them.
"""

from collections import Counter

import pytest

from tunlab.errors import PacketError
from tunlab.kernel.network.counters import counter_changes
from tunlab.packet import ICMP, TCP, UDP, FindingKind, IPv4, TCPFlag, build, findings, ip_options, parse, summary
from tunlab.traffic.tun import Tun

HOST, PEER = "10.1.2.1", "10.1.2.2"
IP = IPv4(src=PEER, dst=HOST)
CAUSE = build(IPv4(src=HOST, dst=PEER), ICMP.echo_request(3, 4), b"data")

HEADER, CHECKSUM, TRUNCATED = "Ip.InHdrErrors", "IpExt.InCsumErrors", "IpExt.InTruncatedPkts"
PROTOCOL, ICMP_ERROR, ICMP_CHECKSUM = "Ip.InUnknownProtos", "Icmp.InErrors", "Icmp.InCsumErrors"
UDP_ERROR, UDP_CHECKSUM = "Udp.InErrors", "Udp.InCsumErrors"
TCP_ERROR, TCP_CHECKSUM = "Tcp.InErrs", "Tcp.InCsumErrors"
ERRORS = (
    HEADER, CHECKSUM, TRUNCATED, PROTOCOL, ICMP_ERROR, ICMP_CHECKSUM, UDP_ERROR, UDP_CHECKSUM, TCP_ERROR, TCP_CHECKSUM,
)  # fmt: skip
PROTOCOLS = {1, 2, 6, 17}
"""ICMP, IGMP, TCP and UDP: the protocols that a host without tunnel devices has."""
SILENT = frozenset[str]()

COUNTERS_OF_FINDINGS = {
    ("IPv4", "ihl", FindingKind.TRUNCATED): {HEADER},
    ("IPv4", "checksum", FindingKind.CHECKSUM): {HEADER, CHECKSUM},
    ("IPv4", "total_length", FindingKind.LENGTH): {HEADER},
    ("IPv4", "total_length", FindingKind.OFFLOAD): {HEADER},
    ("IPv4", "total_length", FindingKind.TRUNCATED): {TRUNCATED},
    ("IPv4", "options", FindingKind.OPTION): {HEADER},
    ("UDP", "checksum", FindingKind.CHECKSUM): {UDP_ERROR, UDP_CHECKSUM},
    ("UDP", "length", FindingKind.LENGTH): {UDP_ERROR},
    ("UDP", "length", FindingKind.TRUNCATED): {UDP_ERROR},
    ("TCP", "checksum", FindingKind.CHECKSUM): {TCP_ERROR, TCP_CHECKSUM},
    ("TCP", "data_offset", FindingKind.LENGTH): {TCP_ERROR},
    ("TCP", "data_offset", FindingKind.TRUNCATED): SILENT,
    ("ICMP", "checksum", FindingKind.CHECKSUM): {ICMP_ERROR, ICMP_CHECKSUM},
    ("ICMP", "quoted packet", FindingKind.TRUNCATED): {ICMP_ERROR},
}
"""The counters that move because of a finding, by its layer, field and kind. The kernel accepts other faults."""

MUTATED = {
    "ping": (IP, ICMP.echo_request(1, 2), b"data"),
    "options": (IP.replace(options=[ip_options.NOP, ip_options.RouterAlert()]), ICMP.echo_request(1, 2)),
    "UDP": (IP, UDP(1, 99), b"data"),
    "TCP": (IP, TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN)),
    "unreachable": (IP, ICMP.unreachable(3), CAUSE),
}


ACCEPTED_RULES = ("bytes behind the end of the options", "(RouterAlert) has length")
"""The rules about options that `__ip_options_compile` does not check, by a part of their text."""
LAST_ICMP_TYPE = 18
"""The kernel counts ICMP messages of higher types as errors (NR_ICMP_TYPES in include/uapi/linux/icmp.h)."""
PROTOCOLS_WITH_SOCKETS = {6, 17, 136, 255}
"""The protocols for which the kernel looks for the sender of a quoted packet; found by trying all 256."""
READ_FIRST = [("IPv4", "checksum"), ("TCP", "data_offset"), ("ICMP", "checksum")]
"""The fields that the kernel verifies before the others of the same header."""


def discarded(data):
    """Return the counters that move because the kernel discards a packet; an empty set if it accepts it."""
    try:
        packet = parse(data)
    except PacketError:
        return {HEADER}
    found = findings(packet)
    for each in sorted(found, key=lambda each: (each.layer != "IPv4", (each.layer, each.field) not in READ_FIRST)):
        if each.layer != "IPv4" and (packet.ip.is_fragment or packet.ip.protocol not in PROTOCOLS):
            break
        if not any(rule in each.rule for rule in ACCEPTED_RULES):
            counters = COUNTERS_OF_FINDINGS.get((each.layer, each.field, each.kind))
            if counters is not None:
                return set(counters)
    return discarded_by_receiver(packet)


def discarded_by_receiver(packet):
    """Return the counters that move because this receiver does not want a packet."""
    if packet.ip.is_fragment:
        return set()  # it waits for the other fragments
    if packet.ip.protocol not in PROTOCOLS:
        return {PROTOCOL}
    if ICMP in packet and packet.icmp.type > LAST_ICMP_TYPE:
        return {ICMP_ERROR}
    if ICMP in packet and packet.icmp.is_error:
        quote = packet.payload
        if not 5 <= quote[0] & 15 <= (len(quote) - 8) // 4 or quote[9] in PROTOCOLS_WITH_SOCKETS:
            return {ICMP_ERROR}  # icmp_unreach() rejects the IHL, or finds no socket that sent the quoted packet
    return set()


def mutants(parts):
    """Yield a packet with each byte changed, also with its header checksum and its transport checksum corrected."""
    data = build(*parts)
    start = parse(data).ip.header_length
    for at in [*range(12), *range(20, min(len(data), start + 20))]:
        for value in {0, 1, 4, 0x45, 0x7F, 0xFF, data[at] ^ 1, data[at] ^ 0x80} - {data[at]}:
            mutant = data[:at] + bytes((value,)) + data[at + 1 :]
            if mutant[0] >> 4 != 4:
                continue  # a TUN rejects other IP versions
            yield at, mutant
            packet = parse(mutant) if mutant[0] & 15 > 4 else None
            if packet is None:
                continue
            headers = (packet.headers[0].replace(checksum=None), *packet.headers[1:])
            yield at, build(packet.replace(headers=headers))
            if len(headers) > 1 and getattr(headers[-1], "checksum", None):
                yield at, build(packet.replace(headers=(*headers[:-1], headers[-1].replace(checksum=None))))


@pytest.fixture(scope="module")
def tun():
    """A TUN that all mutants share."""
    with Tun.create() as tun:
        yield tun


@pytest.mark.parametrize("name", MUTATED)
def test_findings_of_mutated_ipv4_packets_predict_counters(tun, name):
    wrong, number = {}, 0
    before = tun.counters
    for at, data in mutants(MUTATED[name]):
        tun.device.write(data)
        after = tun.counters
        moved = Counter(counter_changes(before, after))
        before, number = after, number + 1
        moved_errors, wanted = {each for each in ERRORS if moved[each]}, discarded(data)
        if moved_errors != wanted:
            wrong[at, data.hex()] = f"{sorted(moved_errors)} instead of {sorted(wanted)}: {summary(data)}"
    assert wrong == {}
    assert number > 200
