"""IPv6 on a TUN: what works over IPv4 works over IPv6, on a Tun with one family or both."""

import errno
from ipaddress import IPv6Network

import pytest

from tunlab.errors import ExpectationError, KernelError
from tunlab.packet import ICMP, TCP, UDP, ICMPv6, ICMPv6Type, IPv4, IPv6, MLDv2Report, TCPFlag, findings, reply

BOTH = ["10.1.2.1/24", "fd00::1/64"]
SYN, SYN_ACK = TCPFlag.SYN, TCPFlag.SYN | TCPFlag.ACK


@pytest.fixture(params=["10.1.2.1/24", "fd00::1/64", BOTH], ids=["IPv4", "IPv6", "both"])
def tun(request, make_tun):
    return make_tun(request.param)


def ends(tun):
    """Return the addresses of the test and of the kernel in each family that the Tun has."""
    pairs = {(tun.peer, tun.address)}
    if len(tun.device.addresses) > 1:
        pairs.add((tun.peer6, tun.address6))
    return sorted(pairs)


def ip(src, dst):
    return IPv6(src=src, dst=dst) if ":" in dst else IPv4(src=src, dst=dst)


def echo_request(src, dst, number=1):
    return ip(src, dst), (ICMPv6 if ":" in dst else ICMP).echo_request(7, number), b"hello"


def test_listener_accepts_a_peer(tun):
    listener = tun.listen(80)
    for peer_address, _ in ends(tun):
        peer = tun.tcp(80, src=peer_address).handshake()
        peer.send(b"GET /")
        accepted, address = listener.accept()
        with accepted:
            assert (address[0].removeprefix("::ffff:"), address[1]) == peer.local
            assert accepted.recv(100) == b"GET /"
            accepted.sendall(b"200 OK")
            assert findings(peer.expect(payload=b"200 OK")) == []


def test_connect_reaches_a_peer(tun):
    for peer_address, own in ends(tun):
        peer = tun.tcp(listen=80, src=peer_address)
        client = tun.connect(*peer.local, src_port=5555)
        peer.handshake()
        assert peer.remote == (own, 5555)
        client.sendall(b"hello")
        peer.expect(payload=b"hello")


def test_bound_socket_receives_udp(tun):
    receiver = tun.bind(5000)
    for peer, own in ends(tun):
        tun.inject(ip(peer, own), UDP(src_port=9, dst_port=5000), b"hi")
        data, address = receiver.recvfrom(10)
        assert (data, address[0].removeprefix("::ffff:"), address[1]) == (b"hi", peer, 9)
        receiver.sendto(b"yo", address)
        assert tun.expect(UDP.where(payload=b"yo")).ip.dst == peer


def test_bind_to_a_port_in_use_on_both_wildcard_addresses_raises(make_tun):
    tun = make_tun(BOTH)
    with tun.bind(5, address="::"), tun.bind(5, address="0.0.0.0"), pytest.raises(KernelError) as caught:
        tun.bind(5)
    assert caught.value.errno == errno.EADDRINUSE


def test_ping_receives_injected_reply(tun):
    for peer, _ in ends(tun):
        ping = tun.ping(peer, payload=b"marco")
        request = tun.expect(lambda packet: packet.payload == b"marco")
        assert request.ip.dst == peer
        assert ping.identifier == request.headers[-1].identifier
        tun.inject(*reply(request), request.payload)
        assert (ping.reply().address, ping.sequence_numbers) == (peer, [1])


@pytest.mark.parametrize("scope", ["", "%tun0"])
def test_link_local_destination_is_reached_through_the_device_of_the_tun(make_tun, scope):
    tun = make_tun("fd00::1/64")
    ping = tun.ping(f"fe80::9{scope}")
    request = tun.expect(ICMPv6.where(type=ICMPv6Type.ECHO_REQUEST), IPv6.where(dst="fe80::9"))
    tun.inject(*reply(request), request.payload)
    assert ping.reply().address == "fe80::9"
    tun.connect(f"fe80::9{scope}", 80)
    tun.expect(TCP.where(flags=SYN), IPv6.where(dst="fe80::9"))


def test_address_with_scope_of_another_interface_raises(make_tun):
    with pytest.raises(KernelError, match=r"the scope of fe80::9%eth0 is not tun0 .EINVAL.\. Give the address without"):
        make_tun("fd00::1/64").ping("fe80::9%eth0")


def test_ipv6_destination_on_ipv4_tun_raises(make_tun):
    with pytest.raises(KernelError, match=r"ping fd00::9: .*\. "):
        make_tun().ping("fd00::9")


def test_where_condition_compares_ipv6_networks(make_tun):
    tun = make_tun("fd00::1/64")
    sender = tun.bind(5)
    for dst in ("fd00::ff:1", "fd00::2"):
        sender.sendto(b"", (dst, 9))
    assert tun.expect(IPv6.where(src=tun.network, dst=tun.network6), timeout=0).ip.dst == "fd00::ff:1"
    with pytest.raises(ExpectationError, match=r"IPv6\.dst: wanted 2001:db8::/32, got fd00::2"):
        tun.expect(IPv6.where(dst=IPv6Network("2001:db8::/32")), timeout=0)


class TestFence:
    def test_fence_returns_answers_to_earlier_packets(self, tun):
        for peer, own in ends(tun):
            for number in (1, 2):
                tun.inject(*echo_request(peer, own, number))
        assert [packet.headers[-1].sequence_number for packet in tun.fence()] == [1, 2] * len(ends(tun))
        assert len(tun.capture()) == 2 * len(ends(tun))
        tun.expect_silence()
        assert tun.unmatched() == []

    def test_new_device_sends_nothing_by_itself(self, tun):
        tun.fence()
        tun.expect_silence(timeout=0.05)
        assert [entry.comment for entry in tun.record] == ["fence", "fence"]

    def test_error_of_fence_without_echo_replies_names_the_sysctl(self, make_tun):
        tun = make_tun("fd00::1/64", timeout=0.05)
        tun.netns.set_sysctl("net.ipv6.icmp.echo_ignore_all", 1)
        with pytest.raises(KernelError, match=r"net\.ipv6\.icmp\.echo_ignore_all is on.*\. Set it to 0, or avoid"):
            tun.fence()

    def test_error_of_fence_after_address_removal_names_the_address(self, make_tun):
        tun = make_tun("fd00::1/64", timeout=0.05)
        tun.device.rtnl.delete_address(tun.device.ifindex, "fd00::1/64")
        with pytest.raises(KernelError, match=r"fd00::1 was removed from tun0, which has fe80::"):
            tun.fence()

    def test_error_of_fence_in_a_network_of_one_address_suggests_two(self, make_tun):
        with pytest.raises(KernelError, match=r"fd00::1/128 has only one address .*\. Give the Tun a network of two"):
            make_tun("fd00::1/128").fence()

    def test_fence_does_not_return_its_own_reply_from_a_full_capture(self, make_tun):
        tun = make_tun("fd00::1/64")
        tun.inject(*echo_request(tun.peer, tun.address))
        tun.expect_none(TCP)
        with pytest.raises(ExpectationError, match=r"wanted no ICMPv6\(\), but 1 arrived:\n.*echo reply, id 7, seq 1"):
            tun.expect_none(ICMPv6)


class TestForwarding:
    @pytest.fixture
    def router(self, make_tun):
        return make_tun("fd00::1/64", sysctls={"net.ipv6.conf.all.forwarding": 1})

    def test_multicast_listener_reports_of_a_router_are_ignored(self, router):
        report = router.expect(MLDv2Report)
        assert [record.multicast_address for record in report[MLDv2Report].records] == ["ff02::2"]
        router.inject(*echo_request(router.peer, router.address))
        assert len(router.fence()) == 1
        router.expect_none(IPv6.where(dst="ff02::16"))
        assert [entry.packet.payload for entry in router.unmatched()] == [b"hello"]

    def test_expired_hop_limit_is_answered(self, router):
        router.inject(IPv6(src=router.peer, dst="fd00::9", hop_limit=1), UDP(src_port=1, dst_port=2))
        assert router.expect(ICMPv6.where(type=ICMPv6Type.TIME_EXCEEDED)).quoted.ip.dst == "fd00::9"


class TestErrors:
    def test_closed_port_sends_an_icmpv6_error_and_changes_counters(self, make_tun):
        tun = make_tun("fd00::1/64")
        with tun.expect_counters(Udp6__NoPorts=1, Icmp6__OutDestUnreachs=1):
            tun.inject(ip(tun.peer, tun.address), UDP(src_port=1, dst_port=9), b"x")
        error = tun.expect(ICMPv6.where(type=ICMPv6Type.DESTINATION_UNREACHABLE, code=4))
        assert error.quoted.udp.dst_port == 9

    def test_many_icmpv6_errors_are_not_rate_limited(self, make_tun):
        tun = make_tun("fd00::1/64")
        for number in range(100):
            tun.inject(ip(tun.peer, tun.address), UDP(src_port=1, dst_port=number + 1))
        assert len(tun.fence()) == 100

    def test_error_of_unmet_expectation_shows_the_fields(self, make_tun):
        tun = make_tun("fd00::1/64")
        tun.inject(*echo_request(tun.peer, tun.address))
        with pytest.raises(ExpectationError) as caught:
            tun.expect(ICMPv6.where(identifier=8), timeout=0)
        text = str(caught.value)
        assert "IP6 fd00::1 > fd00::2: ICMPv6 echo reply, id 7, seq 1" in text
        assert "ICMPv6.identifier: wanted 8, got 7" in text

    def test_injected_ipv6_packet_with_packet_information_is_answered(self, make_tun):
        tun = make_tun(BOTH, packet_information=True)
        for peer, own in ends(tun):
            tun.inject(*echo_request(peer, own))
            tun.expect(type(ip(peer, own)).where(src=own))
