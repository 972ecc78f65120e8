"""The link to a device under test: exact bytes in both directions, a silent namespace, virtual and kernel time."""

import shlex
import sys
from itertools import pairwise

import pytest

from tests.dut.conftest import DESCRIPTOR, OBJECT
from tunlab import KernelError
from tunlab.packet import ARP, ICMP, TCP, UDP, Ethernet, IPv4, TCPFlag, build
from tunlab.traffic.ports.packet_socket_port import PacketSocketPort

SECOND = 1_000_000_000
RETURN = (
    "import sys; from examples.tcp.__main__ import open_device; from tests.dut.devices import return_packets;"
    " return_packets(open_device(sys.argv[1]))"
)
RETURNING_PROGRAM = f"{sys.executable} -c {shlex.quote(RETURN)} {{ifname}}"
HEADER = build(IPv4(src="10.1.2.2", dst="10.1.2.1"), UDP(src_port=1, dst_port=2))
MALFORMED = {
    "bad checksum": HEADER[:10] + b"\x12\x34" + HEADER[12:],
    "IHL 2": b"\x42" + HEADER[1:],
    "length 4": HEADER[:2] + b"\x00\x04" + HEADER[4:],
    "one byte": b"\x45",
    "longest": HEADER + bytes(1500 - len(HEADER)),
}


@pytest.mark.parametrize("target", [RETURNING_PROGRAM, "fd:tests.dut.devices:return_packets"], ids=["program", "fd"])
def test_malformed_packets_pass_unchanged_in_both_directions(make_dut, target):
    dut = make_dut(target)
    for name, data in MALFORMED.items():
        dut.inject(data)
        assert dut.read() == data, name


def test_packet_longer_than_the_mtu_of_the_tun_raises_and_names_it(make_dut):
    dut = make_dut(RETURNING_PROGRAM)
    with pytest.raises(KernelError, match="longer than the interface's MTU"):
        dut.inject(HEADER + bytes(1501 - len(HEADER)))
    assert make_dut(RETURNING_PROGRAM, mtu=9000).inject(HEADER + bytes(9000 - len(HEADER)))


TAP = (
    "import fcntl, os, struct, sys; from tests.dut.devices import return_packets;"
    ' fd = os.open("/dev/net/tun", os.O_RDWR);'
    ' fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1002)); return_packets(fd)'
)


@pytest.mark.parametrize(
    "target",
    [f"{sys.executable} -c {shlex.quote(TAP)} {{ifname}}", "fd:tests.dut.devices:return_packets"],
    ids=["program", "fd"],
)
def test_frames_of_a_tap_pass_unchanged_and_a_fence_is_refused(make_dut, target):
    dut = make_dut(target, mode="tap")
    request = ARP(sender_hardware="02:00:00:00:00:02", sender_protocol=dut.peer, target_protocol=dut.address)
    sent = dut.inject(Ethernet(dst="02:00:00:00:00:01", src="02:00:00:00:00:02"), request)
    frame = dut.expect(ARP.where(target_protocol=dut.address))
    assert (bytes(frame), frame[Ethernet].src) == (sent, "02:00:00:00:00:02")
    with pytest.raises(KernelError, match=r"this device takes Ethernet frames \(E\w+\)\. Give a timeout"):
        dut.expect_silence()


class TestSilence:
    """The namespace's own IP on the TUN of a program that has given it addresses and turned forwarding on."""

    SETUP = "ip addr add {own}/24 dev {{ifname}} && echo 1 > /proc/sys/net/ipv4/ip_forward && exec {program}"

    @pytest.fixture
    def start(self, make_dut, need):
        """Return a function that starts a program whose namespace has an address."""
        need("ip")

        def start(own, program):
            return make_dut(f"sh -c {shlex.quote(self.SETUP.format(own=own, program=program))}", strict=True)

        return start

    def test_kernel_with_the_address_of_the_test_does_not_reset_its_connections(self, start):
        dut = start("10.1.2.2", f"{sys.executable} -m examples.tcp {{ifname}} {{address}}")
        peer = dut.tcp(dut.services.echo)
        peer.handshake()
        peer.send(b"hello")
        peer.expect_data(b"hello")
        peer.close()
        dut.fence()

    def test_kernel_with_the_address_of_the_device_does_not_answer(self, start):
        dut = start("10.1.2.1", RETURNING_PROGRAM)
        ip = IPv4(src=dut.peer, dst=dut.address)
        sent = [
            dut.inject(ip, TCP(src_port=4000, dst_port=80, flags=TCPFlag.SYN)),
            dut.inject(ip, UDP(src_port=4000, dst_port=80), b"hello"),
            dut.inject(ip, ICMP.echo_request(7, 1)),
            dut.inject(ip.replace(protocol=253), b"no such protocol"),
            dut.inject(ip.replace(dst="192.0.2.1"), UDP(src_port=4000, dst_port=80), b"to forward"),
        ]
        assert [bytes(dut.expect()) for _ in sent] == sent
        dut.expect_silence(timeout=0.1)

    def test_kernel_does_not_send_packets_of_its_own_to_the_device(self, make_dut, need):
        need("ping")
        code = (
            "import os, sys; from examples.tcp.__main__ import open_device; from tests.dut import devices;"
            ' fd = open_device(sys.argv[1]); os.system("ip addr add 10.1.2.1/24 dev " + sys.argv[1]);'
            ' os.system("ping -c1 -W1 10.1.2.9"); print("up"); devices.return_packets(fd)'
        )
        dut = make_dut(f"{sys.executable} -c {shlex.quote(code)} {{ifname}}", ready="line ^up", strict=True)
        dut.inject(HEADER)
        assert dut.read() == HEADER


def test_port_reopens_when_the_program_makes_its_device_anew(make_dut, need):
    need("ip")
    code = (
        "import os, sys; from examples.tcp.__main__ import open_device; from tests.dut.devices import return_packets;"
        ' fd = open_device(sys.argv[1]); os.system("ip link set up " + sys.argv[1]); print("up"); return_packets(fd)'
    )
    setup = f"ip link del {{ifname}}; {sys.executable} -c {shlex.quote(code)} {{ifname}}"
    dut = make_dut(f"sh -c {shlex.quote(setup)}", ready="line ^up")
    assert isinstance(dut.port, PacketSocketPort)
    dut.unread()
    dut.inject(HEADER)
    assert dut.read() == HEADER


class TestVirtualTime:
    """Objects: time passes while a test waits, and only then."""

    @pytest.fixture
    def dut(self, make_dut):
        return make_dut(OBJECT)

    def test_back_off_of_minutes_doubles_exactly(self, dut):
        dut.tcp(dut.services.echo).send(flags=TCPFlag.SYN)
        times = [dut.expect(TCP.where(src_port=7), timeout=200).time for _ in range(7)]
        assert [b - a for a, b in pairwise(times)] == [n * SECOND for n in (1, 2, 4, 8, 16, 32)]

    def test_expect_without_packet_moves_the_clock_by_its_timeout(self, dut):
        dut.expect_silence(timeout=543)
        assert dut.port.clock.now == 543 * SECOND

    def test_negative_expectation_without_timeout_takes_no_time(self, dut):
        dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1))
        dut.expect_none(TCP)
        dut.fence()
        assert dut.port.clock.now == 0

    def test_fence_with_settle_lets_time_pass(self, dut):
        dut.tcp(dut.services.echo).send(flags=TCPFlag.SYN)
        assert len(dut.fence(settle=3)) == 3
        assert dut.port.clock.now == 3 * SECOND


def test_time_of_packet_over_a_socket_pair_is_that_of_sending(make_dut):
    dut = make_dut(DESCRIPTOR)
    dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1))
    dut.fence()
    read_ns = dut.port.clock.time_ns()
    packet = dut.expect(ICMP)
    assert dut.record[0].time_ns <= packet.time <= read_ns
    assert packet.clock == "realtime"
