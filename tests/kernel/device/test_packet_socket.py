"""Packet sockets: frames and packets sent and received on one interface."""

import errno
import socket
import struct
import time

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.device.packet_socket import PacketSocket, ReceivedPacket
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def packets(netns, tun):
    with PacketSocket(netns, "tun0") as packets:
        yield packets


@pytest.fixture
def veth(netns, other_netns):
    """Create the veth ends a in `netns` and b in `other_netns`, up, with addresses and neighbour entries."""
    with Rtnl(netns) as near, Rtnl(other_netns) as far:
        near.add_veth(
            "a", "b", peer_netns=other_netns, ifindex=10, peer_ifindex=10,
            hardware_address="02:00:00:00:00:01", peer_hardware_address="02:00:00:00:00:02",
        )  # fmt: skip
        near.add_address(10, "10.3.0.1/24")
        far.add_address(10, "10.3.0.2/24")
        for rtnl in (near, far):
            rtnl.set_link(10, up=True)
        for rtnl in (near, far):
            assert wait_until_running(rtnl, 10)
        near.add_neighbour(10, "10.3.0.2", "02:00:00:00:00:02")
        far.add_neighbour(10, "10.3.0.1", "02:00:00:00:00:01")
        yield near, far


@pytest.mark.parametrize(
    "data",
    [
        b"\x50",
        b"\x45",
        b"\0",
        b"\xff" * 19,
        b"\x55" * 1500,
        b"\x46" + bytes(30),
        b"\x60" + bytes(39),
        b"\x45" + bytes(27),
    ],
)
def test_send_reaches_tun_reader_unchanged(packets, tun, data):
    packets.send(data)
    assert tun.read() == data
    assert tun.read() is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_send_accepts_malformed_packets(packets, tun, kind):
    packets.send(kind(b"\x50bytes"))
    assert tun.read() == b"\x50bytes"


@pytest.mark.parametrize("link_header", [True, False])
def test_tun_packets_are_equal_with_and_without_link_header(netns, tun, echo_request, link_header):
    with PacketSocket(netns, "tun0", link_header=link_header) as packets:
        packets.send(b"\x50raw")
        assert tun.read() == b"\x50raw"
        tun.write(echo_request())
        assert packets.wait(5)
        assert packets.recv().data == echo_request()


@pytest.mark.parametrize(("data", "protocol"), [(b"\x45", 0x0800), (b"\x60", 0x86DD), (b"\x50", 0x0800)])
def test_send_without_protocol_argument_uses_protocol_of_ip_version(netns, data, protocol):
    with TunDevice.create(netns, packet_information=True) as device, PacketSocket(netns, "tun0") as packets:
        device.configure()
        packets.send(data)
        assert struct.unpack(">HH", device.read()[:4]) == (0, protocol)


def test_send_protocol_argument_is_used(netns):
    with TunDevice.create(netns, packet_information=True) as device, PacketSocket(netns, "tun0") as packets:
        device.configure()
        packets.send(b"\x45", protocol=0x88B5)
        assert struct.unpack(">HH", device.read()[:4]) == (0, 0x88B5)


def test_recv_returns_received_and_sent_packets(packets, tun, echo_request):
    tun.write(echo_request())
    assert tun.wait(5)
    reply = tun.read()
    received = packets.recv_all()
    assert [(packet.data, packet.outgoing, packet.packet_type) for packet in received] == [
        (echo_request(), False, 0),
        (reply, True, 4),
    ]
    assert {packet.protocol for packet in received} == {0x0800}
    assert all(packet.checksum_ready for packet in received)


def test_recv_ignores_packets_sent_by_same_socket(packets, tun):
    packets.send(b"\x50")
    assert packets.recv() is None
    assert tun.read() == b"\x50"


def test_recv_returns_packet_sent_by_another_socket(netns, packets, tun):
    with PacketSocket(netns, "tun0") as other:
        packets.send(b"\x50")
        assert other.wait(5)
        assert (other.recv().data, packets.recv()) == (b"\x50", None)


def test_recv_time_is_kernel_time_and_ascending(packets, tun, echo_request):
    before = time.time_ns()
    for _ in range(5):
        tun.write(echo_request())
    received = packets.recv_all()
    times = [packet.time for packet in received]
    assert len(times) == 10
    assert times == sorted(times)
    # The kernel and time.time_ns use the same clock.
    assert before <= times[0] <= times[-1] <= time.time_ns()


def test_recv_ignores_other_interfaces(netns, packets):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"to lo", ("127.0.0.1", 9))
    assert packets.recv() is None


def test_recv_ignores_packets_sent_before_binding(netns, tun, echo_request):
    tun.write(echo_request())
    with PacketSocket(netns, "tun0") as packets:
        assert packets.recv() is None


def test_recv_all_returns_at_most_limit_packets(packets, tun, echo_request):
    for _ in range(3):
        tun.write(echo_request())
    assert len(packets.recv_all(limit=2)) == 2
    assert packets.recv_all(limit=0) == []
    assert len(packets.recv_all()) == 4
    assert packets.recv_all() == []
    assert packets.wait(0) is False


@pytest.mark.parametrize("size", [28, 1500, 9000, 65535])
def test_recv_returns_whole_packet_of_every_size(packets, tun, datagram, size):
    data = datagram(size=size, protocol=253, dst="127.0.0.1")
    tun.write(data)
    assert packets.wait(5)
    assert packets.recv().data == data


def test_dropped_counts_packets_lost_because_of_full_buffer(netns, tun, datagram):
    with PacketSocket(netns, "tun0") as packets:
        assert packets.dropped == 0
        packets._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        data = datagram(size=1000, protocol=253, dst="127.0.0.1")
        for _ in range(50):
            tun.write(data)
        received = len(packets.recv_all())
        assert packets.dropped == 50 - received > 0
        assert packets.dropped == 50 - received


def test_receive_buffer_holds_10000_packets(packets, tun, datagram):
    data = datagram(size=84, protocol=253, dst="127.0.0.1")
    for _ in range(10_000):
        tun.write(data)
    assert (len(packets.recv_all()), packets.dropped) == (10_000, 0)


def test_recv_on_send_only_socket_returns_none(netns, tun, echo_request):
    with PacketSocket(netns, "tun0", receive=False) as packets:
        tun.write(echo_request())
        assert packets.wait(0) is False
        tun.read_all()
        packets.send(b"\x50")
        assert tun.read() == b"\x50"


def test_veth_frame_is_sent_and_received_with_header(netns, other_netns, veth):
    with PacketSocket(netns, "a") as near, PacketSocket(other_netns, "b") as far:
        frame = bytes.fromhex("020000000002 020000000001 88b5") + b"anything"
        near.send(frame)
        assert far.wait(5)
        packet = far.recv()
        assert (packet.data, packet.outgoing, packet.protocol) == (frame, False, 0x88B5)


def test_recv_without_link_header_returns_ip_packet(netns, other_netns, veth):
    with PacketSocket(other_netns, "b", link_header=False) as far, netns.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", ("10.3.0.2", 9))
        assert far.wait(5)
        packet = far.recv()
        assert (packet.data[0], packet.data[28:]) == (0x45, b"hello")


def test_recv_marks_packet_with_incomplete_checksum(netns, other_netns, veth):
    with PacketSocket(netns, "a") as near, netns.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", ("10.3.0.2", 9))
        assert near.wait(5)
        packet = near.recv()
        assert (packet.outgoing, packet.checksum_ready) == (True, False)


def test_recv_restores_vlan_tag(netns, other_netns, veth):
    with PacketSocket(netns, "a") as near, PacketSocket(other_netns, "b") as far:
        frame = bytes.fromhex("020000000002 020000000001 8100 0007 88b5") + b"tagged"
        near.send(frame)
        assert far.wait(5)
        assert far.recv().data == frame


def test_send_of_packet_above_mtu_raises_emsgsize(packets, tun):
    with pytest.raises(KernelError, match="longer than the interface's MTU") as raised:
        packets.send(bytes(1501))
    assert raised.value.errno == errno.EMSGSIZE


def test_send_of_zero_bytes_raises_einval(packets, tun):
    with pytest.raises(KernelError) as raised:
        packets.send(b"")
    assert raised.value.errno == errno.EINVAL
    assert tun.read() is None


def test_send_and_recv_on_down_link_raise_enetdown(packets, tun):
    tun.down()
    with pytest.raises(KernelError, match=r"the link is down \(ENETDOWN\)\. Set it up first"):
        packets.recv()
    with pytest.raises(KernelError, match="the link is down"):
        packets.send(b"\x50")
    tun.up()
    packets.send(b"\x50")
    assert tun.read() == b"\x50"


def test_send_after_link_was_down_works(packets, tun):
    tun.down()
    tun.up()
    packets.send(b"\x50")
    assert tun.read() == b"\x50"


def test_socket_opened_on_down_link_works_after_up(netns):
    with TunDevice.create(netns) as device, PacketSocket(netns, "tun0") as packets:
        device.configure()
        assert packets.recv() is None
        packets.send(b"\x50")
        assert device.read() == b"\x50"


def test_send_and_recv_on_deleted_interface_raise(packets, tun):
    tun.rtnl.delete_link(tun.ifindex)
    assert packets.wait(5)
    with pytest.raises(KernelError):
        packets.recv()
    with pytest.raises(KernelError, match="the interface was deleted"):
        packets.send(b"\x50")


def test_open_on_missing_interface_raises_enodev(netns):
    with pytest.raises(KernelError, match="the namespace has no interface 'nothing'") as raised:
        PacketSocket(netns, "nothing")
    assert raised.value.errno == errno.ENODEV


def test_packet_socket_may_be_closed_twice(packets):
    packets.close()
    packets.close()
    assert packets.closed
    assert packets.fileno() == -1
    assert repr(packets).endswith("closed>")
    with pytest.raises(ValueError, match="closed"):
        packets.wait(0)
    with pytest.raises(KernelError):
        packets.recv()


def test_received_packet_is_immutable(packets, tun, echo_request):
    tun.write(echo_request())
    packet = packets.recv()
    assert isinstance(packet, ReceivedPacket)
    with pytest.raises(AttributeError):
        packet.time = 0


def test_error_of_open_without_capability_names_the_capability(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.packet_socket import PacketSocket
        with Netns.create() as netns:
            try:
                PacketSocket(netns, "lo")
            except PrivilegeError as error:
                print(error.missing, error)
    """
    output = run_python(source, prefix=["setpriv", "--bounding-set=-net_raw"])
    assert output.startswith("CAP_NET_RAW open a socket: you are root, but CAP_NET_RAW is missing (EPERM). Run in")
