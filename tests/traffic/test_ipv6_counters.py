"""IPv6 packets, correct, faulty and mutated, whose findings predict which error counters of the kernel move.

`COUNTERS_OF_FINDINGS` has the counters of findings, and `discarded_by_receiver` the reasons for which this receiver may
discard packets that are correct.
"""

from collections import Counter
from ipaddress import ip_address, ip_network

import pytest

from tunlab.errors import PacketError
from tunlab.kernel.network.counters import counter_changes
from tunlab.packet import (
    AH,
    ICMP,
    TCP,
    UDP,
    DestinationOptions,
    Extension,
    FindingKind,
    Fragment,
    HopByHop,
    ICMPv6,
    ICMPv6Echo,
    IPv6,
    NeighborAdvertisement,
    NeighborSolicitation,
    Routing,
    TCPFlag,
    TruncatedHeader,
    build,
    findings,
    ipv6_options,
    nd_options,
    parse,
    summary,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6
from tunlab.packet.tables import ICMPV6_MESSAGES, NO_NEXT_HEADER

HOST, PEER = "fd00::1", "fd00::2"
IP = IPv6(src=PEER, dst=HOST)
PING = ICMPv6.echo_request(1, 2)
SYN = TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN)
CAUSE = build(IPv6(src=HOST, dst=PEER), ICMPv6.echo_request(3, 4), b"data")
SOLICITATION = NeighborSolicitation(target=HOST)
SOURCE = nd_options.SourceLinkLayerAddress("02:00:00:00:00:02")
UNREACHABLE = ICMPv6.unreachable(4)

HEADER, TRUNCATED = "Ip6.InHdrErrors", "Ip6.InTruncatedPkts"
ADDRESS, ROUTE = "Ip6.InAddrErrors", "Ip6.InNoRoutes"
PROTOCOL, ICMP_ERROR, ICMP_CHECKSUM = "Ip6.InUnknownProtos", "Icmp6.InErrors", "Icmp6.InCsumErrors"
UDP_ERROR, UDP_CHECKSUM = "Udp6.InErrors", "Udp6.InCsumErrors"
TCP_ERROR, TCP_CHECKSUM = "Tcp.InErrs", "Tcp.InCsumErrors"
ERRORS = (
    HEADER, TRUNCATED, ADDRESS, ROUTE, PROTOCOL,
    ICMP_ERROR, ICMP_CHECKSUM, UDP_ERROR, UDP_CHECKSUM, TCP_ERROR, TCP_CHECKSUM,
)  # fmt: skip
SILENT = frozenset[str]()
QUOTE = 48
"""The kernel needs so many bytes of a quoted packet: its header, and eight bytes to find the socket."""

COUNTERS_OF_FINDINGS = {
    ("IPv6", "src", FindingKind.ADDRESS): {HEADER},
    ("IPv6", "dst", FindingKind.ADDRESS): {HEADER},
    ("IPv6", "payload_length", FindingKind.TRUNCATED): {TRUNCATED},
    ("HopByHop", "next_header", FindingKind.VALUE): {PROTOCOL},
    ("UDP", "checksum", FindingKind.CHECKSUM): {UDP_ERROR, UDP_CHECKSUM},
    ("UDP", "checksum", FindingKind.VALUE): {UDP_ERROR, UDP_CHECKSUM},
    ("UDP", "length", FindingKind.LENGTH): {UDP_ERROR},
    ("UDP", "length", FindingKind.TRUNCATED): {UDP_ERROR},
    ("UDP", "header", FindingKind.TRUNCATED): {UDP_ERROR},
    ("TCP", "checksum", FindingKind.CHECKSUM): {TCP_ERROR, TCP_CHECKSUM},
    ("TCP", "data_offset", FindingKind.LENGTH): {TCP_ERROR},
    ("TCP", "data_offset", FindingKind.TRUNCATED): SILENT,  # tcp_v6_rcv() counts no error for this or a short header
    ("TCP", "header", FindingKind.TRUNCATED): SILENT,
    ("ICMPv6", "checksum", FindingKind.CHECKSUM): {ICMP_ERROR, ICMP_CHECKSUM},
    ("ICMPv6", "header", FindingKind.TRUNCATED): {ICMP_ERROR, ICMP_CHECKSUM},
    ("ICMPv6", "type", FindingKind.TRUNCATED): {ICMP_ERROR},
    **{
        (layer, field, kind): {HEADER}
        for layer in ("HopByHop", "DestinationOptions", "Routing", "Fragment")
        for field in ("header", "length", "options", "fragment_offset", "more_fragments")
        for kind in (FindingKind.TRUNCATED, FindingKind.OPTION, FindingKind.VALUE, FindingKind.FRAGMENT)
    },
}
"""The counters that move because of a finding, by its layer, field and kind. The kernel accepts other faults."""


def discarded_for(found):
    """Return the counters that move because of findings about one header; None if the kernel reads on."""
    # Sort a bad ICMPv6 checksum first, because the kernel verifies it before it reads the message.
    for each in sorted(found, key=lambda each: (each.layer, each.field) != ("ICMPv6", "checksum")):
        if each.layer == "ICMPv6" and "quote" in each.rule and (each.present or 0) < QUOTE:
            return {ICMP_ERROR}
        counters = COUNTERS_OF_FINDINGS.get((each.layer, each.field, each.kind))
        if counters is not None:
            return counters
    return None


def discarded_by_receiver(header, following, packet, found):
    """Return the counters that move because this receiver does not want `header`; None if it reads on."""
    counters = None
    match header:
        case IPv6() if header is not packet.headers[0]:
            return {PROTOCOL}  # a packet inside a packet, but the host has no tunnel device
        case IPv6(src=src, dst=dst):
            if "::1" in (src, dst) or (dst.startswith("ff") and int(dst[2:4], 16) % 16 == 1):
                return {HEADER}  # loopback, or interface-local multicast (RFC 4291 section 2.7)
            if not following or not isinstance(following[0], HopByHop):
                counters = discarded_for_destination(dst)
        case HopByHop() | DestinationOptions():
            padding = 0
            for each in map(bytes, header.decoded_options):
                padding = padding + len(each) if each[0] < 2 else 0
                if padding > 7 or (each[0] >> 6 and each[0] != ipv6_options.JumboPayload.KIND):
                    return {HEADER}  # long padding (RFC 4942 2.1.9.5), or an option to discard for (RFC 8200 4.2)
            if isinstance(header, HopByHop):
                counters = discarded_for_destination(packet.headers[0].dst)
        case Routing(type=3 | 4):
            return SILENT  # because net.ipv6.conf.*.rpl_seg_enabled and seg6_enabled are 0
        case Routing(segments_left=left) if left:
            return {HEADER}  # the routing type is unknown (RFC 8200 section 4.4)
        case Fragment(fragment_offset=offset, more_fragments=more) if offset or more:
            # The first fragment must have all headers (RFC 7112). Other fragments wait for the rest of their packet.
            is_cut = not offset and any(each.kind is FindingKind.TRUNCATED for each in found)
            return {HEADER} if is_cut else SILENT
        case AH():
            return {PROTOCOL}  # the host has no IPsec security association
        case ICMPv6() if type(header) is ICMPv6 and header.type not in ICMPV6_MESSAGES:
            # The message type is unknown. The kernel needs a header of eight bytes, and for an error the quoted packet.
            needed = 4 + QUOTE if header.is_error else 4
            return {ICMP_ERROR} if len(packet.payload) < needed else SILENT
    if counters is None and not following and isinstance(header, (IPv6, Extension)):
        return SILENT if header.next_header == NO_NEXT_HEADER else {PROTOCOL}
    if counters is None and not isinstance(header, (IPv6, Extension, TCP, UDP, ICMPv6, TruncatedHeader)):
        return {PROTOCOL}
    return counters


def discarded_for_destination(dst):
    """Return the counters that move because `dst` is not an address of the receiver; None if it is."""
    if dst.startswith("ff"):
        return None if dst == "ff02::1" else SILENT  # the host has not joined other multicast groups
    if dst == HOST:
        return None
    return (
        {ADDRESS} if dst in ("::", "fd00::") or ip_address(dst) in ip_network(f"{HOST}/64", strict=False) else {ROUTE}
    )


def discarded(data):
    """Return the counters that move because the kernel discards a packet; None if it accepts it."""
    try:
        packet = parse(data, link_type=LINKTYPE_IPV6)
    except PacketError:
        return {HEADER}
    found, at = findings(packet), 0
    if any(each.kind is FindingKind.OFFLOAD for each in found):
        return discarded(data[:40])  # for the kernel, payload length 0 means no payload
    for index, header in enumerate(packet.headers):
        following = packet.headers[index + 1 :]
        end = at + header.header_length if following else len(data) + 1
        counters = discarded_for([each for each in found if at <= each.offset < end])
        if counters is None:
            counters = discarded_by_receiver(header, following, packet, found)
        if counters is not None:
            return counters
        at = end
    return None


def option(kind, data=b"abcd"):
    return ipv6_options.IPv6Option(kind, data)


def fragment(*parts, **fields):
    return build(IP, Fragment(**fields), *parts)


CRAFTED = {
    "ping": build(IP, PING, b"data"),
    "ping to all nodes": build(IP.replace(dst="ff02::1"), PING),
    "hop limit 0": build(IP.replace(hop_limit=0), PING),
    "39 bytes": build(IP, PING)[:39],
    "cut short": build(IP, PING)[:-1],
    "with a trailer": build(IP, PING) + b"trailer",
    "nothing follows": build(IP),
    "unknown protocol": build(IP.replace(next_header=253), b"x"),
    "ICMP of IPv4": build(IP, ICMP.echo_request(1, 2)),
    "multicast source": build(IP.replace(src="ff02::1"), PING),
    "multicast scope 0": build(IP.replace(dst="ff00::1"), PING),
    "multicast within the host": build(IP.replace(dst="ff01::1"), PING),
    "group without members": build(IP.replace(dst="ff02::99"), PING),
    "loopback source": build(IP.replace(src="::1"), PING),
    "loopback destination": build(IP.replace(dst="::1"), PING),
    "other destination": build(IP.replace(dst="fd00::9"), PING),
    "hop-by-hop, router alert": build(IP, HopByHop(options=[ipv6_options.RouterAlert()]), PING),
    "hop-by-hop, to another host": build(IP.replace(dst="fd00::9"), HopByHop(), PING),
    "hop-by-hop, second": build(IP, DestinationOptions(), HopByHop(), PING),
    "hop-by-hop, past the end": build(IP, HopByHop(next_header=58, length=9, options=bytes(6)), PING),
    "hop-by-hop, router alert of a wrong length": build(IP, HopByHop(options=[option(5)]), PING),
    "hop-by-hop, jumbo payload of a wrong length": build(IP, HopByHop(options=[option(0xC2, b"abc")]), PING),
    "hop-by-hop, jumbo payload": build(IP, HopByHop(options=[ipv6_options.JumboPayload(70_000)]), PING),
    **{
        f"{kind.__name__}, {name}": build(IP, kind(options=options), PING)
        for kind in (HopByHop, DestinationOptions)
        for name, options in {
            "without options": b"",
            "unknown option": [option(0x1E)],
            "unknown option to discard": [option(0x5E)],
            "unknown option to answer": [option(0x9E)],
            "option past the end": b"\x1e\x09" + bytes(4),
            "option without a length": b"\x1e\3abc\x1e",
            "padding that is not zero": b"\1\4\0\1\0\0",
            "padding of 14 bytes": bytes(14),
        }.items()
    },
    "destination options, past the end": build(IP, DestinationOptions(next_header=58, length=9), PING),
    "routing, type 0": build(IP, Routing(type=0, data=bytes(4)), PING),
    "routing, type 0, segments left": build(IP, Routing(type=0, segments_left=1, data=bytes(20)), PING),
    "routing, type 4": build(IP, Routing(type=4, segments_left=1, data=b"\1\0\0\0" + bytes(32)), PING),
    "routing, unknown type": build(IP, Routing(type=9, data=bytes(4)), PING),
    "routing, unknown type, segments left": build(IP, Routing(type=9, segments_left=1, data=bytes(4)), PING),
    "routing, past the end": build(IP, Routing(next_header=58, length=9, data=bytes(4)), PING),
    "fragment, the only one": fragment(PING),
    "fragment, the first": fragment(UDP(1, 2, length=24), bytes(16), more_fragments=1, identification=5),
    "fragment, of an odd size": fragment(bytes(9), next_header=17, more_fragments=1, identification=6),
    "fragment, past 65535": fragment(bytes(8), next_header=17, fragment_offset=8191, identification=7),
    "fragment, header cut short": build(IP.replace(next_header=44), bytes(4)),
    "fragment, first without all headers": fragment(bytes([17, 5]) + bytes(6), next_header=60, more_fragments=1),
    "authentication header": build(IP, AH(), PING),
    "UDP": build(IP, UDP(1, 2), b"x"),
    "UDP, bad checksum": build(IP, UDP(1, 2, checksum=7), b"x"),
    "UDP, no checksum": build(IP, UDP(1, 2, checksum=0), b"x"),
    "UDP, length 7": build(IP, UDP(1, 2, length=7), b"x"),
    "UDP, length past the end": build(IP, UDP(1, 2, length=20), b"x"),
    "UDP, trailer": build(IP, UDP(1, 2, length=8), b"x"),
    "UDP, header cut short": build(IP.replace(next_header=17), bytes(7)),
    "TCP": build(IP, SYN),
    "TCP, bad checksum": build(IP, SYN.replace(checksum=1)),
    "TCP, data offset 4": build(IP, SYN.replace(data_offset=4)),
    "TCP, data offset past the end": build(IP, SYN.replace(data_offset=15)),
    "TCP, header cut short": build(IP.replace(next_header=6), bytes(19)),
    "ICMPv6, bad checksum": build(IP, PING.replace(checksum=5)),
    "ICMPv6, 3 bytes": build(IP.replace(next_header=58), bytes(3)),
    "ICMPv6, no bytes": build(IP.replace(next_header=58)),
    "ICMPv6, echo request cut short": build(IP, ICMPv6(128), b"12"),
    "ICMPv6, unknown message": build(IP, ICMPv6(200), bytes(4)),
    "ICMPv6, unknown error": build(IP, ICMPv6(100), bytes(4)),
    "ICMPv6, echo request with a code": build(IP, PING.replace(code=9)),
    "ICMPv6, echo reply": build(IP, ICMPv6.echo_reply(1, 2)),
    **{
        f"ICMPv6, {message.name} {name}": build(IP, message, quote)
        for message in (
            UNREACHABLE,
            ICMPv6.packet_too_big(1280),
            ICMPv6.time_exceeded(),
            ICMPv6.parameter_problem(6),
        )
        for name, quote in {
            "that quotes a packet": CAUSE,
            "without a packet": b"",
            "that quotes 39 bytes": CAUSE[:39],
            "that quotes 40 bytes": CAUSE[:40],
            "that quotes 47 bytes": CAUSE[:47],
        }.items()
    },
    "ICMPv6, error cut short": build(IP, ICMPv6(1)),
    "packet too big below 1280": build(IP, ICMPv6.packet_too_big(100), CAUSE),
    "neighbor advertisement": build(IP, NeighborAdvertisement(target=PEER, flags=2)),
}
"""Packets made by hand; the names say what they are."""

SOLICITATIONS = {
    "correct": (IP, SOLICITATION),
    "with the source's address": (IP, SOLICITATION.replace(options=bytes(SOURCE))),
    "with an unknown option": (IP, SOLICITATION.replace(options=bytes(nd_options.NDOption(200)))),
    "hop limit 64": (IP.replace(hop_limit=64), SOLICITATION),
    "code 1": (IP, SOLICITATION.replace(code=1)),
    "multicast target": (IP, NeighborSolicitation(target="ff02::1")),
    "option of length 0": (IP, SOLICITATION.replace(options=b"\1\0" + bytes(6))),
    "option past the end": (IP, SOLICITATION.replace(options=b"\1\2" + bytes(6))),
    "from the unspecified address to one node": (IP.replace(src="::"), SOLICITATION),
    "bad checksum": (IP, SOLICITATION.replace(checksum=1)),
    "cut short": (IP, ICMPv6(135)),
}

MUTATED = {
    "ping": ((IP, PING), 48),
    "hop-by-hop": ((IP, HopByHop(options=[ipv6_options.RouterAlert(), option(0x1E, b"")]), PING), 56),
    "destination options": ((IP, DestinationOptions(options=[option(0x1E)]), PING), 56),
    "routing": ((IP, Routing(type=9, data=bytes(4)), PING), 56),
    "fragment": ((IP, Fragment(), PING), 56),
    "UDP": ((IP, UDP(1, 2), b"data"), 48),
    "TCP": ((IP, SYN), 60),
    "unreachable": ((IP, UNREACHABLE, CAUSE), 44),
    "neighbor solicitation": ((IP, SOLICITATION), 64),
}
"""Packets, each with the number of bytes that are mutated."""


def mutants(parts, size):
    """Yield a packet with each of its first `size` bytes changed, also with its checksum corrected."""
    data = build(*parts)
    for at in range(1, size):  # not byte 0: a TUN rejects other IP versions
        for value in {0, 1, 0x3A, 0x3B, 0x7F, 0xFF, data[at] ^ 1, data[at] ^ 0x80} - {data[at]}:
            mutant = data[:at] + bytes((value,)) + data[at + 1 :]
            packet = parse(mutant, link_type=LINKTYPE_IPV6)
            if packet.ip.src == HOST or (UDP in packet and packet.udp.length == 0):
                continue  # a packet from the kernel's own address, or a UDP jumbogram (RFC 2675)
            yield at, mutant
            if getattr(packet.headers[-1], "checksum", None):
                headers = (*packet.headers[:-1], packet.headers[-1].replace(checksum=None))
                yield at, build(packet.replace(headers=headers))


@pytest.fixture
def tun(make_tun):
    """A TUN with the address HOST, once it receives packets for it."""
    tun = make_tun(ipv6=True)
    tun.device.add_address(f"{HOST}/64")
    for _ in range(1000):  # the kernel adds the local route in the background
        if moved_counters(tun, build(IP, PING))["Icmp6.InEchos"]:
            return tun
    raise AssertionError(f"the kernel does not receive packets for {HOST}")


def moved_counters(tun, data):
    """Inject a packet and return the counters that moved; the kernel receives it within the system call."""
    before = tun.counters
    tun.device.write(data)
    return Counter(counter_changes(before, tun.counters))


def moved_errors(tun, data):
    """Return the error counters that a packet moved, and True if it was an echo request that the kernel accepted."""
    moved = moved_counters(tun, data)
    return {name for name in ERRORS if moved[name]}, moved["Icmp6.InEchos"] == 1


def predicted(data):
    """Return what `moved_errors` must return."""
    counters = discarded(data)
    try:
        last = parse(data, link_type=LINKTYPE_IPV6).headers[-1]
    except PacketError:
        last = None
    is_ping = isinstance(last, ICMPv6Echo) and last.type == PING.type
    return set(counters or ()), counters is None and is_ping


@pytest.mark.parametrize("name", CRAFTED)
def test_findings_of_crafted_ipv6_packet_predict_counters(tun, name):
    assert moved_errors(tun, CRAFTED[name]) == predicted(CRAFTED[name])


@pytest.mark.parametrize("name", SOLICITATIONS)
def test_neighbor_solicitation_is_answered_only_without_findings(tun, name):
    data = build(*SOLICITATIONS[name])
    moved = moved_counters(tun, data)
    assert moved["Icmp6.OutNeighborAdvertisements"] == (findings(parse(data, link_type=LINKTYPE_IPV6)) == [])
    assert {each for each in ERRORS if moved[each]} == set(discarded(data) or ())


@pytest.mark.parametrize("name", MUTATED)
def test_findings_of_mutated_ipv6_packets_predict_counters(tun, name):
    wrong, number = {}, 0
    for at, data in mutants(*MUTATED[name]):
        moved, wanted = moved_errors(tun, data), predicted(data)
        number += 1
        if moved != wanted:
            wrong[at, data.hex()] = f"{moved} instead of {wanted}: {summary(parse(data, link_type=LINKTYPE_IPV6))}"
    assert wrong == {}
    assert number > 200
