"""The three laws for IPv6, its extension headers and the messages of ICMPv6, as Hypothesis properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.strategies import fields, forced_transports, numbers, payloads, sampled, tcp, unknown_protocols
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import (
    AH,
    MLD,
    UDP,
    DestinationOptions,
    Fragment,
    HopByHop,
    ICMPv6,
    ICMPv6Echo,
    IPv6,
    MLDv2Report,
    MulticastAddressRecord,
    NeighborAdvertisement,
    NeighborSolicitation,
    Packet,
    Redirect,
    RouterAdvertisement,
    RouterSolicitation,
    Routing,
    build,
    complete,
    findings,
    ipv6_options,
    listing,
    nd_options,
    parse,
    summary,
    to_dict,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6
from tunlab.packet.tables import ICMPV6_MESSAGES


def read(data, **more):
    return parse(data, link_type=LINKTYPE_IPV6, **more)


addresses = st.ip_addresses(v=6).filter(lambda address: not address.is_multicast and int(address)).map(str)
ipv6 = fields(IPv6, "dscp", "ecn", "flow_label", "hop_limit", src=addresses, dst=addresses)
ipv6_option_lists = st.lists(
    st.one_of(
        st.builds(ipv6_options.IPv6Option, st.sampled_from([0x1E, 0xC3]), st.binary(max_size=8)),
        st.builds(ipv6_options.PadN, st.integers(0, 5).map(bytes)),
        st.builds(ipv6_options.RouterAlert, numbers(16)),
        st.just(ipv6_options.IPv6Option(0)),
    ),
    max_size=4,
)
extensions = st.lists(
    st.one_of(
        st.builds(DestinationOptions, options=ipv6_option_lists),
        st.builds(Routing, type=st.integers(5, 255), segments_left=numbers(8), data=st.sampled_from([b"", bytes(20)])),
        st.builds(Routing, type=st.just(2), segments_left=st.just(1), data=st.just(bytes(20))),
        st.builds(Routing, type=st.just(4), segments_left=st.integers(0, 2), data=st.just(b"\1\0\0\0" + bytes(32))),
        fields(Fragment, "identification"),
        fields(AH, "spi", "sequence_number", icv=st.binary(max_size=20)),
    ),
    max_size=3,
)
hop_by_hop = st.lists(st.builds(HopByHop, options=ipv6_option_lists), max_size=1)
echo = fields(ICMPv6Echo, "code", "identifier", "sequence_number", type=st.sampled_from([128, 129]))


@given(ipv6, hop_by_hop, extensions, st.one_of(fields(UDP, "src_port", "dst_port"), tcp, echo), payloads)
@sampled(200)
def test_ipv6_obeys_the_three_laws(ip, hop_by_hop, extensions, transport, payload):
    packet = Packet.of(ip, *hop_by_hop, *extensions, transport, payload)
    data = build(packet)
    assert build(read(data)) == data
    assert read(data) == complete(packet)
    assert findings(packet) == []


link_local = st.ip_addresses(network="fe80::/10").map(str)
groups = st.ip_addresses(network="ff00::/8").map(str)
macs = st.binary(min_size=6, max_size=6)
nd_option_lists = st.lists(
    st.one_of(
        st.builds(nd_options.TargetLinkLayerAddress, macs),
        st.builds(
            nd_options.PrefixInformation, addresses, st.integers(0, 128), numbers(8), st.just(9), st.integers(0, 9)
        ),
        st.builds(nd_options.MTU, numbers(32)),
        st.builds(nd_options.RecursiveDNSServer, st.lists(addresses, min_size=1, max_size=3), numbers(32)),
        st.builds(nd_options.NDOption, st.sampled_from([24, 31, 253]), st.binary(max_size=20)),
    ),
    max_size=4,
)
discovery = st.one_of(
    st.builds(RouterSolicitation, options=nd_option_lists),
    fields(
        RouterAdvertisement, "cur_hop_limit", "flags", "preference", "router_lifetime", "reachable_time",
        "retrans_timer", options=nd_option_lists,
    ),
    st.builds(NeighborSolicitation, target=addresses, options=nd_option_lists),
    fields(NeighborAdvertisement, "flags", target=addresses, options=nd_option_lists),
    st.builds(Redirect, target=link_local, destination=addresses, options=nd_option_lists),
)  # fmt: skip
multicast_records = st.builds(
    MulticastAddressRecord,
    numbers(8),
    groups,
    st.lists(addresses, max_size=3).map(tuple),
    st.sampled_from([b"", b"auxiliar"]),
)
listener_messages = st.one_of(
    st.builds(MLD.query, groups, max_response_code=numbers(16)),
    st.builds(MLD.query, groups, sources=st.lists(addresses, max_size=3), robustness=numbers(3)),
    st.builds(MLD.report, groups),
    st.builds(MLD.done, groups),
    st.builds(MLDv2Report.of, st.lists(multicast_records, max_size=3)),
)


@given(
    fields(IPv6, "dscp", "ecn", "flow_label", src=link_local, dst=addresses),
    discovery.map(lambda message: [message])
    | listener_messages.map(lambda message: [HopByHop(options=[ipv6_options.RouterAlert()]), message]),
)
@sampled(300)
def test_neighbor_discovery_and_mld_messages_obey_the_three_laws(ip, parts):
    packet = Packet.of(ip, *parts)
    data = build(packet)
    assert build(read(data)) == data
    assert read(data) == complete(packet)
    assert findings(packet) == []


forced_ipv6 = fields(
    IPv6, "version", "dscp", "ecn", "flow_label", "payload_length", "hop_limit",
    src=addresses, dst=addresses,
    next_header=st.one_of(st.sampled_from([0, 4, 6, 17, 41, 43, 44, 51, 58, 59, 60]), unknown_protocols),
)  # fmt: skip
forced_extensions = st.lists(
    st.one_of(
        fields(HopByHop, "next_header", "length", options=st.binary(max_size=20)),
        fields(Routing, "next_header", "length", "type", "segments_left", data=st.binary(max_size=40)),
        fields(Fragment, *dict(Fragment.LAYOUT)),
        fields(AH, *dict(AH.LAYOUT), icv=st.binary(max_size=20)),
    ),
    max_size=2,
)


# ICMPv6 messages with a random body, of each type that has a class.
forced_messages = fields(ICMPv6, "type", "code", "checksum") | st.builds(
    ICMPv6, type=st.sampled_from(list(ICMPV6_MESSAGES))
)


@given(forced_ipv6, forced_extensions, forced_transports | forced_messages, payloads, st.integers(0, 200))
@sampled(500)
def test_law_1_with_forced_ipv6_packets_cut_at_any_length(ip, extensions, transport, payload, size):
    data = build(Packet.of(ip, *extensions, transport, payload))[:size]
    if len(data) < 40 or data[0] >> 4 != 6:
        with pytest.raises((TruncatedError, MalformedError)):
            read(data)
        return
    packet = read(data)
    assert build(packet) == data
    assert complete(packet) == packet
    found = findings(packet)
    assert [each.offset for each in found] == sorted(each.offset for each in found)
    assert summary(packet).startswith("IP6 ")
    assert listing(packet, verbose=True)
    assert to_dict(packet)["findings"] == list(map(str, found))
