"""Replay scripts read from recordings: addresses, routes, ports with listeners, packets."""

import pytest

from tests.report.recordings import KERNEL, PEER, SESSION, recorded
from tunlab.errors import PacketError
from tunlab.lab.replay.script import script
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build
from tunlab.recorder import read_pcapng


def read(*packets):
    return script(list(read_pcapng(recorded(packets))))


def datagram(src, dst, *rest):
    return (IPv4(src=src, dst=dst), *(rest or (UDP(src_port=1, dst_port=2),)))


def test_script_steps_keep_recorded_order():
    played = read(*SESSION[:3])
    assert [(step.number, step.direction) for step in played.steps] == [(1, "in"), (2, "out"), (3, "in")]
    assert [step.data for step in played.steps] == [build(*layers) for _, *layers in SESSION[:3]]


def test_script_address_is_the_one_that_replies():
    played = read(
        *[("in", *datagram(PEER, "192.0.2.7"))] * 3, ("in", *datagram(PEER, KERNEL)), ("out", *datagram(KERNEL, PEER))
    )
    assert played.address == "10.1.2.1/24"


def test_script_address_without_replies_is_the_most_common_destination():
    played = read(("in", *datagram(PEER, "192.0.2.7")), *[("in", *datagram(PEER, KERNEL))] * 2)
    assert (played.address, played.extra_addresses) == ("10.1.2.1/24", ())


def test_script_address_skips_multicast_and_broadcast():
    played = read(
        *[("in", *datagram(PEER, "224.0.0.1"))] * 2, *[("in", *datagram(PEER, "255.255.255.255"))] * 2,
        ("in", *datagram(PEER, KERNEL)),
    )  # fmt: skip
    assert played.address == "10.1.2.1/24"
    with pytest.raises(PacketError, match="--address"):
        read(("in", *datagram(PEER, "224.0.0.1")))


def test_script_further_addresses_reply_too():
    played = read(
        ("in", *datagram(PEER, KERNEL)), ("out", *datagram(KERNEL, PEER)),
        ("in", *datagram(PEER, "192.0.2.1")), ("out", *datagram("192.0.2.1", PEER)),
    )  # fmt: skip
    assert (played.address, played.extra_addresses) == ("10.1.2.1/24", ("192.0.2.1/32",))


def test_script_routes_only_to_destinations_of_sent_packets():
    """A destination that the kernel did not answer may have had no route when it was recorded."""
    played = read(
        ("in", *datagram("192.0.2.1", KERNEL)), ("out", *datagram(KERNEL, "192.0.2.1")),
        ("in", *datagram("192.0.2.2", KERNEL)), ("out", *datagram(KERNEL, "224.0.0.22")),
    )  # fmt: skip
    assert played.routes == ("192.0.2.1/32",)


def test_script_lists_ports_with_listeners():
    syn_ack = TCP(src_port=80, dst_port=9, flags=TCPFlag.SYN | TCPFlag.ACK)
    refused = build(*datagram(PEER, KERNEL, UDP(src_port=9, dst_port=54)))
    played = read(
        ("in", *datagram(PEER, KERNEL, TCP(src_port=9, dst_port=80, flags=TCPFlag.SYN))),
        ("out", *datagram(KERNEL, PEER, syn_ack)),
        ("in", *datagram(PEER, KERNEL, TCP(src_port=9, dst_port=81, flags=TCPFlag.SYN))),
        ("out", *datagram(KERNEL, PEER, TCP(src_port=81, dst_port=9, flags=TCPFlag.RST | TCPFlag.ACK))),
        ("in", *datagram(PEER, KERNEL, UDP(src_port=9, dst_port=53))),
        ("in", refused),
        ("out", *datagram(KERNEL, PEER, ICMP.unreachable(3), refused)),
        ("in", *datagram(PEER, KERNEL, UDP(src_port=9, dst_port=55, checksum=0x1234))),
    )
    assert (played.tcp_ports, played.udp_ports) == ((80,), (53,))
