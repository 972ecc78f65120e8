"""The record of a namespace: everything that passes, on every device, from before there is one."""

import os
import socket
import time

import pytest

from tunlab.errors import KernelError
from tunlab.kernel import guardian
from tunlab.kernel.namespace_record import ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE, NamespaceRecord
from tunlab.kernel.netns import Netns
from tunlab.kernel.tun import TunDevice


@pytest.fixture
def record(netns):
    with NamespaceRecord.open(netns) as record:
        yield record


def test_a_device_that_comes_later_is_recorded_both_ways(record, tun, echo_request):
    request = echo_request()
    before = time.time_ns()
    tun.write(request)
    passed = record.take()
    assert [(each.ifname, each.hardware_type, each.captured.outgoing) for each in passed] == [
        ("tun0", ARPHRD_NONE, False),
        ("tun0", ARPHRD_NONE, True),
    ]
    assert passed[0].captured.octets == request
    assert passed[1].captured.octets == tun.read()
    assert before <= passed[0].captured.time <= passed[1].captured.time <= time.time_ns()
    assert record.take() == []


def test_what_the_kernel_drops_is_recorded_too(record, tun, echo_request):
    tun.write(echo_request(bad_checksum=True))
    assert [each.captured.octets for each in record.take()] == [echo_request(bad_checksum=True)]


def test_what_passes_lo_is_there_once(record, netns):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"hello", one.getsockname())
        passed = record.take()
        assert one.recv(10) == b"hello"
    assert [(each.ifname, each.hardware_type, each.captured.octets[-5:]) for each in passed] == [
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
    passed = record.take()
    assert [(each.ifname, each.hardware_type) for each in passed] == [("left", ARPHRD_ETHER), ("right", ARPHRD_ETHER)]
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("10.7.7.3", 9))
        one.send(b"and you?")
    rtnl.delete_link(rtnl.link_index("left"))
    assert {each.ifname for each in record.take()} == {""}


def test_a_link_that_goes_down_does_not_end_it(record, tun, echo_request):
    tun.down()
    tun.up()
    tun.write(echo_request())
    assert [each.ifname for each in record.take()] == ["tun0", "tun0"]
    tun.down()
    assert record.take() == []


@pytest.mark.slow
def test_what_finds_no_room_is_counted(record, tun, datagram):
    size = 60_000
    octets = datagram(size=size, protocol=253)
    for _ in range(1000):
        tun.write(octets)
        tun.read_all()
    kept = len([each for each in record.take() if not each.captured.outgoing])
    assert 0 < kept < 1000
    assert record.dropped >= 1000 - kept
    assert record.dropped == record.dropped, "asked twice, it says the same"


def test_the_namespace_can_be_had_from_it_when_nobody_else_has_it():
    netns = Netns.create()
    record, identity = NamespaceRecord.open(netns), netns.identity
    with TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
    netns.close()
    with record, record.home() as home:
        assert home.identity == identity
        assert "tun0" in home.read_proc("dev")


def test_of_a_closed_namespace_there_is_none():
    with Netns.create() as netns:
        pass
    with pytest.raises(KernelError, match="closed"):
        NamespaceRecord.open(netns)


def test_closing_may_be_repeated_and_hands_descriptors_over_by_eight(netns):
    for _ in range(20):
        record = NamespaceRecord.open(netns)
        fd = record.fileno()
        record.close()
        record.close()
        assert record.closed
        assert record.fileno() == -1
    assert len(guardian.descriptors()) <= 8, "seven wait at most, beside the guardian's own"
    os.fstat(fd)  # the last waits


def test_it_says_what_it_is(record):
    assert repr(record) == f"<NamespaceRecord on descriptor {record.fileno()}>"
    record.close()
    assert repr(record) == "<NamespaceRecord closed>"
