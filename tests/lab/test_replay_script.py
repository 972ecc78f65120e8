"""The packets, addresses, routes and listening ports that `script` finds in a recording, for its replay."""

import pytest

from tests.report.recordings import KERNEL, PEER, SESSION, recorded
from tunlab.errors import PacketError
from tunlab.lab.replay.script import script
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build
from tunlab.recorder import read_pcapng


def script_of(*packets):
    return script(list(read_pcapng(recorded(packets))))


def datagram(src, dst, *layers):
    return (IPv4(src=src, dst=dst), *(layers or (UDP(src_port=1, dst_port=2),)))


def test_replay_script_keeps_the_recorded_order_of_packets():
    result = script_of(*SESSION[:3])
    assert [(step.number, step.direction) for step in result.steps] == [(1, "in"), (2, "out"), (3, "in")]
    assert [step.data for step in result.steps] == [build(*layers) for _, *layers in SESSION[:3]]


def test_address_of_replay_script_is_the_destination_that_replies():
    result = script_of(
        *[("in", *datagram(PEER, "192.0.2.7"))] * 3, ("in", *datagram(PEER, KERNEL)), ("out", *datagram(KERNEL, PEER))
    )
    assert result.address == "10.1.2.1/24"


def test_address_of_replay_script_without_replies_is_the_most_common_destination():
    result = script_of(("in", *datagram(PEER, "192.0.2.7")), *[("in", *datagram(PEER, KERNEL))] * 2)
    assert (result.address, result.extra_addresses) == ("10.1.2.1/24", ())


def test_address_of_replay_script_is_never_multicast_or_broadcast():
    result = script_of(
        *[("in", *datagram(PEER, "224.0.0.1"))] * 2, *[("in", *datagram(PEER, "255.255.255.255"))] * 2,
        ("in", *datagram(PEER, KERNEL)),
    )  # fmt: skip
    assert result.address == "10.1.2.1/24"
    with pytest.raises(PacketError, match="--address"):
        script_of(("in", *datagram(PEER, "224.0.0.1")))


def test_extra_addresses_of_replay_script_are_other_addresses_that_reply():
    result = script_of(
        ("in", *datagram(PEER, KERNEL)), ("out", *datagram(KERNEL, PEER)),
        ("in", *datagram(PEER, "192.0.2.1")), ("out", *datagram("192.0.2.1", PEER)),
    )  # fmt: skip
    assert (result.address, result.extra_addresses) == ("10.1.2.1/24", ("192.0.2.1/32",))


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
