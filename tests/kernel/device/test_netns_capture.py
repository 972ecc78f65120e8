"""The record of a namespace: everything that passes, on every device, from before there is one."""

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


def test_a_device_that_comes_later_is_recorded_both_ways(record, tun, echo_request):
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


def test_what_the_kernel_drops_is_recorded_too(record, tun, echo_request):
    tun.write(echo_request(bad_checksum=True))
    assert [each.packet.data for each in record.packets()] == [echo_request(bad_checksum=True)]


def test_what_passes_lo_is_there_once(record, netns):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"hello", one.getsockname())
        passed = record.packets()
        assert one.recv(10) == b"hello"
    assert [(each.ifname, each.hardware_type, each.packet.data[-5:]) for each in passed] == [
        ("lo", ARPHRD_LOOPBACK, b"hello")
    ]


def test_both_ends_of_a_veth_and_a_device_that_is_gone(record, netns, rtnl):
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


def test_a_link_that_goes_down_does_not_end_it(record, tun, echo_request):
    tun.down()
    tun.up()
    tun.write(echo_request())
    assert [each.ifname for each in record.packets()] == ["tun0", "tun0"]
    tun.down()
    assert len(record.packets()) == 2


def numbered(datagram, number, size):
    """A datagram that nobody answers, with a number to know it by."""
    return datagram(size=size, protocol=253, dst="10.9.9.9")[:-4] + number.to_bytes(4, "big")


def numbers_in(passed):
    return [int.from_bytes(each.packet.data[-4:], "big") for each in passed]


class TestOfAGreatMany:
    """The kernel holds 32 MiB: some 540 packets of 60,000 octets."""

    def write(self, tun, datagram, count, between=lambda: None):
        for number in range(count):
            tun.write(numbered(datagram, number, 60_000))
            between()

    def test_what_finds_no_room_is_counted_where_it_is_missing(self, record, tun, datagram):
        self.write(tun, datagram, 600)
        record.drain()
        tun.write(numbered(datagram, 600, 60_000))
        passed = record.packets()
        kept = len(passed)
        assert 300 < kept < 600
        assert record.dropped == 601 - kept
        assert numbers_in(passed) == [*range(kept - 1), 600]
        assert [each.lost for each in passed] == [*[0] * (kept - 1), record.dropped]
        assert record.packets() == passed, "asked twice, it says the same"

    def test_looked_after_in_time_it_keeps_the_first_and_the_last(self, record, tun, datagram):
        self.write(tun, datagram, 800, capture_drain.drain_all)
        passed = record.packets()
        numbers, kept = numbers_in(passed), len(passed)
        assert 300 < kept < 800
        gap = next(index for index, number in enumerate(numbers) if number != index)
        assert numbers == [*range(gap), *range(800 - kept + gap, 800)]
        assert 200 < gap < kept - 200
        assert record.dropped == 800 - kept
        assert [each.lost for each in passed] == [record.dropped * (index == gap) for index in range(kept)]

    def test_after_its_end_nothing_is_looked_after(self, netns, tun, datagram):
        record = NetnsCapture.open(netns)
        record.close()
        self.write(tun, datagram, 20, capture_drain.drain_all)


def test_it_is_read_out_only_where_room_is_short_or_much_is_to_come(record, tun, datagram):
    def is_empty():
        return not select.select([record], [], [], 0)[0]

    for number in range(300):
        assert is_empty() == (number == 0)
        tun.write(numbered(datagram, number, 60_000))
        record.drain()
    assert not is_empty(), "there is room for a good many more"
    record.drain(expect_many=True)
    assert is_empty()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on: under pytest-xdist there are threads
def test_a_child_leaves_what_is_its_parents(record, tun, datagram):
    for number in range(300):
        tun.write(numbered(datagram, number, 60_000))
    if not (child := os.fork()):
        record.drain(expect_many=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(record.packets()) == 300


def test_the_namespace_can_be_had_from_it_when_nobody_else_has_it():
    netns = Netns.create()
    record, identity = NetnsCapture.open(netns), netns.identity
    with TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
    netns.close()
    with record, record.open_netns() as home:
        assert home.identity == identity
        assert "tun0" in home.read_proc("dev")


def test_of_a_closed_namespace_there_is_none():
    with Netns.create() as netns:
        pass
    with pytest.raises(KernelError, match="closed"):
        NetnsCapture.open(netns)


def test_closing_may_be_repeated_and_hands_descriptors_over_by_eight(netns):
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


def test_it_says_what_it_is(record):
    assert repr(record) == f"<NetnsCapture on descriptor {record.fileno()}>"
    record.close()
    assert repr(record) == "<NetnsCapture closed>"
