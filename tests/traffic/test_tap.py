"""Tap: frames that a test injects and receives, address resolution, and routine packets of the kernel."""

import errno
import socket

import pytest

from tunlab.errors import ExpectationError, KernelError, PacketError
from tunlab.packet import (
    ARP,
    GRE,
    ICMP,
    TCP,
    UDP,
    VLAN,
    ARPOperation,
    Ethernet,
    HopByHop,
    ICMPv6,
    ICMPv6Type,
    IPv4,
    IPv6,
    MLDv2Report,
    NeighborAdvertisement,
    NeighborSolicitation,
    Packet,
    TCPFlag,
    build,
    findings,
    parse,
    reply,
)
from tunlab.packet.ipv6_options import RouterAlert
from tunlab.traffic import Tap, Tun

BOTH = ["10.1.2.1/24", "fd00::1/64"]
SYN, SYN_ACK = TCPFlag.SYN, TCPFlag.SYN | TCPFlag.ACK


@pytest.fixture(params=["10.1.2.1/24", "fd00::1/64"], ids=["IPv4", "IPv6"])
def tap(request, make_tun):
    return make_tun(request.param, mode="tap")


def ip(src, dst):
    return IPv6(src=src, dst=dst) if ":" in dst else IPv4(src=src, dst=dst)


def echo_request(tap, number=1):
    echo = ICMPv6 if ":" in tap.address else ICMP
    return ip(tap.peer, tap.address), echo.echo_request(7, number), b"hello"


def question(tap):
    """Return the class of the packets by which the kernel asks for a MAC address."""
    return NeighborSolicitation if ":" in tap.address else ARP


def other_host(tap):
    return "fd00::9" if ":" in tap.address else "10.1.2.9"


def _send(tap, *layers):
    """Send a frame from the namespace as a program would, so that the Tap does not know who sent it."""
    with tap.netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((tap.ifname, 0))
        sender.send(build(*layers))


class TestCreate:
    def test_hardware_addresses_are_the_same_in_each_run(self, make_tun):
        for tap in (make_tun(mode="tap"), make_tun(mode="tap")):
            assert (tap.hardware_address, tap.peer_hardware_address) == ("02:00:00:00:02:01", "02:00:00:00:02:02")
            assert tap.device.hardware_address == tap.hardware_address

    def test_settings_of_make_tun_are_applied_to_the_tap(self, make_tun):
        tap = make_tun(BOTH, mode="tap", ifname="wire", mtu=9000, timeout=3)
        assert (tap.ifname, tap.device.mtu, tap.timeout, tap.address6) == ("wire", 9000, 3, "fd00::1")

    def test_error_of_tun_create_with_mode_names_tap_create(self):
        with pytest.raises(KernelError, match=r"a Tun has no option mode .EINVAL.. Use Tap\.create, or make_tun"):
            Tun.create(mode="tap")
        with pytest.raises(KernelError, match="a Tap has no option vnet_hdr"):
            Tap.create(vnet_hdr=True)

    def test_make_tun_with_unknown_mode_raises(self, make_tun):
        with pytest.raises(ValueError, match=r'mode=\'bridge\' does not exist. Give "tun" or "tap".'):
            make_tun(mode="bridge")


class TestFrames:
    def test_inject_adds_an_ethernet_header(self, tap):
        sent = parse(tap.inject(*echo_request(tap)), link_type=1)
        assert sent[Ethernet] == Ethernet(
            dst=tap.hardware_address, src=tap.peer_hardware_address, type=sent[Ethernet].type
        )
        answer = tap.expect(type(echo_request(tap)[1]).where(identifier=7))
        assert (answer[Ethernet].dst, answer[Ethernet].src) == (tap.peer_hardware_address, tap.hardware_address)
        assert (answer.payload, answer.ip.dst, findings(answer)) == (b"hello", tap.peer, [])

    def test_inject_keeps_a_given_ethernet_header(self, tap):
        ethernet = Ethernet(dst=tap.hardware_address, src="02:aa:00:00:00:01")
        layers = (ethernet, *echo_request(tap))
        assert tap.inject(*layers) == tap.inject(Packet.of(*layers)) == tap.inject(build(*layers)) == build(*layers)
        assert len(tap.fence()) == 3

    def test_inject_adds_an_ethernet_header_to_a_packet_object(self, tap):
        assert tap.inject(Packet.of(*echo_request(tap))) == tap.inject(*echo_request(tap))

    @pytest.mark.parametrize(
        ("header", "dst"),
        [
            (IPv4(src="10.1.2.2", dst="224.129.130.3"), "01:00:5e:01:82:03"),
            (IPv4(src="10.1.2.2", dst="255.255.255.255"), "ff:ff:ff:ff:ff:ff"),
            (IPv6(src="fd00::2", dst="ff02::1:ff00:1"), "33:33:ff:00:00:01"),
            (ARP(sender_protocol="10.1.2.2", target_protocol="10.1.2.1"), "ff:ff:ff:ff:ff:ff"),
            (IPv4(src="10.1.2.2", dst="192.0.2.1"), "02:00:00:00:02:01"),
        ],
        ids=str,
    )
    def test_inject_derives_the_ethernet_destination_from_the_packet(self, make_tun, header, dst):
        tap = make_tun(BOTH, mode="tap")
        payload = () if isinstance(header, ARP) else (UDP(src_port=1, dst_port=2),)
        sent = parse(tap.inject(header, *payload), link_type=1)
        assert sent[Ethernet].dst == dst

    def test_injected_frame_of_another_vlan_is_not_answered(self, make_tun):
        tap = make_tun(mode="tap")
        ethernet = Ethernet(dst=tap.hardware_address, src=tap.peer_hardware_address)
        tap.inject(ethernet, VLAN(vid=7), *echo_request(tap))
        tap.expect_silence()

    def test_inject_of_a_transport_header_alone_raises(self, tap):
        with pytest.raises(PacketError, match="a packet begins with an IP or link-layer header"):
            tap.inject(TCP(src_port=1, dst_port=2))

    def test_inject_of_a_short_frame_raises(self, tap):
        with pytest.raises(KernelError, match="the frame has 3 bytes and needs an Ethernet header"):
            tap.inject(b"abc")

    def test_emit_adds_an_ethernet_header_with_the_source_of_the_kernel(self, tap):
        tap.emit(ip(tap.address, tap.peer), UDP(src_port=1, dst_port=2), b"forged")
        packet = tap.expect(UDP.where(payload=b"forged"), timeout=0)
        assert (packet[Ethernet].src, packet[Ethernet].dst) == (tap.hardware_address, tap.peer_hardware_address)

    def test_tap_with_packet_information_injects_and_receives_frames(self, make_tun):
        tap = make_tun(BOTH, mode="tap", packet_information=True)
        tap.inject(*echo_request(tap))
        assert tap.expect(ICMP)[Ethernet].dst == tap.peer_hardware_address

    def test_tcp_handshake_over_a_tap_completes(self, tap):
        listener = tap.listen(80)
        tap.inject(ip(tap.peer, tap.address), TCP(src_port=4000, dst_port=80, seq=100, flags=SYN))
        tap.inject(*reply(tap.expect(TCP.where(flags=SYN_ACK, ack=101))))
        listener.accept()[0].close()


class TestAddressResolution:
    def test_kernel_reaches_every_host_behind_the_tap(self, tap):
        client = tap.connect(other_host(tap), 80)
        syn = tap.expect(TCP.where(flags=SYN))
        assert (syn[Ethernet].dst, syn.ip.dst) == (tap.peer_hardware_address, other_host(tap))
        network, answer = reply(syn)
        tap.inject(network, answer.replace(flags=SYN_ACK))
        tap.expect(TCP.where(flags=TCPFlag.ACK))
        client.sendall(b"hello")
        tap.expect(TCP.where(payload=b"hello"))

    def test_answered_arp_request_is_in_the_record_but_matches_only_its_own_class(self, tap):
        tap.ping(other_host(tap))
        tap.expect_none(TCP)
        answered = [entry for entry in tap.record if "answered by the Tap" in entry.notes]
        assert [entry.routine for entry in answered] == [True]
        assert [entry.comment for entry in tap.record if entry.direction == "in"].count("address resolution") == 1
        with pytest.raises(ExpectationError, match="who has"):
            tap.expect_none(question(tap))
        assert len(tap.capture()) == 1  # the echo request of tap.ping
        assert tap.unmatched() == []

    def test_tap_without_address_resolution_leaves_arp_requests_to_the_test(self, make_tun):
        tap = make_tun(mode="tap", address_resolution=False)
        tap.ping(tap.peer)
        request = tap.expect(ARP.where(operation=ARPOperation.REQUEST, target_protocol=tap.peer))
        tap.expect_silence()
        answer = ARP(
            operation=ARPOperation.REPLY,
            sender_hardware="02:aa:00:00:00:07",
            sender_protocol=tap.peer,
            target_hardware=request[Ethernet].src,
            target_protocol=tap.address,
        )
        tap.inject(answer)
        assert tap.expect(ICMP)[Ethernet].dst == "02:aa:00:00:00:07"

    def test_arp_request_after_address_resolution_is_turned_off_is_unexpected(self, tap):
        tap.fence()
        tap.address_resolution = False
        tap.ping(other_host(tap))
        with pytest.raises(ExpectationError, match=r"wanted no packet, but 1 arrived:\n.*who has"):
            tap.expect_silence()
        assert [entry.to_packet().get(question(tap)) is None for entry in tap.unmatched()] == [False]

    def test_question_behind_vlan_tags_is_answered_with_the_same_tags(self, make_tun):
        tap = make_tun(BOTH, mode="tap")
        frame = Ethernet(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:77"), VLAN(vid=5, pcp=3), VLAN(vid=7)
        arp = ARP(sender_protocol="10.1.2.1", target_protocol="10.1.2.9")
        solicitation = IPv6(src="fd00::1", dst="ff02::1:ff00:9"), NeighborSolicitation(target="fd00::9")
        for layers in ((arp,), solicitation):
            _send(tap, *frame, *layers)
        tap.expect_silence()
        answers = [entry.to_packet() for entry in tap.record if entry.comment == "address resolution"]
        assert [[type(each) for each in packet] for packet in answers] == [
            [Ethernet, VLAN, VLAN, ARP],
            [Ethernet, VLAN, VLAN, IPv6, NeighborAdvertisement],
        ]
        for packet in answers:
            assert (packet[Ethernet].dst, packet[Ethernet].src) == ("02:00:00:00:00:77", tap.peer_hardware_address)
            assert [(tag.vid, tag.pcp) for tag in packet.headers[1:3]] == [(5, 3), (7, 0)]
            assert findings(packet) == []

    @pytest.mark.parametrize(
        "layers",
        [
            (
                IPv4(src="10.1.2.1", dst="10.1.2.2"),
                GRE(),
                Ethernet(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:77"),
                ARP(sender_protocol="10.9.9.1", target_protocol="10.9.9.2"),
            ),
            (
                IPv4(src="10.1.2.1", dst="10.1.2.2"),
                IPv6(src="fd99::1", dst="ff02::1:ff00:9"),
                NeighborSolicitation(target="fd99::9"),
            ),
            (
                IPv4(src="10.1.2.1", dst="10.1.2.2"),
                IPv6(src="fe80::1", dst="ff02::16"),
                HopByHop(options=[RouterAlert()]),
                MLDv2Report(),
            ),
        ],
        ids=["ARP", "neighbor solicitation", "MLD report"],
    )
    def test_tunnelled_question_or_report_counts_like_other_packets(self, make_tun, layers):
        tap = make_tun(mode="tap")
        _send(tap, Ethernet(dst=tap.peer_hardware_address, src=tap.hardware_address), *layers)
        with pytest.raises(ExpectationError, match="wanted no packet, but 1 arrived"):
            tap.expect_silence()
        assert "address resolution" not in [entry.comment for entry in tap.record]
        assert [type(each) for each in tap.capture()[0]] == [Ethernet, *map(type, layers)]

    def test_unanswered_address_resolution_leaves_the_datagram_unsent(self, tap):
        tap.address_resolution = False
        name = "Icmp6" if ":" in tap.address else "Icmp"
        assert f"{name}.OutDestUnreachs" in tap.counters
        with tap.bind(5) as sender:
            sender.sendto(b"lost", (other_host(tap), 9))
        assert tap.expect(question(tap), timeout=1)
        tap.expect_none(UDP)

    def test_neighbour_entry_has_the_hardware_address_of_the_peer(self, tap):
        tap.ping(other_host(tap))
        tap.fence()
        entries = {each.address: each.hardware_address for each in tap.device.rtnl.neighbours(tap.device.ifindex)}
        assert entries[other_host(tap)] == tap.peer_hardware_address


class TestRoutine:
    def test_multicast_listener_reports_of_the_kernel_are_ignored(self, make_tun):
        tap = make_tun("fd00::1/64", mode="tap")
        report = tap.expect(MLDv2Report)
        assert (report.ip.dst, findings(report)) == ("ff02::16", [])
        tap.expect_silence(timeout=0.1)
        tap.expect_none(IPv6)
        assert tap.capture() == tap.fence() == tap.unread() == []
        assert tap.unmatched() == []

    def test_general_expectation_does_not_match_a_multicast_listener_report(self, make_tun):
        tap = make_tun("fd00::1/64", mode="tap")
        tap.expect(MLDv2Report)
        tap.inject(*echo_request(tap))
        tap.netns.set_sysctl("net.ipv6.conf.tap0.mldv2_unsolicited_report_interval", 10)
        group = socket.inet_pton(socket.AF_INET6, "ff02::77") + tap.device.ifindex.to_bytes(4, "little")
        tap.bind(9).setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        for expectation in (ICMPv6, IPv6, lambda _: True):
            tap.inject(*echo_request(tap))
            assert tap.expect(expectation, ICMPv6.where(identifier=7)).icmpv6.type == ICMPv6Type.ECHO_REPLY

    def test_ipv4_tap_sends_nothing_by_itself(self, make_tun):
        tap = make_tun(mode="tap")
        tap.expect_silence(timeout=0.1)
        tap.fence()
        assert [entry.comment for entry in tap.record] == ["fence", "fence"]


class TestFence:
    def test_fence_returns_answers_that_waited_for_address_resolution(self, tap):
        for number in (1, 2, 3):
            tap.inject(*echo_request(tap, number))
        assert [packet.headers[-1].sequence_number for packet in tap.fence()] == [1, 2, 3]
        assert len(tap.capture()) == 3
        tap.expect_silence()

    def test_fence_needs_no_address_resolution(self, tap):
        tap.address_resolution = False
        for _ in range(3):
            assert tap.fence() == []
        assert {entry.comment for entry in tap.record if not entry.routine} == {"fence"}
        assert tap.unmatched() == []

    @pytest.mark.parametrize("address", ["10.1.2.1/32", "fd00::1/128"])
    def test_fence_in_a_network_of_one_address_works(self, make_tun, address):
        assert make_tun(address, mode="tap").fence() == []

    def test_error_of_fence_without_address_names_the_address_or_carrier(self, tap):
        tap.timeout = 0.05
        tap.device.rtnl.delete_address(tap.device.ifindex, str(tap.device.addresses[0].cidr))
        with pytest.raises(KernelError, match=r"was removed from tap0|has no carrier"):
            tap.fence()

    def test_error_of_fence_with_arp_ignore_names_the_sysctl(self, make_tun):
        tap = make_tun(mode="tap", timeout=0.05, sysctls={"net.ipv4.conf.all.arp_ignore": 8})
        with pytest.raises(KernelError, match=r"arp_ignore is 8.*. Set it to 0, or avoid the fence") as caught:
            tap.fence()
        assert caught.value.errno == errno.EHOSTUNREACH


class TestStrict:
    def test_unmatched_frame_is_shown_as_a_packet_summary(self, tap):
        tap.inject(*echo_request(tap))
        assert [str(entry).partition(", ")[0] for entry in tap.unmatched()] == [
            f"IP6 {tap.address} > {tap.peer}: ICMPv6 echo reply"
            if ":" in tap.address
            else f"IP {tap.address} > {tap.peer}: ICMP echo reply"
        ]

    def test_error_of_expect_explains_ethernet_fields(self, tap):
        tap.inject(*echo_request(tap))
        with pytest.raises(ExpectationError, match=r"Ethernet\.dst: wanted 02:00:00:00:00:99, got 02:00:00:00:02:02"):
            tap.expect(Ethernet.where(dst="02:00:00:00:00:99"), timeout=0)
