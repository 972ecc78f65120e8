"""The packets, addresses, routes and listening ports that `script` finds in a recording, for its replay."""

import pytest

from tests.report.recordings import KERNEL, PEER, SESSION, recorded
from tunlab.errors import PacketError
from tunlab.lab.replay.script import script
from tunlab.packet import ICMP, TCP, UDP, Ethernet, ICMPv6, IPv4, IPv6, NeighborSolicitation, TCPFlag, build
from tunlab.recorder import LINKTYPE_ETHERNET, LINKTYPE_RAW, read_pcapng

KERNEL6, PEER6 = "fd00::1", "fd00::2"


def script_of(*packets):
    return script(list(read_pcapng(recorded(packets))))


def datagram(src, dst, *layers):
    return (IPv4(src=src, dst=dst), *(layers or (UDP(src_port=1, dst_port=2),)))


def datagram6(src, dst, *layers):
    return (IPv6(src=src, dst=dst), *(layers or (UDP(src_port=1, dst_port=2),)))


def test_replay_script_keeps_the_recorded_order_of_packets():
    result = script_of(*SESSION[:3])
    assert [(step.number, step.direction) for step in result.steps] == [(1, "in"), (2, "out"), (3, "in")]
    assert [step.data for step in result.steps] == [build(*layers) for _, *layers in SESSION[:3]]


def test_address_of_replay_script_is_the_destination_that_replies():
    result = script_of(
        *[("in", *datagram(PEER, "192.0.2.7"))] * 3, ("in", *datagram(PEER, KERNEL)), ("out", *datagram(KERNEL, PEER))
    )
    assert result.addresses == ("10.1.2.1/24",)


def test_address_of_replay_script_without_replies_is_the_most_common_destination():
    result = script_of(("in", *datagram(PEER, "192.0.2.7")), *[("in", *datagram(PEER, KERNEL))] * 2)
    assert result.addresses == ("10.1.2.1/24",)


def test_address_of_replay_script_is_never_multicast_or_broadcast():
    result = script_of(
        *[("in", *datagram(PEER, "224.0.0.1"))] * 2, *[("in", *datagram(PEER, "255.255.255.255"))] * 2,
        ("in", *datagram(PEER, KERNEL)),
    )  # fmt: skip
    assert result.addresses == ("10.1.2.1/24",)
    with pytest.raises(PacketError, match="--address"):
        script_of(("in", *datagram(PEER, "224.0.0.1")))


def test_addresses_of_replay_script_include_others_that_reply():
    result = script_of(
        ("in", *datagram(PEER, KERNEL)), ("out", *datagram(KERNEL, PEER)),
        ("in", *datagram(PEER, "192.0.2.1")), ("out", *datagram("192.0.2.1", PEER)),
    )  # fmt: skip
    assert result.addresses == ("10.1.2.1/24", "192.0.2.1/32")


def test_replay_script_has_an_address_of_each_ip_version():
    result = script_of(
        ("in", *datagram(PEER, KERNEL)), ("in", *datagram6("fd00::2", "fd00::9")), ("in", *datagram6(PEER6, KERNEL6)),
        ("out", *datagram6(KERNEL6, PEER6)), ("in", *datagram6("fe80::2", "ff02::1")),
    )  # fmt: skip
    assert result.addresses == ("10.1.2.1/24", "fd00::1/64")


def test_address_of_replay_script_without_incoming_ipv6_is_the_source_of_sent_packets():
    result = script_of(("in", *datagram(PEER, KERNEL)), ("out", *datagram6(KERNEL6, "fd01::2")))
    assert (result.addresses, result.routes) == (("10.1.2.1/24", "fd00::1/64"), ("fd01::2/128",))


def test_address_of_replay_script_with_a_tunnel_is_in_the_outer_header():
    inner = datagram("192.0.2.1", "192.0.2.2")
    assert script_of(("in", IPv6(src=PEER6, dst=KERNEL6), *inner)).addresses == ("fd00::1/64",)


def test_routes_of_replay_script_lead_only_to_destinations_of_sent_packets():
    """The recorded kernel may have had no route to a host to which it sent nothing, so the replay adds none."""
    result = script_of(
        ("in", *datagram("192.0.2.1", KERNEL)), ("out", *datagram(KERNEL, "192.0.2.1")),
        ("in", *datagram("192.0.2.2", KERNEL)), ("out", *datagram(KERNEL, "224.0.0.22")),
    )  # fmt: skip
    assert result.routes == ("192.0.2.1/32",)


def test_replay_script_lists_ports_that_had_listeners():
    syn_ack = TCP(src_port=80, dst_port=9, flags=TCPFlag.SYN | TCPFlag.ACK)
    rejected = build(*datagram(PEER, KERNEL, UDP(src_port=9, dst_port=54)))
    result = script_of(
        ("in", *datagram(PEER, KERNEL, TCP(src_port=9, dst_port=80, flags=TCPFlag.SYN))),
        ("out", *datagram(KERNEL, PEER, syn_ack)),
        ("in", *datagram(PEER, KERNEL, TCP(src_port=9, dst_port=81, flags=TCPFlag.SYN))),
        ("out", *datagram(KERNEL, PEER, TCP(src_port=81, dst_port=9, flags=TCPFlag.RST | TCPFlag.ACK))),
        ("in", *datagram(PEER, KERNEL, UDP(src_port=9, dst_port=53))),
        ("in", rejected),
        ("out", *datagram(KERNEL, PEER, ICMP.unreachable(3), rejected)),
        ("in", *datagram(PEER, KERNEL, UDP(src_port=9, dst_port=55, checksum=0x1234))),
    )
    assert (result.tcp_ports, result.udp_ports) == ((80,), (53,))


def test_replay_script_has_no_listener_on_closed_udp_port_of_ipv6():
    rejected = build(*datagram6(PEER6, KERNEL6, UDP(src_port=9, dst_port=54)))
    result = script_of(
        ("in", *datagram6(PEER6, KERNEL6, UDP(src_port=9, dst_port=53))),
        ("in", rejected),
        ("out", *datagram6(KERNEL6, PEER6, ICMPv6.unreachable(4), rejected)),
    )
    assert result.udp_ports == (53,)


@pytest.mark.parametrize(("linktype", "numbers"), [(LINKTYPE_ETHERNET, [2]), (LINKTYPE_RAW, [1, 2])])
def test_replay_script_skips_neighbor_discovery_of_frames_only(linktype, numbers):
    link = (Ethernet(dst="02:00:00:00:00:01", src="02:00:00:00:00:02"),) if linktype == LINKTYPE_ETHERNET else ()
    packets = [
        ("in", *link, *datagram6(PEER6, KERNEL6, NeighborSolicitation(target=KERNEL6))),
        ("in", *link, *datagram6(PEER6, KERNEL6)),
    ]
    result = script(list(read_pcapng(recorded(packets, linktype=linktype))))
    assert [step.number for step in result.steps] == numbers
