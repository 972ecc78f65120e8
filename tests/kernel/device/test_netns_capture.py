"""The capture of a namespace: every packet on every interface, including later interfaces."""

import os
import select
import socket
import time
from pathlib import Path

import pytest

from tunlab.errors import KernelError
from tunlab.kernel import capture_drain
from tunlab.kernel.device.netns_capture import ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE, NetnsCapture
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace import guardian
from tunlab.kernel.namespace.netns import Netns


@pytest.fixture
def capture(netns):
    with NetnsCapture.open(netns) as capture:
        yield capture


def test_capture_includes_both_directions_of_interface_created_later(capture, tun, echo_request):
    request = echo_request()
    before = time.time_ns()
    tun.write(request)
    packets = capture.packets()
    assert [(each.ifname, each.packet.hardware_type, each.packet.outgoing) for each in packets] == [
        ("tun0", ARPHRD_NONE, False),
        ("tun0", ARPHRD_NONE, True),
    ]
    assert packets[0].packet.data == request
    assert packets[1].packet.data == tun.read()
    assert before <= packets[0].packet.time <= packets[1].packet.time <= time.time_ns()
    tun.write(request)
    again = capture.packets()
    assert again[:2] == packets, "a second call must return the earlier packets too"
    assert len(again) == 4


def test_capture_includes_packet_that_kernel_drops(capture, tun, echo_request):
    tun.write(echo_request(bad_checksum=True))
    assert [each.packet.data for each in capture.packets()] == [echo_request(bad_checksum=True)]


def test_packet_on_lo_is_captured_once(capture, netns):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.sendto(b"hello", sender.getsockname())
        packets = capture.packets()
        assert sender.recv(10) == b"hello"
    assert [(each.ifname, each.packet.hardware_type, each.packet.data[-5:]) for each in packets] == [
        ("lo", ARPHRD_LOOPBACK, b"hello")
    ]


def test_capture_names_veth_ends_and_leaves_deleted_interface_unnamed(capture, netns, rtnl):
    rtnl.add_veth("left", "right")
    for name in ("left", "right"):
        rtnl.set_link(rtnl.link_index(name), up=True)
    rtnl.add_address(rtnl.link_index("left"), "10.7.7.1/24")
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("10.7.7.2", 9))
        sender.send(b"who is it?")  # The kernel sends an ARP request before the datagram.
    packets = capture.packets()
    assert [(each.ifname, each.packet.hardware_type) for each in packets] == [
        ("left", ARPHRD_ETHER),
        ("right", ARPHRD_ETHER),
    ]
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("10.7.7.3", 9))
        sender.send(b"and you?")
    rtnl.delete_link(rtnl.link_index("left"))
    assert {each.ifname for each in capture.packets()[len(packets) :]} == {""}


def test_capture_continues_after_link_goes_down(capture, tun, echo_request):
    tun.down()
    tun.up()
    tun.write(echo_request())
    assert [each.ifname for each in capture.packets()] == ["tun0", "tun0"]
    tun.down()
    assert len(capture.packets()) == 2


def numbered(datagram, number, size):
    """Return a datagram that contains a number and gets no reply."""
    return datagram(size=size, protocol=253, dst="10.9.9.9")[:-4] + number.to_bytes(4, "big")


def numbers_in(packets):
    """Return the numbers in captured packets that `numbered` made."""
    return [int.from_bytes(each.packet.data[-4:], "big") for each in packets]


class TestManyPackets:
    """Captures that exceed the kernel's buffer of 32 MiB, which holds about 540 packets of 60,000 bytes."""

    def write(self, tun, datagram, count, between=lambda: None):
        for number in range(count):
            tun.write(numbered(datagram, number, 60_000))
            between()

    def test_lost_packets_are_counted_at_the_packet_that_follows_them(self, capture, tun, datagram):
        self.write(tun, datagram, 600)
        capture.drain()
        tun.write(numbered(datagram, 600, 60_000))
        packets = capture.packets()
        kept = len(packets)
        assert 300 < kept < 600
        assert capture.dropped == 601 - kept
        assert numbers_in(packets) == [*range(kept - 1), 600]
        assert [each.lost for each in packets] == [*[0] * (kept - 1), capture.dropped]
        assert capture.packets() == packets, "a second call must return the same"

    def test_drain_before_buffer_overflow_keeps_first_and_last_packets(self, capture, tun, datagram):
        self.write(tun, datagram, 800, capture_drain.drain_all)
        packets = capture.packets()
        numbers, kept = numbers_in(packets), len(packets)
        assert 300 < kept < 800
        gap = next(index for index, number in enumerate(numbers) if number != index)
        assert numbers == [*range(gap), *range(800 - kept + gap, 800)]
        assert 200 < gap < kept - 200
        assert capture.dropped == 800 - kept
        assert [each.lost for each in packets] == [capture.dropped * (index == gap) for index in range(kept)]

    def test_drain_of_closed_capture_does_nothing(self, netns, tun, datagram):
        capture = NetnsCapture.open(netns)
        capture.close()
        self.write(tun, datagram, 20, capture_drain.drain_all)


def test_drain_reads_capture_buffer_only_if_nearly_full(capture, tun, datagram):
    def is_empty():
        return not select.select([capture], [], [], 0)[0]

    for number in range(300):
        assert is_empty() == (number == 0)
        tun.write(numbered(datagram, number, 60_000))
        capture.drain()
    assert not is_empty(), "it must not drain while the buffer is far from full"
    capture.drain(expect_many=True)
    assert is_empty()


# Python 3.12 warns of a fork in a process with threads, and pytest-xdist starts threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_drain_of_capture_in_forked_child_does_nothing(capture, tun, datagram):
    for number in range(300):
        tun.write(numbered(datagram, number, 60_000))
    if not (child := os.fork()):
        capture.drain(expect_many=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(capture.packets()) == 300


def test_namespace_of_capture_can_be_opened_after_its_other_descriptors_are_closed():
    netns = Netns.create()
    capture, identity = NetnsCapture.open(netns), netns.identity
    with TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
    netns.close()
    with capture, capture.open_netns() as netns:
        assert netns.identity == identity
        assert "tun0" in netns.read_proc("dev")


def test_open_of_capture_in_closed_namespace_raises():
    with Netns.create() as netns:
        pass
    with pytest.raises(KernelError, match="closed"):
        NetnsCapture.open(netns)


def test_close_of_captures_passes_descriptors_to_guardian_in_batches(netns):
    waiting = []
    for _ in range(20):
        capture = NetnsCapture.open(netns)
        fd = capture.fileno()
        capture.close()
        capture.close()
        assert capture.closed
        assert capture.fileno() == -1
        waiting.append(Path(f"/proc/self/fd/{fd}").exists())
    assert len(guardian.descriptors()) <= 8, "at most seven wait to be closed, and one is the guardian's socket"
    assert waiting.count(False) in (2, 3), "every eighth close passes eight descriptors to the guardian"


def test_repr_of_capture_shows_descriptor_or_closed(capture):
    assert repr(capture) == f"<NetnsCapture on descriptor {capture.fileno()}>"
    capture.close()
    assert repr(capture) == "<NetnsCapture closed>"
