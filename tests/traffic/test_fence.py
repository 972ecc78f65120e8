"""The fence: what is read before its reply is all that comes; where it cannot hold it says so."""

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


def echo(tun, number=1):
    return IPv4(src=PEER, dst=tun.address), ICMP.echo_request(7, number), b"hello"


class TestWhatItGives:
    def test_all_that_was_answered_and_it_stays_unread(self, tun):
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        assert [packet.icmp.sequence_number for packet in tun.fence()] == [1, 2]
        assert [packet.icmp.sequence_number for packet in tun.fence()] == [1, 2]
        assert [packet.icmp.sequence_number for packet in tun.capture()] == [1, 2]
        assert tun.fence() == []

    def test_its_own_packets_are_in_the_record_alone_and_marked(self, tun):
        tun.fence()
        tun.expect_silence()
        assert tun.capture() == []
        assert [(each.direction, each.comment) for each in tun.record] == [("in", "fence"), ("out", "fence")] * 2
        assert tun.unmatched() == []

    def test_a_users_own_echo_is_not_taken_for_one(self, tun):
        tun.fence()
        icmp = tun.record[0].packet.icmp
        same = ICMP.echo_request(icmp.identifier, icmp.sequence_number)
        tun.inject(IPv4(src=PEER, dst=tun.address), same, b"tunlab fence of my own")
        assert [packet.payload for packet in tun.fence()] == [b"tunlab fence of my own"]

    def test_a_reply_that_comes_after_its_fence_was_given_up_is_not_given_to_anybody(self, tun):
        tun.fence()
        request = tun.record[0].octets
        tun.device.write(request)
        assert tun.capture() == []
        tun.expect_silence()

    def test_a_reply_to_an_earlier_fence_ends_no_later_one(self, tun):
        tun.fence()
        tun.device.write(tun.record[0].octets)
        tun.netns.set_sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        with pytest.raises(KernelError, match="icmp_echo_ignore_all is on"):
            tun.fence()

    def test_a_window_waits_for_what_comes_by_a_timer(self, tun):
        timer = threading.Timer(0.02, tun.device.write, [build(*echo(tun))])
        timer.start()
        try:
            assert len(tun.fence(settle=0.3)) == 1
        finally:
            timer.join()

    def test_other_devices_of_the_namespace_are_fenced_each_by_itself(self, make_tun, netns):
        first = make_tun(netns=netns, address="10.1.2.1/24")
        second = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.ip_forward", 1)
        first.inject(IPv4(src=PEER, dst="10.1.3.9"), UDP(src_port=5, dst_port=6))
        assert [packet.udp.dst_port for packet in second.fence()] == [6]
        assert first.fence() == []


class TestNegative:
    def test_none_of_a_kind(self, tun):
        tun.inject(*echo(tun))
        tun.expect_none(TCP)
        with pytest.raises(ExpectationError) as caught:
            tun.expect_none(ICMP.where(type=0), lambda packet: packet.payload == b"hello")
        lines = str(caught.value).splitlines()
        assert lines[0] == ('wanted no ICMP(type=0) & lambda packet: packet.payload == b"hello", and one came:')
        assert lines[1].endswith("ICMP echo reply, id 7, seq 1, length 13   <-- not wanted")
        assert tun.expect(ICMP)  # it stayed unread

    def test_what_is_not_wanted_stands_first_and_the_others_beside_it(self, tun):
        tun.inject(*echo(tun))
        tun.inject(IPv4(src=PEER, dst=tun.address), TCP(src_port=5, dst_port=6, flags=TCPFlag.SYN))
        with pytest.raises(ExpectationError) as caught:
            tun.expect_none(TCP)
        _, first, second = str(caught.value).splitlines()
        assert "Flags [R.]" in first
        assert first.endswith("<-- not wanted")
        assert second.endswith("ICMP echo reply, id 7, seq 1, length 13")

    def test_nothing_at_all(self, tun):
        tun.expect_silence()
        tun.emit(b"\x60 no IPv4")
        with pytest.raises(ExpectationError, match=r"wanted no datagram at all, and one came:\n.*no IPv4 datagram"):
            tun.expect_silence()

    def test_no_packet_of_any_kind(self, tun):
        tun.emit(b"\x60 no IPv4")
        tun.expect_none()
        tun.inject(*echo(tun))
        with pytest.raises(ExpectationError, match="wanted no packet at all, and one came:"):
            tun.expect_none()

    def test_what_was_read_is_no_matter(self, tun):
        tun.inject(*echo(tun))
        tun.expect(ICMP)
        tun.expect_none(ICMP)
        tun.expect_silence()

    def test_a_time_to_wait_needs_no_fence_and_ends_with_the_packet(self, make_tun):
        tun = make_tun(address="10.1.2.1/32")
        tun.expect_silence(timeout=0.01)
        tun.netns.set_sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        tun.expect_none(timeout=0.0)
        timer = threading.Timer(0.02, tun.emit, [b"\x60 no IPv4"])
        timer.start()
        try:
            with pytest.raises(ExpectationError) as caught:
                tun.expect_silence(timeout=60)
        finally:
            timer.join()
        assert caught.value.timeout == 60
        assert caught.value.elapsed < 60

    def test_a_packet_that_waits_is_not_asked_about_again_with_each_that_comes(self, tun):
        asked = []
        tun.inject(*echo(tun))
        timers = [threading.Timer(0.02 * number, tun.device.write, [build(*echo(tun, number))]) for number in (2, 3, 4)]
        for timer in timers:
            timer.start()
        tun.expect_none(lambda packet: asked.append(packet.icmp.sequence_number), timeout=0.3)
        for timer in timers:
            timer.join()
        assert asked.count(1) == 2  # when it was there, and at the end


class TestWhereItCannotHold:
    @pytest.mark.parametrize("ask", [Tun.fence, Tun.expect_silence, Tun.expect_none])
    def test_without_an_address(self, make_tun, ask):
        with pytest.raises(
            KernelError, match=r"fence tun0: it was made without an address .*; give the Tun an address .*timeout=0\.1"
        ):
            ask(make_tun(address=""))

    def test_in_a_network_of_one(self, make_tun):
        with pytest.raises(KernelError, match=r"has no second address .*; give the Tun an address in a network of two"):
            make_tun(address="10.1.2.1/32").expect_silence()

    def test_while_the_link_is_down(self, tun):
        tun.device.down()
        with pytest.raises(
            KernelError, match=r"the link is down .*; set it up, or give a time to wait.*timeout=0\.1"
        ) as caught:
            tun.fence()
        assert caught.value.errno == errno.ENETDOWN

    def test_without_a_carrier(self, tun):
        tun.device.set_carrier(False)
        for _ in range(500):  # the kernel takes its time to notice: linkwatch, a second at most
            if tun.device.link.operstate == "down":
                break
            tun.device.wait(0.01)
        with pytest.raises(KernelError, match=r"no carrier .*; set_carrier\(True\), or give a time to wait"):
            tun.fence()

    def test_where_echo_requests_are_ignored(self, tun):
        tun.netns.set_sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        with pytest.raises(KernelError, match=r"icmp_echo_ignore_all is on: .*; set it to 0, or give a time to wait"):
            tun.fence()

    def test_where_the_address_was_taken_away_and_the_request_is_routed_back(self, tun):
        tun.netns.set_sysctl("net.ipv4.ip_forward", 1)
        tun.device.set_address("10.1.2.9/24")
        with pytest.raises(KernelError, match=r"no longer has 10\.1\.2\.1; it has 10\.1\.2\.9"):
            tun.fence()
        assert len(tun.record) > 1  # the request again, and a redirect
        assert all(each.comment == "fence" for each in tun.record)

    def test_where_the_request_is_answered_by_an_error(self, tun):
        tun.netns.set_sysctl("net.ipv4.ip_forward", 1)
        tun.device.set_address("10.9.9.9/24")
        tun.device.rtnl.add_route("10.1.2.0/24", ifindex=tun.device.ifindex)
        tun.device.rtnl.add_route("10.1.2.1/32", type="unreachable")
        with pytest.raises(KernelError, match=r"the echo request is rejected: IP 10\.9\.9\.9 > .*unreachable"):
            tun.fence()

    @pytest.mark.tun(timeout=0.05)
    def test_where_the_reply_is_routed_elsewhere(self, tun, make_tun, netns):
        other = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.conf.all.rp_filter", 0)
        netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 0)
        other.device.rtnl.add_route("10.1.2.2/32", ifindex=other.device.ifindex)
        with pytest.raises(
            KernelError, match=r"no reply in 0\.1 s: the reply is made and does not come out here"
        ) as caught:
            tun.fence()
        assert caught.value.errno == errno.ETIMEDOUT

    @pytest.mark.tun(timeout=0.05)
    def test_where_reverse_path_filtering_drops_it(self, tun, make_tun, netns):
        other = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.conf.all.rp_filter", 1)
        other.device.rtnl.add_route("10.1.2.2/32", ifindex=other.device.ifindex)
        with pytest.raises(KernelError, match=r"dropped by reverse path filtering \(net\.ipv4\.conf\.\*\.rp_filter\)"):
            tun.fence()

    @pytest.mark.tun(timeout=0.05)
    def test_where_a_firewall_drops_it(self, tun, netns):
        drop_input(netns)
        with pytest.raises(KernelError, match="does not reach ICMP: a firewall rule takes it"):
            tun.fence()

    def test_where_a_route_rejects_it(self, tun, netns):
        tun.device.rtnl.add_route("10.1.2.2/32", type="unreachable")
        netns.set_sysctl("net.ipv4.conf.all.rp_filter", 0)
        netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 0)
        tun.timeout = 0.05
        with pytest.raises(
            KernelError, match="comes in and is not answered: a firewall rule or a route takes the reply"
        ):
            tun.fence()

    def test_a_closed_one(self):
        with Tun.create() as tun:
            pass
        with pytest.raises(KernelError, match="this Tun is closed"):
            tun.fence()


def drop_input(netns):
    """As `nft add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }`."""
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
            "drop what comes in",
        )
    finally:
        netlink.close()


def anything(dice, tun):
    """A datagram of any kind that a kernel may or may not answer."""
    common = {
        "src": dice.choice([PEER] * 9 + ["10.1.2.200", "192.0.2.7", "127.0.0.1", tun.address]),
        "dst": dice.choice([tun.address] * 12 + ["10.1.2.99", "10.1.2.255", "192.0.2.1", "224.0.0.1", "127.0.0.1"]),
        "ttl": dice.choice([64] * 6 + [1, 0]),
        "identification": dice.randrange(65536),
        "flags": dice.choice([IPFlag(0), IPFlag.DF, IPFlag.RESERVED, IPFlag.MF]) if dice.random() < 0.3 else IPFlag(0),
    }
    payload = dice.randbytes(dice.choice([0, 1, 8, 56, 1400, 3000]))
    if dice.random() < 0.05:
        common["checksum"] = dice.randrange(65536)
    if dice.random() < 0.05:
        common["total_length"] = dice.randrange(len(payload) + 60)
    if dice.random() < 0.1:
        common["options"] = bytes([7, 7, 4, 0, 0, 0, 0, 0])  # record route
    port = dice.choice([80, 81, 5000, 5001])
    transport = dice.choice(
        [
            ICMP.echo_request(dice.randrange(65536), dice.randrange(65536)),
            ICMP(type=dice.choice([0, 8, 13, 15, 17, 42]), code=dice.randrange(3), identifier=5),
            UDP(src_port=dice.randrange(1, 65536), dst_port=port),
            TCP(
                src_port=dice.randrange(1, 65536),
                dst_port=port,
                flags=TCPFlag(dice.choice([2, 18, 16, 4, 1, 0, 255, dice.randrange(256)])),
                seq=dice.randrange(2**32),
                ack=dice.randrange(2**32),
            ),
            IGMP(type=dice.choice([0x11, 0x16, 0x22])),
        ]
    )
    if dice.random() < 0.15:
        return IPv4(**common, protocol=dice.choice([4, 41, 47, 50, 132, 253])), payload
    if dice.random() < 0.1:
        return IPv4(**common, protocol=transport.PROTOCOL, fragment_offset=dice.randrange(1, 100)), payload
    return IPv4(**common), transport, payload


QUIET_CLOCK = {
    "net.ipv4.icmp_ratelimit": 0,  # every datagram that asks for an error gets one
    "net.ipv4.tcp_synack_retries": 0,  # a timer's, which no fence can tell: a second after the SYN
    "net.ipv4.ip_forward": 1,
    "net.ipv4.icmp_errors_use_inbound_ifaddr": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_what_a_fence_gives_is_all_that_comes(seed):
    """Eighty datagrams of any kind, each on a device of its own; then one long look whether anything more came."""
    dice = random.Random(seed)
    tuns, answered, poll = [], 0, select.poll()
    try:
        for _ in range(80):
            tun = Tun.create(sysctls=QUIET_CLOCK)
            tuns.append(tun)
            tun.listen(80)
            tun.bind(5000)
            tun.inject(*anything(dice, tun))
            answered += len(tun.fence())
            tun.capture()
            poll.register(tun.device, select.POLLIN)
        began = time.monotonic()
        assert poll.poll(500) == [], "more came after the fence had said that this was all"
        assert time.monotonic() - began >= 0.5
        assert [tun.unread() for tun in tuns] == [[]] * len(tuns)
        assert answered > 20  # of nothing there is never more
    finally:
        for tun in tuns:
            tun.close()


@pytest.mark.slow
def test_one_device_and_many_datagrams_between_two_fences():
    """Four hundred, ten at a time: what a fence did not give would come in the next one's time, and at the end."""
    dice = random.Random(42)
    with Tun.create(sysctls=QUIET_CLOCK) as tun:
        tun.listen(80)
        tun.bind(5000)
        answered = 0
        for _ in range(40):
            for _ in range(10):
                tun.inject(*anything(dice, tun))
            answered += len(tun.fence())
            tun.capture()
            tun.expect_silence(timeout=0.005)
        tun.expect_silence(timeout=0.5)
        assert answered > 120


def test_every_kind_of_the_golden_packets_is_fenced(tun):
    for octets, *_ in GOLDEN.values():
        tun.inject(bytes.fromhex(octets))
        tun.fence()
        tun.capture()
    tun.expect_silence(timeout=0.02)
