"""The kernel as the other side of frames: it answers what this package builds, and its own frames have no findings."""

import pytest

from tunlab.kernel.device.tun import TunDevice
from tunlab.packet import (
    ARP,
    GRE,
    ICMP,
    UDP,
    VLAN,
    ARPOperation,
    Ethernet,
    GREFlag,
    ICMPType,
    IPv4,
    IPv6,
    Packet,
    build,
    complete,
    findings,
    parse,
    summary,
)

HERE, PEER = "10.7.7.1", "10.7.7.2"
PEER_MAC, BROADCAST = "02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def tap(netns):
    with TunDevice.create(netns, "tap0", mode="tap") as tap:
        tap.configure([f"{HERE}/24"])
        yield tap


def answer(tap, *parts):
    """Write a frame, and return the kernel's next one."""
    tap.write(build(*parts))
    assert tap.wait(30)
    data = tap.read()
    packet = parse(data, link_type=1)
    assert build(packet) == data
    assert findings(packet) == []
    return packet


def question():
    return ARP(sender_protocol=PEER, target_protocol=HERE)


@pytest.mark.parametrize("tags", [(), (VLAN(vid=0, pcp=5),)], ids=["untagged", "priority-tagged"])
def test_kernel_answers_arp_request(tap, tags):
    packet = answer(tap, Ethernet(dst=BROADCAST, src=PEER_MAC), *tags, question())
    assert summary(packet) == f"ARP {HERE} is at {tap.hardware_address}"
    expected = ARP(
        operation=ARPOperation.REPLY,
        sender_protocol=HERE,
        target_hardware=PEER_MAC,
        target_protocol=PEER,
    )
    assert packet == complete(Packet.of(Ethernet(dst=PEER_MAC, src=tap.hardware_address), expected))


def test_kernel_answers_padded_echo_request_in_a_frame(tap):
    answer(tap, Ethernet(dst=BROADCAST, src=PEER_MAC), question())  # the kernel learns the peer's address
    request = Packet.of(
        Ethernet(dst=tap.hardware_address, src=PEER_MAC), IPv4(src=PEER, dst=HERE), ICMP.echo_request(1, 2), b"abc"
    )
    packet = answer(tap, request.padded())
    assert (packet.ethernet.dst, packet.ip.dst, packet.icmp.type) == (PEER_MAC, PEER, ICMPType.ECHO_REPLY)
    assert (packet.payload, packet.trailer) == (b"abc", b"")


def test_kernel_ignores_frame_of_another_vlan(tap):
    tap.write(build(Ethernet(dst=BROADCAST, src=PEER_MAC), VLAN(vid=7), question()))
    packet = answer(tap, Ethernet(dst=BROADCAST, src=PEER_MAC), question())
    assert packet.arp.operation == ARPOperation.REPLY
    assert not tap.wait(0)


@pytest.mark.parametrize(
    "inner",
    [
        (GRE(flags=GREFlag.CHECKSUM | GREFlag.KEY, key=7), IPv4(src=PEER, dst=HERE), UDP(1, 2)),
        (IPv4(src=PEER, dst=HERE), UDP(1, 2)),
        (IPv6(src="fd00::1", dst="fd00::2"), UDP(1, 2)),
    ],
    ids=["GRE", "IPIP", "6in4"],
)
def test_kernel_without_tunnel_device_quotes_the_whole_tunneled_packet(tun, inner):
    sent = Packet.of(IPv4(src=tun.peer, dst=tun.address), *inner, b"data")
    tun.inject(*sent.headers, sent.payload)
    error = tun.expect(ICMP.where(type=ICMPType.DESTINATION_UNREACHABLE, code=2))
    assert error.quoted == complete(sent)
    assert findings(error) == []
