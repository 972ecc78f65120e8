"""Hypothesis strategies for packets, with numbers as wide as the fields in each header's LAYOUT."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunlab.packet import (
    ARP,
    ICMP,
    IGMP,
    TCP,
    UDP,
    VLAN,
    Ethernet,
    GroupRecord,
    ICMPv6Echo,
    IPFlag,
    IPv4,
    IPv6,
    Packet,
    TCPFlag,
    ip_options,
    tcp_options,
)
from tunlab.packet.options import MAX_OPTIONS_LENGTH, Option, pad_options
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.transport.icmp import ERRORS, ICMPType

# The same examples in every run, so that a failure can be reproduced. No deadline: a slow machine is not a failure.
EXACT = settings(derandomize=True, database=None, deadline=None)


def sampled(examples: int) -> settings:
    """Return the shared settings with this number of examples."""
    return settings(EXACT, max_examples=examples)


def numbers(bits: int) -> st.SearchStrategy[int]:
    """Generate numbers of a field of `bits` bits, with its lowest and highest value more often than by chance."""
    return st.one_of(st.sampled_from([0, 1, (1 << bits) - 1]), st.integers(0, (1 << bits) - 1))


def fields(layer, *names, **given):
    """Generate headers of the class `layer` whose named fields have any number that fits."""
    widths = dict(layer.LAYOUT)
    return st.builds(layer, **{name: numbers(widths[name]) for name in names}, **given)


addresses = st.ip_addresses(v=4).map(str)
sources = st.ip_addresses(network="0.0.0.0/1").map(str)  # neither multicast nor broadcast
destinations = addresses.filter(lambda address: not address.startswith("0."))
payloads = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\0", bytes(64), b"\xff" * 65]))


def _without_repeats(options):
    kept = {getattr(each, "GROUP", "") or at: each for at, each in enumerate(options)}
    return list(kept.values())


def option_lists(*kinds):
    """Generate lists of options of at most 40 bytes, with at most one option of each class attribute `GROUP`."""
    lists = st.lists(st.one_of(*kinds), max_size=6).map(_without_repeats)
    return lists.filter(lambda options: len(pad_options(b"".join(map(bytes, options)))) <= MAX_OPTIONS_LENGTH)


routes = {
    kind: st.builds(kind, st.lists(addresses, max_size=4), st.integers(1, 63).map(lambda n: n * 4))
    for kind in (ip_options.RecordRoute, ip_options.LooseSourceRoute, ip_options.StrictSourceRoute)
}
IP_OPTIONS = {
    **routes,
    ip_options.Timestamp: st.builds(
        ip_options.Timestamp,
        words=st.lists(st.tuples(numbers(32), numbers(32)), max_size=2).map(lambda pairs: sum(pairs, ())),
        pointer=st.sampled_from([5, 13]),
        overflow=st.integers(0, 14),
        flag=st.sampled_from([0, 1, 3]),
    ),
    ip_options.Security: st.builds(ip_options.Security, level=numbers(8), authorities=st.binary(max_size=8)),
    ip_options.CIPSO: st.builds(ip_options.CIPSO, domain=numbers(32), tags=st.binary(min_size=2, max_size=8)),
    ip_options.StreamIdentifier: st.builds(ip_options.StreamIdentifier, identifier=numbers(16)),
    ip_options.RouterAlert: st.builds(ip_options.RouterAlert, value=numbers(16)),
}
TCP_OPTIONS = {
    tcp_options.MSS: st.builds(tcp_options.MSS, size=numbers(16)),
    tcp_options.WindowScale: st.builds(tcp_options.WindowScale, shift=st.integers(0, 14)),
    tcp_options.SACKPermitted: st.just(tcp_options.SACKPermitted()),
    tcp_options.SACK: st.builds(
        tcp_options.SACK, blocks=st.lists(st.tuples(numbers(32), numbers(32)), min_size=1, max_size=4).map(tuple)
    ),
    tcp_options.Timestamps: st.builds(tcp_options.Timestamps, value=numbers(32), echo_reply=numbers(32)),
    tcp_options.FastOpen: st.builds(
        tcp_options.FastOpen, cookie=st.sampled_from([0, 4, 6, 16]).flatmap(lambda n: st.binary(min_size=n, max_size=n))
    ),
    tcp_options.MD5: st.builds(tcp_options.MD5, digest=st.binary(min_size=16, max_size=16)),
    tcp_options.AO: st.builds(
        tcp_options.AO, key_id=numbers(8), receive_next_key_id=numbers(8), mac=st.binary(max_size=12)
    ),
}
unknown_options = st.builds(Option, st.sampled_from([30, 94, 133, 222, 254]), st.binary(max_size=8))
nops = st.just(ip_options.NOP)

# Most generated packets have options, to test source routes often: they change the destination that checksums cover.
headers = fields(
    IPv4,
    "dscp",
    "ecn",
    "identification",
    src=sources,
    ttl=st.integers(1, 255),
    dst=destinations,
    flags=st.sampled_from([IPFlag(0), IPFlag.DF]),
    options=st.one_of(st.just(b""), option_lists(nops, unknown_options, *IP_OPTIONS.values())),
)
# Errors must quote a packet, and timestamp messages carry timestamps. test_icmp.py and golden.py have them.
WITHOUT_CONTENT = sorted(set(range(256)) - ERRORS - {ICMPType.TIMESTAMP, ICMPType.TIMESTAMP_REPLY})
icmp = fields(ICMP, "code", "identifier", "sequence_number", type=st.sampled_from(WITHOUT_CONTENT))
udp = fields(UDP, "src_port", "dst_port", checksum=st.sampled_from([None, None, 0]))
tcp = fields(
    TCP,
    "src_port",
    "dst_port",
    "seq",
    "ack",
    "window",
    "urgent_pointer",
    # With SYN, because MSS, window scale and SACK permitted are allowed in SYN segments only.
    flags=st.sampled_from([TCPFlag.SYN | each for each in (0, TCPFlag.ACK, TCPFlag.ECE | TCPFlag.CWR, TCPFlag.AE)]),
    options=st.one_of(st.just(b""), option_lists(nops, unknown_options, *TCP_OPTIONS.values())),
)
records = st.builds(
    GroupRecord,
    type=numbers(8),
    group=addresses,
    sources=st.lists(addresses, max_size=3).map(tuple),
    auxiliary=st.sampled_from([b"", b"auxiliar"]),
)
igmp = st.one_of(
    st.builds(IGMP.query, addresses, max_response_code=numbers(8)),
    st.builds(
        IGMP.query,
        addresses,
        max_response_code=numbers(8),
        sources=st.lists(addresses, max_size=3),
        robustness=numbers(3),
        interval_code=numbers(8),
    ),
    st.builds(IGMP.report, addresses),
    st.builds(IGMP.leave, addresses),
    st.builds(IGMP.report_v3, st.lists(records, max_size=3)),
)

# Protocols without a reader in this package: what follows the IP header is payload.
unknown_protocols = st.integers(0, 255).filter(lambda protocol: protocol not in IP_PAYLOADS)


def _fragment(ip, protocol, offset, more, payload):
    flags = IPFlag.MF if more else IPFlag(0)
    ip = replace(ip, protocol=protocol, fragment_offset=offset, flags=flags)
    return Packet.of(ip, payload[: len(payload) // 8 * 8] if more else payload)


# IGMP has no payload: bytes behind the message belong to its field `rest`.
transported = st.one_of(
    st.builds(Packet.of, headers, st.one_of(icmp, udp, tcp), payloads),
    st.builds(Packet.of, headers, igmp, st.just(b"")),
)
raw = st.builds(
    lambda ip, protocol, payload: Packet.of(replace(ip, protocol=protocol), payload),
    headers,
    unknown_protocols,
    payloads,
)
later_fragments = st.builds(
    _fragment, headers, numbers(8), st.integers(1, 8000), st.booleans(), st.binary(min_size=8, max_size=64)
)
first_fragments = st.builds(
    lambda ip, header, words: Packet.of(replace(ip, flags=IPFlag.MF), header, bytes(words * 8)),
    headers,
    st.one_of(icmp, udp),
    st.integers(0, 8),
)
addresses6 = st.ip_addresses(v=6).filter(lambda address: not address.is_multicast and int(address)).map(str)
headers6 = fields(IPv6, "dscp", "ecn", "flow_label", "hop_limit", src=addresses6, dst=addresses6)
transported6 = st.builds(
    Packet.of,
    headers6,
    st.one_of(fields(UDP, "src_port", "dst_port"), tcp, fields(ICMPv6Echo, "identifier", "sequence_number")),
    payloads,
)
healthy = st.one_of(transported, raw, later_fragments, first_fragments)
"""Packets without a forced field and without findings."""

forced = fields(
    IPv4,
    "ihl",
    "dscp",
    "ecn",
    "total_length",
    "identification",
    "flags",
    "fragment_offset",
    "ttl",
    "checksum",
    src=addresses,
    dst=addresses,
    protocol=st.sampled_from([1, 2, 6, 17, 89]),
    options=st.binary(max_size=44),
)
forced_transports = st.one_of(
    fields(ICMP, *dict(ICMP.LAYOUT)),
    fields(UDP, *dict(UDP.LAYOUT)),
    fields(TCP, *dict(TCP.LAYOUT), options=st.binary(max_size=44)),
    fields(IGMP, "type", "max_response_code", "checksum", group=addresses, rest=st.binary(max_size=20)),
)
ill = st.builds(Packet.of, forced, forced_transports, payloads)
"""Packets in which every field is forced to any value, so that nearly all of them have findings."""

macs = st.binary(min_size=6, max_size=6)
stations = macs.map(lambda data: bytes([data[0] & 0xFE]) + data[1:])
ethernet = st.builds(Ethernet, dst=macs, src=stations)
tags = st.lists(fields(VLAN, "pcp", "dei", vid=st.integers(0, 4094)), max_size=3)
arp = fields(
    ARP,
    "operation",
    sender_hardware=st.one_of(st.none(), stations),
    target_hardware=macs,
    sender_protocol=addresses,
    target_protocol=addresses,
)
