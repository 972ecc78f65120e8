"""Datagrams read from and written to a TUN or TAP device."""

import errno
import os
import select
import signal
import socket
import struct

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice


def send(netns, payload, *, dst=("10.1.2.2", 9), count=1):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # IP_MTU_DISCOVER = IP_PMTUDISC_OMIT: the kernel fragments long datagrams.
        sender.setsockopt(socket.IPPROTO_IP, 10, 5)
        for _ in range(count):
            sender.sendto(payload, dst)


# ---- reading datagrams


def test_read_from_empty_queue_returns_none(tun):
    assert tun.read() is None
    assert tun.read_all() == []
    assert tun.discard_all() == (0, 0)
    assert tun.wait(0) is False


def test_read_returns_one_datagram(tun):
    for payload in (b"one", b"two", b"three"):
        send(tun.netns, payload)
    assert [tun.read()[28:] for _ in range(3)] == [b"one", b"two", b"three"]
    assert tun.read() is None


def test_read_all_returns_at_most_limit_datagrams_in_order(tun):
    for number in range(10):
        send(tun.netns, bytes([number]))
    assert [datagram[28] for datagram in tun.read_all(limit=3)] == [0, 1, 2]
    assert tun.read_all(limit=0) == []
    assert [datagram[28] for datagram in tun.read_all()] == list(range(3, 10))
    assert tun.read_all(limit=5) == []


def test_discard_all_returns_number_of_datagrams_and_bytes(tun):
    send(tun.netns, b"x" * 72, count=20)
    assert tun.discard_all() == (20, 20 * 100)
    assert tun.read() is None


def test_read_returns_whole_datagram_of_every_size(tun):
    tun.mtu = 65535
    for size in (28, 29, 84, 576, 1500, 2048, 4096, 9000, 16384, 32768, 65534, 65535):
        send(tun.netns, os.urandom(size - 28))
        data = tun.read()
        assert (len(data), struct.unpack_from(">H", data, 2)[0]) == (size, size)


def test_discard_all_accepts_largest_datagram(tun):
    tun.mtu = 65535
    send(tun.netns, bytes(65535 - 28), count=3)
    assert tun.discard_all() == (3, 3 * 65535)


def test_datagram_for_full_queue_increments_tx_dropped(netns):
    with TunDevice.create(netns) as device:
        device.configure(["10.1.2.1/24"], txqueuelen=10)
        send(netns, b"x", count=25)
        assert device.discard_all()[0] == 10
        assert device.link.tx_dropped == 15


def test_device_queue_holds_10000_datagrams(tun):
    send(tun.netns, b"x", count=10_000)
    assert (tun.discard_all()[0], tun.link.tx_dropped) == (10_000, 0)


def test_new_device_sends_nothing(tun):
    assert tun.wait(0) is False
    assert tun.link.tx_packets == 0


def test_wait_with_datagram_returns_at_once(tun):
    send(tun.netns, b"x")
    assert tun.wait() is True
    assert tun.wait(0) is True


def test_wait_continues_after_signal(tun):
    signals = []
    before = signal.signal(signal.SIGALRM, lambda *_: (signals.append(1), send(tun.netns, b"x")))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert tun.wait(30) is True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals == [1]


def test_wait_returns_false_after_timeout(tun):
    assert tun.wait(0.001) is False


def test_fd_is_readable_in_epoll_when_datagram_waits(tun):
    with select.epoll() as epoll:
        epoll.register(tun, select.EPOLLIN)
        assert epoll.poll(0) == []
        send(tun.netns, b"x")
        assert epoll.poll(5) == [(tun.fd, select.EPOLLIN)]


# ---- writing datagrams


def test_written_echo_request_is_answered(tun, echo_request):
    tun.write(echo_request(b"payload"))
    assert tun.wait(5)
    reply = tun.read()
    assert (reply[9], reply[20], reply[28:]) == (1, 0, b"payload")
    assert (reply[12:16], reply[16:20]) == (bytes([10, 1, 2, 1]), bytes([10, 1, 2, 2]))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_accepts_malformed_packets(tun, echo_request, kind):
    tun.write(kind(echo_request()))
    assert tun.wait(5)


def test_written_datagram_reaches_socket(tun, datagram):
    with tun.netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.1.2.1", 4000))
        tun.write(datagram(struct.pack(">HHHH", 9, 4000, 8 + 5, 0) + b"hello", protocol=17))
        receiver.settimeout(5)
        assert receiver.recvfrom(100) == (b"hello", ("10.1.2.2", 9))


@pytest.mark.parametrize("size", [28, 1500, 1501, 9000, 65535])
def test_write_accepts_datagram_above_mtu(tun, datagram, size):
    tun.write(datagram(size=size, protocol=253))
    assert (tun.link.rx_packets, tun.link.rx_bytes) == (1, size)


def test_write_to_down_device_raises_eio(tun, echo_request):
    tun.down()
    with pytest.raises(KernelError) as raised:
        tun.write(echo_request())
    assert raised.value.errno == errno.EIO
    assert str(raised.value) == "write to tun0: the link is down (EIO). Set it up first."


def test_write_of_zero_bytes_raises_einval(tun):
    with pytest.raises(KernelError, match=r"there are 0 bytes to write \(EINVAL\)\. Give a whole packet"):
        tun.write(b"")


@pytest.mark.parametrize("nibble", [0, 1, 3, 5, 7, 15])
def test_write_of_unknown_ip_version_raises_einval(tun, nibble):
    with pytest.raises(KernelError, match="first nibble of the packet must be 4 or 6") as raised:
        tun.write(bytes([nibble << 4]) + bytes(19))
    assert raised.value.errno == errno.EINVAL
    assert "PacketSocket" in raised.value.remedy


def test_write_accepts_single_byte(tun):
    tun.write(b"\x45")
    assert tun.link.rx_packets == 1


def test_write_of_str_raises_type_error(tun):
    with pytest.raises(TypeError):
        tun.write("text")


# ---- devices with packet information, TAP devices, several queues


def test_packet_information_precedes_each_datagram(netns, echo_request):
    with TunDevice.create(netns, packet_information=True) as device:
        device.configure(["10.1.2.1/24"])
        device.write(struct.pack(">HH", 0, 0x0800) + echo_request())
        assert device.wait(5)
        reply = device.read()
        assert struct.unpack(">HH", reply[:4]) == (0, 0x0800)
        assert reply[4] == 0x45


def test_write_uses_protocol_of_packet_information(netns):
    with TunDevice.create(netns, packet_information=True) as device:
        device.configure(["10.1.2.1/24"])
        device.write(struct.pack(">HH", 0, 0x0800) + b"\x55" * 20)
        assert device.link.rx_packets == 1
        with pytest.raises(KernelError) as raised:
            device.write(b"\0\0\x08")
        assert raised.value.errno == errno.EINVAL


def test_read_returns_packet_information_and_whole_largest_datagram(netns):
    with TunDevice.create(netns, packet_information=True) as device:
        device.configure(["10.1.2.1/24"], mtu=65535)
        send(netns, bytes(65535 - 28))
        assert len(device.read()) == 65539


def test_tap_reads_and_writes_ethernet_frames(netns, echo_request):
    with TunDevice.create(netns, "tap0", mode="tap") as tap:
        tap.configure(["10.1.2.1/24"])
        tap.rtnl.add_neighbour(tap.ifindex, "10.1.2.2", "02:00:00:00:00:02")
        own = bytes.fromhex(tap.hardware_address.replace(":", ""))
        tap.write(own + b"\2\0\0\0\0\2" + b"\x08\0" + echo_request(b"framed"))
        assert tap.wait(5)
        frame = tap.read()
        assert (frame[:6], frame[6:12], frame[12:14]) == (b"\2\0\0\0\0\2", own, b"\x08\0")
        assert frame.endswith(b"framed")


def test_tap_write_of_short_frame_raises(netns):
    with TunDevice.create(netns, "tap0", mode="tap") as tap:
        tap.configure()
        with pytest.raises(KernelError, match="has 5 bytes and needs an Ethernet header"):
            tap.write(b"short")


def test_multi_queue_device_distributes_flows(netns):
    with TunDevice.create(netns, multi_queue=True) as first, first.add_queue() as second:
        first.configure(["10.1.2.1/24"])
        assert (second.ifname, second.ifindex, second.fd != first.fd) == ("tun0", first.ifindex, True)
        for _ in range(64):
            send(netns, b"x")  # Each call sends from a new port, so each datagram is a flow of its own.
        assert first.discard_all()[0] + second.discard_all()[0] == 64


def test_multi_queue_device_works_after_one_queue_is_closed(netns):
    with TunDevice.create(netns, multi_queue=True) as first:
        first.configure(["10.1.2.1/24"])
        first.add_queue().close()
        send(netns, b"x", count=8)
        assert first.discard_all()[0] == 8
