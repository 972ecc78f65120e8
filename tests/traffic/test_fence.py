"""Tests of `tun.fence`: an echo request whose reply shows that the kernel has answered all earlier packets."""

import errno
import random
import select
import threading
import time

import pytest

from tests.packet.golden import GOLDEN
from tunlab.errors import ExpectationError, KernelError
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_CREATE, NetlinkSocket, pack_attribute, pack_message
from tunlab.packet import ICMP, IGMP, TCP, UDP, IPFlag, IPv4, TCPFlag, build
from tunlab.traffic import Tun

PEER = "10.1.2.2"
UNREADABLE = b"\x60 not IPv6 ."


def echo(tun, number=1):
    return IPv4(src=PEER, dst=tun.address), ICMP.echo_request(7, number), b"hello"


class TestFence:
    def test_fence_returns_kernel_answers_and_leaves_them_unread(self, tun):
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        assert [packet.icmp.sequence_number for packet in tun.fence()] == [1, 2]
        assert [packet.icmp.sequence_number for packet in tun.fence()] == [1, 2]
        assert [packet.icmp.sequence_number for packet in tun.capture()] == [1, 2]
        assert tun.fence() == []

    def test_fence_echo_request_and_reply_appear_only_in_the_record(self, tun):
        tun.fence()
        tun.expect_silence()
        assert tun.capture() == []
        assert [(each.direction, each.comment) for each in tun.record] == [("in", "fence"), ("out", "fence")] * 2
        assert tun.unmatched() == []

    def test_fence_does_not_hide_other_echo_with_same_identifier(self, tun):
        tun.fence()
        icmp = tun.record[0].packet.icmp
        same = ICMP.echo_request(icmp.identifier, icmp.sequence_number)
        tun.inject(IPv4(src=PEER, dst=tun.address), same, b"tunlab fence of a test")
        assert [packet.payload for packet in tun.fence()] == [b"tunlab fence of a test"]

    def test_late_fence_reply_is_not_returned(self, tun):
        tun.fence()
        request = tun.record[0].data
        tun.device.write(request)
        assert tun.capture() == []
        tun.expect_silence()

    def test_reply_to_earlier_fence_does_not_end_later_fence(self, tun):
        tun.fence()
        tun.device.write(tun.record[0].data)
        tun.netns.set_sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        with pytest.raises(KernelError, match="icmp_echo_ignore_all is on"):
            tun.fence()

    def test_fence_with_settle_argument_waits_for_packet_sent_by_timer(self, tun):
        timer = threading.Timer(0.02, tun.device.write, [build(*echo(tun))])
        timer.start()
        try:
            assert len(tun.fence(settle=0.3)) == 1
        finally:
            timer.join()

    def test_fence_with_two_tuns_returns_packets_of_its_own_device(self, make_tun, netns):
        first = make_tun(netns=netns, address="10.1.2.1/24")
        second = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.ip_forward", 1)
        first.inject(IPv4(src=PEER, dst="10.1.3.9"), UDP(src_port=5, dst_port=6))
        assert [packet.udp.dst_port for packet in second.fence()] == [6]
        assert first.fence() == []


class TestExpectNone:
    def test_expect_none_raises_for_a_match_and_leaves_it_unread(self, tun):
        tun.inject(*echo(tun))
        tun.expect_none(TCP)
        with pytest.raises(ExpectationError) as caught:
            tun.expect_none(ICMP.where(type=0), lambda packet: packet.payload == b"hello")
        lines = str(caught.value).splitlines()
        assert lines[0] == ('wanted no ICMP(type=0) & lambda packet: packet.payload == b"hello", but 1 arrived:')
        assert lines[1].endswith("ICMP echo reply, id 7, seq 1, length 13   <-- unwanted")
        assert tun.expect(ICMP)

    def test_error_of_expect_none_lists_unwanted_packets_first(self, tun):
        tun.inject(*echo(tun))
        tun.inject(IPv4(src=PEER, dst=tun.address), TCP(src_port=5, dst_port=6, flags=TCPFlag.SYN))
        with pytest.raises(ExpectationError) as caught:
            tun.expect_none(TCP)
        _, first, second = str(caught.value).splitlines()
        assert "Flags [R.]" in first
        assert first.endswith("<-- unwanted")
        assert second.endswith("ICMP echo reply, id 7, seq 1, length 13")

    def test_expect_silence_raises_for_non_ip_packet(self, tun):
        tun.expect_silence()
        tun.emit(b"\x60 not IPv4")
        with pytest.raises(ExpectationError, match=r"wanted no packet, but 1 arrived:\n.*not an IP packet"):
            tun.expect_silence()

    @pytest.mark.parametrize(
        "unwanted",
        [(), (UDP,), (UDP, lambda packet: packet.udp.dst_port == 5), (lambda packet: packet.payload == UNREADABLE,)],
        ids=["any", "header", "header and function", "function"],
    )
    def test_expect_none_raises_for_bytes_that_cannot_be_parsed(self, tun, unwanted):
        tun.emit(UNREADABLE)
        with pytest.raises(ExpectationError, match=r"but 1 arrived:\n.*12 bytes, not an IP packet.*may be one"):
            tun.expect_none(*unwanted)

    def test_expect_none_passes_if_its_function_excludes_unreadable_bytes(self, tun):
        tun.emit(UNREADABLE)
        tun.expect_none(UDP, lambda packet: packet.payload != UNREADABLE)

    def test_expect_none_of_a_header_class_raises_for_a_truncated_header(self, tun):
        tun.emit(build(IPv4(src=tun.address, dst=PEER, protocol=6), bytes(9)))
        tun.expect_none(UDP)
        with pytest.raises(ExpectationError, match="wanted no TCP"):
            tun.expect_none(TCP.where(dst_port=80))

    def test_expect_none_raises_for_ipv6_packet(self, make_tun):
        tun = make_tun(("10.1.2.1/24", "fd00::1/64"))
        tun.expect_none(UDP)
        tun.bind(5).sendto(b"six", (tun.peer6, 9))
        tun.expect_none(UDP, IPv4)
        with pytest.raises(ExpectationError, match=r"wanted no UDP\(\), but 1 arrived:\n.*IP6 fd00::1\.5 > fd00::2\.9"):
            tun.expect_none(UDP)

    def test_expect_none_ignores_consumed_packets(self, tun):
        tun.inject(*echo(tun))
        tun.expect(ICMP)
        tun.expect_none(ICMP)
        tun.expect_silence()

    def test_expect_silence_with_timeout_uses_no_fence_and_fails_at_first_packet(self, make_tun):
        tun = make_tun(address="10.1.2.1/32")
        tun.expect_silence(timeout=0.01)
        tun.netns.set_sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        tun.expect_none(timeout=0.0)
        timer = threading.Timer(0.02, tun.emit, [b"\x60 not IPv4"])
        timer.start()
        try:
            with pytest.raises(ExpectationError) as caught:
                tun.expect_silence(timeout=60)
        finally:
            timer.join()
        assert caught.value.timeout == 60
        assert caught.value.elapsed < 60

    def test_expect_none_checks_each_unread_packet_at_most_twice(self, tun):
        checked = []
        tun.inject(*echo(tun))
        timers = [threading.Timer(0.02 * number, tun.device.write, [build(*echo(tun, number))]) for number in (2, 3, 4)]
        for timer in timers:
            timer.start()
        tun.expect_none(lambda packet: checked.append(packet.icmp.sequence_number), timeout=0.3)
        for timer in timers:
            timer.join()
        assert checked.count(1) == 2  # expect_none checks a packet on arrival and at the end of the wait.


class TestFenceError:
    @pytest.mark.parametrize("use_fence", [Tun.fence, Tun.expect_silence, Tun.expect_none])
    def test_error_of_fence_on_tun_without_address_names_the_remedy(self, make_tun, use_fence):
        with pytest.raises(
            KernelError, match=r"fence tun0: the Tun was made without an address .*\. Give the Tun .*`timeout=0\.1`"
        ):
            use_fence(make_tun(address=""))

    def test_fence_in_a_network_of_one_address_raises(self, make_tun):
        with pytest.raises(
            KernelError, match=r"has only one address .*\. Give the Tun a network of two or more addresses"
        ):
            make_tun(address="10.1.2.1/32").expect_silence()

    def test_fence_with_link_down_raises_enetdown(self, tun):
        tun.device.down()
        with pytest.raises(
            KernelError,
            match=r"the link is down .*\. Call tun\.device\.up\(\), or avoid the fence by a timeout: `timeout=0\.1`",
        ) as caught:
            tun.fence()
        assert caught.value.errno == errno.ENETDOWN

    def test_error_of_fence_without_carrier_suggests_set_carrier(self, tun):
        tun.device.set_carrier(False)
        for _ in range(500):  # The kernel reports a change of the carrier up to one second late (linkwatch).
            if tun.device.link.operstate == "down":
                break
            tun.device.wait(0.01)
        with pytest.raises(KernelError, match=r"no carrier .*\. Call tun\.device\.set_carrier\(True\), or avoid"):
            tun.fence()

    def test_error_of_fence_with_icmp_echo_ignore_all_names_the_sysctl(self, tun):
        tun.netns.set_sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        with pytest.raises(KernelError, match=r"icmp_echo_ignore_all is on, .*\. Set it to 0, or avoid the fence"):
            tun.fence()

    def test_error_of_fence_after_address_change_names_current_address(self, tun):
        tun.netns.set_sysctl("net.ipv4.ip_forward", 1)
        tun.device.set_address("10.1.2.9/24")
        with pytest.raises(KernelError, match=r"10\.1\.2\.1 was removed from tun0, which has 10\.1\.2\.9"):
            tun.fence()
        # The record has the fence's echo request, the same request sent again, and the kernel's ICMP redirects.
        assert len(tun.record) > 1
        assert all(each.comment == "fence" for each in tun.record)

    def test_fence_rejected_by_an_icmp_error_raises_with_summary_of_that_error(self, tun):
        tun.netns.set_sysctl("net.ipv4.ip_forward", 1)
        tun.device.set_address("10.9.9.9/24")
        tun.device.rtnl.add_route("10.1.2.0/24", ifindex=tun.device.ifindex)
        tun.device.rtnl.add_route("10.1.2.1/32", type="unreachable")
        with pytest.raises(KernelError, match=r"the echo request is rejected: IP 10\.9\.9\.9 > .*unreachable"):
            tun.fence()

    @pytest.mark.tun(timeout=0.05)
    def test_fence_whose_reply_is_routed_to_another_device_times_out(self, tun, make_tun, netns):
        other = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.conf.all.rp_filter", 0)
        netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 0)
        other.device.rtnl.add_route("10.1.2.2/32", ifindex=other.device.ifindex)
        with pytest.raises(
            KernelError, match=r"no reply in 0\.1 s: the kernel replies, but not on this device"
        ) as caught:
            tun.fence()
        assert caught.value.errno == errno.ETIMEDOUT

    @pytest.mark.tun(timeout=0.05)
    def test_error_of_fence_dropped_by_rp_filter_names_the_sysctl(self, tun, make_tun, netns):
        other = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.conf.all.rp_filter", 1)
        other.device.rtnl.add_route("10.1.2.2/32", ifindex=other.device.ifindex)
        with pytest.raises(KernelError, match=r"reverse path filtering drops .*\. Set net\.ipv4\..*\.rp_filter to 0"):
            tun.fence()

    @pytest.mark.tun(timeout=0.05)
    def test_error_of_fence_dropped_by_firewall_names_the_firewall(self, tun, netns):
        drop_input(netns)
        with pytest.raises(KernelError, match=r"does not reach ICMP .*\. Check firewall rules"):
            tun.fence()

    def test_error_of_fence_without_route_for_the_reply_names_routes(self, tun, netns):
        tun.device.rtnl.add_route("10.1.2.2/32", type="unreachable")
        netns.set_sysctl("net.ipv4.conf.all.rp_filter", 0)
        netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 0)
        tun.timeout = 0.05
        with pytest.raises(
            KernelError, match=r"receives the echo request but sends no reply .*\. Check firewall rules and routes"
        ):
            tun.fence()

    def test_fence_of_closed_tun_raises(self):
        with Tun.create() as tun:
            pass
        with pytest.raises(KernelError, match="this Tun is closed"):
            tun.fence()


def drop_input(netns):
    """Add an nftables input chain that drops every packet."""
    import socket
    import struct

    family, begin, end, table, chain = struct.pack("!BBH", 2, 0, 0), 16, 17, 10 << 8 | 0, 10 << 8 | 3
    hook = [pack_attribute(1, struct.pack("!I", 1)), pack_attribute(2, struct.pack("!I", 0))]
    subsystem = struct.pack("!BBH", 0, 0, 10)
    netlink = NetlinkSocket(netns.call(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 12))
    flags = NLM_F_CREATE | NLM_F_ACK
    try:
        netlink.exchange_batch(
            [
                pack_message(begin, 0, subsystem),
                pack_message(table, flags, family, [pack_attribute(1, "t")]),
                pack_message(
                    chain,
                    flags,
                    family,
                    [
                        pack_attribute(1, "t"),
                        pack_attribute(3, "c"),
                        pack_attribute(4, hook),
                        pack_attribute(5, struct.pack("!I", 0)),
                        pack_attribute(7, "filter"),
                    ],
                ),
                pack_message(end, 0, subsystem),
            ],
            "drop input",
        )
    finally:
        netlink.close()


def random_layers(rng, tun):
    """Return the layers of a random packet, to which the kernel may or may not reply."""
    common = {
        "src": rng.choice([PEER] * 9 + ["10.1.2.200", "192.0.2.7", "127.0.0.1", tun.address]),
        "dst": rng.choice([tun.address] * 12 + ["10.1.2.99", "10.1.2.255", "192.0.2.1", "224.0.0.1", "127.0.0.1"]),
        "ttl": rng.choice([64] * 6 + [1, 0]),
        "identification": rng.randrange(65536),
        "flags": rng.choice([IPFlag(0), IPFlag.DF, IPFlag.RESERVED, IPFlag.MF]) if rng.random() < 0.3 else IPFlag(0),
    }
    payload = rng.randbytes(rng.choice([0, 1, 8, 56, 1400, 3000]))
    if rng.random() < 0.05:
        common["checksum"] = rng.randrange(65536)
    if rng.random() < 0.05:
        common["total_length"] = rng.randrange(len(payload) + 60)
    if rng.random() < 0.1:
        common["options"] = bytes([7, 7, 4, 0, 0, 0, 0, 0])  # IPv4 option Record Route
    port = rng.choice([80, 81, 5000, 5001])
    transport = rng.choice(
        [
            ICMP.echo_request(rng.randrange(65536), rng.randrange(65536)),
            ICMP(type=rng.choice([0, 8, 13, 15, 17, 42]), code=rng.randrange(3), identifier=5),
            UDP(src_port=rng.randrange(1, 65536), dst_port=port),
            TCP(
                src_port=rng.randrange(1, 65536),
                dst_port=port,
                flags=TCPFlag(rng.choice([2, 18, 16, 4, 1, 0, 255, rng.randrange(256)])),
                seq=rng.randrange(2**32),
                ack=rng.randrange(2**32),
            ),
            IGMP(type=rng.choice([0x11, 0x16, 0x22])),
        ]
    )
    if rng.random() < 0.15:
        return IPv4(**common, protocol=rng.choice([4, 41, 47, 50, 132, 253])), payload
    if rng.random() < 0.1:
        return IPv4(**common, protocol=transport.PROTOCOL, fragment_offset=rng.randrange(1, 100)), payload
    return IPv4(**common), transport, payload


NO_TIMERS = {
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv4.tcp_synack_retries": 0,  # A timer sends retransmissions, and a fence does not wait for timers.
    "net.ipv4.ip_forward": 1,
    "net.ipv4.icmp_errors_use_inbound_ifaddr": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_no_answer_to_a_random_packet_arrives_after_the_fence(seed):
    """Inject 80 random packets, each on its own TUN, and check that no packet arrives after the fence."""
    rng = random.Random(seed)
    tuns, answered, poll = [], 0, select.poll()
    try:
        for _ in range(80):
            tun = Tun.create(sysctls=NO_TIMERS)
            tuns.append(tun)
            tun.listen(80)
            tun.bind(5000)
            tun.inject(*random_layers(rng, tun))
            answered += len(tun.fence())
            tun.capture()
            poll.register(tun.device, select.POLLIN)
        began = time.monotonic()
        assert poll.poll(500) == [], "a packet arrived after the fence"
        assert time.monotonic() - began >= 0.5
        assert [tun.unread() for tun in tuns] == [[]] * len(tuns)
        assert answered > 20  # The test shows nothing if the kernel never answers.
    finally:
        for tun in tuns:
            tun.close()


@pytest.mark.slow
def test_no_answer_to_ten_random_packets_arrives_after_the_fence():
    """Inject 400 random packets with a fence after every ten, and check that no packet arrives after a fence."""
    rng = random.Random(42)
    with Tun.create(sysctls=NO_TIMERS) as tun:
        tun.listen(80)
        tun.bind(5000)
        answered = 0
        for _ in range(40):
            for _ in range(10):
                tun.inject(*random_layers(rng, tun))
            answered += len(tun.fence())
            tun.capture()
            tun.expect_silence(timeout=0.005)
        tun.expect_silence(timeout=0.5)
        assert answered > 120


def test_no_answer_to_any_golden_packet_arrives_after_the_fence(tun):
    for data, *_ in GOLDEN.values():
        tun.inject(bytes.fromhex(data))
        tun.fence()
        tun.capture()
    tun.expect_silence(timeout=0.02)
