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
def record(netns):
    with NetnsCapture.open(netns) as record:
        yield record


def test_packets_of_later_interface_in_both_directions(record, tun, echo_request):
    request = echo_request()
    before = time.time_ns()
    tun.write(request)
    passed = record.packets()
    assert [(each.ifname, each.hardware_type, each.packet.outgoing) for each in passed] == [
        ("tun0", ARPHRD_NONE, False),
        ("tun0", ARPHRD_NONE, True),
    ]
    assert passed[0].packet.data == request
    assert passed[1].packet.data == tun.read()
    assert before <= passed[0].packet.time <= passed[1].packet.time <= time.time_ns()
    tun.write(request)
    again = record.packets()
    assert again[:2] == passed, "asked again, it says all of it again"
    assert len(again) == 4


def test_packets_include_dropped_ones(record, tun, echo_request):
    tun.write(echo_request(bad_checksum=True))
    assert [each.packet.data for each in record.packets()] == [echo_request(bad_checksum=True)]


def test_packets_on_lo_appear_once(record, netns):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"hello", one.getsockname())
        passed = record.packets()
        assert one.recv(10) == b"hello"
    assert [(each.ifname, each.hardware_type, each.packet.data[-5:]) for each in passed] == [
        ("lo", ARPHRD_LOOPBACK, b"hello")
    ]


def test_packets_of_veth_ends_and_deleted_interface(record, netns, rtnl):
    rtnl.add_veth("left", "right")
    for name in ("left", "right"):
        rtnl.set_link(rtnl.link_index(name), up=True)
    rtnl.add_address(rtnl.link_index("left"), "10.7.7.1/24")
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("10.7.7.2", 9))
        one.send(b"who is it?")  # ARP first
    passed = record.packets()
    assert [(each.ifname, each.hardware_type) for each in passed] == [("left", ARPHRD_ETHER), ("right", ARPHRD_ETHER)]
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("10.7.7.3", 9))
        one.send(b"and you?")
    rtnl.delete_link(rtnl.link_index("left"))
    assert {each.ifname for each in record.packets()[len(passed) :]} == {""}


def test_link_down_does_not_end_capture(record, tun, echo_request):
    tun.down()
    tun.up()
    tun.write(echo_request())
    assert [each.ifname for each in record.packets()] == ["tun0", "tun0"]
    tun.down()
    assert len(record.packets()) == 2


def numbered(datagram, number, size):
    """Return a datagram with a number, to which nothing replies."""
    return datagram(size=size, protocol=253, dst="10.9.9.9")[:-4] + number.to_bytes(4, "big")


def numbers_in(passed):
    return [int.from_bytes(each.packet.data[-4:], "big") for each in passed]


class TestManyPackets:
    """More packets than the kernel's buffer of 32 MiB, about 540 packets of 60,000 bytes."""

    def write(self, tun, datagram, count, between=lambda: None):
        for number in range(count):
            tun.write(numbered(datagram, number, 60_000))
            between()

    def test_lost_packets_are_counted_where_they_are_missing(self, record, tun, datagram):
        self.write(tun, datagram, 600)
        record.drain()
        tun.write(numbered(datagram, 600, 60_000))
        passed = record.packets()
        kept = len(passed)
        assert 300 < kept < 600
        assert record.dropped == 601 - kept
        assert numbers_in(passed) == [*range(kept - 1), 600]
        assert [each.lost for each in passed] == [*[0] * (kept - 1), record.dropped]
        assert record.packets() == passed, "a second call returned something else"

    def test_drained_in_time_keeps_first_and_last_packets(self, record, tun, datagram):
        self.write(tun, datagram, 800, capture_drain.drain_all)
        passed = record.packets()
        numbers, kept = numbers_in(passed), len(passed)
        assert 300 < kept < 800
        gap = next(index for index, number in enumerate(numbers) if number != index)
        assert numbers == [*range(gap), *range(800 - kept + gap, 800)]
        assert 200 < gap < kept - 200
        assert record.dropped == 800 - kept
        assert [each.lost for each in passed] == [record.dropped * (index == gap) for index in range(kept)]

    def test_drain_after_close_does_nothing(self, netns, tun, datagram):
        record = NetnsCapture.open(netns)
        record.close()
        self.write(tun, datagram, 20, capture_drain.drain_all)


def test_drain_reads_only_if_buffer_is_nearly_full(record, tun, datagram):
    def is_empty():
        return not select.select([record], [], [], 0)[0]

    for number in range(300):
        assert is_empty() == (number == 0)
        tun.write(numbered(datagram, number, 60_000))
        record.drain()
    assert not is_empty(), "there is room for a good many more"
    record.drain(expect_many=True)
    assert is_empty()


@pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # Python 3.12 warns of fork with threads, and pytest-xdist has threads
def test_drain_in_forked_child_does_nothing(record, tun, datagram):
    for number in range(300):
        tun.write(numbered(datagram, number, 60_000))
    if not (child := os.fork()):
        record.drain(expect_many=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(record.packets()) == 300


def test_open_netns_works_without_other_holders():
    netns = Netns.create()
    record, identity = NetnsCapture.open(netns), netns.identity
    with TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
    netns.close()
    with record, record.open_netns() as home:
        assert home.identity == identity
        assert "tun0" in home.read_proc("dev")


def test_open_on_closed_namespace_raises():
    with Netns.create() as netns:
        pass
    with pytest.raises(KernelError, match="closed"):
        NetnsCapture.open(netns)


def test_close_may_be_called_again_and_batches_descriptors(netns):
    waiting = []
    for _ in range(20):
        record = NetnsCapture.open(netns)
        fd = record.fileno()
        record.close()
        record.close()
        assert record.closed
        assert record.fileno() == -1
        waiting.append(Path(f"/proc/self/fd/{fd}").exists())
    assert len(guardian.descriptors()) <= 8, "seven wait at most, beside the guardian's own"
    assert waiting.count(False) in (2, 3), "every eighth is handed over with the seven before it"


def test_repr_shows_descriptor_or_closed(record):
    assert repr(record) == f"<NetnsCapture on descriptor {record.fileno()}>"
    record.close()
    assert repr(record) == "<NetnsCapture closed>"
