"""Tests of `Tun`: packets that a test injects, and packets that the kernel sends."""

import errno

import pytest

from tunlab.errors import ExpectationError, KernelError, MalformedError, PacketError
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.packet import ICMP, TCP, UDP, IPFlag, IPv4, Packet, build, findings, parse, reply, summary
from tunlab.traffic import Tun

PEER = "10.1.2.77"
IPV4 = ("10.1.2.1", "10.1.2.0/24", "10.1.2.2")  # address, network, peer


def echo(tun, number=1, payload=b"payload"):
    return IPv4(src=PEER, dst=tun.address), ICMP.echo_request(7, number), payload


class TestCreate:
    def test_create_without_arguments_uses_defaults(self, tun):
        assert (tun.ifname, tun.address, str(tun.network), tun.device.mtu) == ("tun0", "10.1.2.1", "10.1.2.0/24", 1500)

    def test_peer_is_first_address_of_network_that_the_tun_does_not_have(self, make_tun):
        assert make_tun(address="10.1.2.1/24").peer == "10.1.2.2"
        assert make_tun(address="10.9.0.7/29").peer == "10.9.0.1"

    @pytest.mark.parametrize(
        ("address", "own", "own6"),
        [
            ("fd00::1/64", ("fd00::1", "fd00::/64", "fd00::2"), ("fd00::1", "fd00::/64", "fd00::2")),
            ("fd00::2/127", ("fd00::2", "fd00::2/127", "fd00::3"), ("fd00::2", "fd00::2/127", "fd00::3")),
            (["10.1.2.1/24", "fd00::7/120"], IPV4, ("fd00::7", "fd00::/120", "fd00::1")),
            (("fd00::1/64", "10.1.2.1/24"), IPV4, ("fd00::1", "fd00::/64", "fd00::2")),
        ],
    )  # fmt: skip
    def test_create_with_ipv6_address_enables_ipv6(self, make_tun, address, own, own6):
        tun = make_tun(address)
        assert (tun.address, str(tun.network), tun.peer) == own
        assert (tun.address6, str(tun.network6), tun.peer6) == own6
        given = [address] if isinstance(address, str) else list(address)
        assert sorted(each.cidr for each in tun.device.addresses if each.scope == 0) == sorted(given)
        assert " ".join(given) in repr(tun)

    def test_create_with_ipv4_address_leaves_ipv6_off(self, tun):
        assert tun.netns.sysctl("net.ipv6.conf.tun0.disable_ipv6") == "1"
        assert [each.cidr for each in tun.device.addresses] == ["10.1.2.1/24"]
        with pytest.raises(KernelError, match=r"get the IPv6 address of tun0: .* without one .*\. Give one"):
            _ = tun.address6

    def test_create_with_ipv6_address_in_namespace_without_ipv6_raises(self, make_tun, netns):
        with pytest.raises(KernelError, match=r"IPv6 is disabled .*\. Create the namespace with ipv6=True"):
            make_tun("fd00::1/64", netns=netns)

    @pytest.mark.parametrize("address", [("10.1.2.1/24", 5), ("fd00::1",)])
    def test_create_with_invalid_address_raises(self, make_tun, address):
        with pytest.raises(KernelError, match=r"\. Give "):
            make_tun(address)

    def test_address_of_tun_without_address_raises(self, make_tun):
        tun = make_tun(address="")
        with pytest.raises(KernelError, match="Give one, as address="):
            _ = tun.address

    def test_settings_of_create_are_applied_to_the_device(self, make_tun):
        tun = make_tun(address="192.0.2.9/31", ifname="wire", mtu=9000)
        assert (tun.ifname, tun.address, tun.device.mtu, tun.device.link.up) == ("wire", "192.0.2.9", 9000, True)

    def test_two_tuns_in_one_namespace_forward_packets(self, make_tun, netns):
        first = make_tun(netns=netns, ifname="tun0", address="10.1.2.1/24")
        second = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24")
        netns.set_sysctl("net.ipv4.ip_forward", 1)
        sent = first.inject(IPv4(src=PEER, dst="10.1.3.9", ttl=9), UDP(src_port=5, dst_port=6), b"across")
        crossed = second.expect(UDP.where(dst_port=6))
        assert (crossed.payload, crossed.ip.ttl, crossed.ip.src) == (b"across", parse(sent).ip.ttl - 1, PEER)

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"address": "10.1.2.300/24"}, "10.1.2.300/24"),
            ({"address": "somewhere"}, "somewhere"),
            ({"ifname": "a-name-that-is-too-long"}, "15"),
            ({"ifname": "two words"}, "two words"),
        ],
    )
    def test_create_with_invalid_setting_raises_einval(self, make_tun, settings, sentence):
        with pytest.raises(KernelError) as caught:
            make_tun(**settings)
        assert sentence in str(caught.value)
        assert caught.value.errno == errno.EINVAL

    def test_peer_in_a_network_of_one_address_raises(self, make_tun):
        with pytest.raises(KernelError, match="has only one address"):
            _ = make_tun(address="255.255.255.255/32").peer

    def test_create_in_given_namespace_sets_sysctls_and_rejects_ipv6(self, make_tun, netns):
        make_tun(netns=netns, sysctls={"net.ipv4.ip_forward": "1"})
        assert netns.sysctl("net.ipv4.ip_forward") == "1"
        with pytest.raises(KernelError, match="Make the namespace with ipv6=True"):
            make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24", ipv6=True)

    def test_closed_tun_methods_raise_and_its_device_is_deleted(self, netns):
        with Tun.create() as own, Tun.create(netns=netns) as given:
            pass
        for tun in (own, given):
            for use in (
                lambda tun=tun: tun.inject(*echo(tun)), lambda tun=tun: tun.emit(b"x"), tun.expect, tun.capture,
                tun.read,
                lambda tun=tun: tun.ping("10.1.2.3"), lambda tun=tun: tun.listen(80), lambda tun=tun: tun.bind(80),
                lambda tun=tun: tun.connect("10.1.2.3", 80), tun.socket, lambda tun=tun: tun.run(["true"]),
                lambda tun=tun: tun.popen(["true"]),
            ):  # fmt: skip
                with pytest.raises(KernelError, match="this Tun is closed"):
                    use()
        with pytest.raises(KernelError, match="this namespace is closed"):
            own.netns.run(["true"])
        with Rtnl(netns) as rtnl:
            assert [link.name for link in rtnl.links()] == ["lo"]
        with Tun.create("192.0.2.1/24", netns=netns) as again:
            assert [address.cidr for address in again.device.addresses] == ["192.0.2.1/24"]

    def test_create_with_name_of_existing_device_raises_ebusy(self, tun, netns):
        with pytest.raises(KernelError) as caught:
            Tun.create("192.0.2.1/24", netns=netns)
        assert caught.value.errno == errno.EBUSY
        assert [address.cidr for address in tun.device.addresses] == ["10.1.2.1/24"]

    def test_failed_create_leaves_no_device(self, netns):
        with pytest.raises(KernelError):
            Tun.create(netns=netns, mtu=3)
        with Rtnl(netns) as rtnl:
            assert [link.name for link in rtnl.links()] == ["lo"]

    @pytest.mark.parametrize(
        "settings",
        [{"address": 5}, {"ifname": 7}, {"sysctls": {"net.ipv4.ip_forward": None}}, {"sysctls": {1: "1"}}],
        ids=str,
    )
    def test_create_with_setting_of_wrong_type_raises(self, settings):
        with pytest.raises(KernelError, match=r"\. Give "):
            Tun.create(**settings)

    def test_create_accepts_a_number_as_sysctl_value(self, make_tun):
        assert make_tun(sysctls={"net.ipv4.ip_forward": 1}).netns.sysctl("net.ipv4.ip_forward") == "1"

    def test_close_twice_is_allowed(self):
        tun = Tun.create()
        tun.close()
        tun.close()
        assert tun.closed


class TestInject:
    def test_inject_accepts_headers_bytes_packets_and_objects_with_bytes_method(self, tun):
        class Foreign:
            def __bytes__(self):
                return build(*layers)

        layers = echo(tun)
        forms = [layers, (build(*layers),), (bytearray(build(*layers)),), (Packet.of(*layers),), (Foreign(),)]
        assert len({tun.inject(*form) for form in forms}) == 1
        answers = tun.capture(len(forms))
        assert {answer.payload for answer in answers} == {b"payload"}

    def test_injected_echo_request_gets_matching_reply(self, tun):
        sent = parse(tun.inject(*echo(tun, 42, b"x" * 1000)))
        answer = tun.expect(ICMP.where(type=0))
        assert (answer.ip.src, answer.ip.dst) == (sent.ip.dst, sent.ip.src)
        assert (answer.icmp.identifier, answer.icmp.sequence_number) == (7, 42)
        assert answer.payload == sent.payload
        assert findings(answer) == []

    def test_injected_packet_with_bad_checksum_is_dropped(self, tun):
        tun.inject(IPv4(src=PEER, dst=tun.address, checksum=0xBAD), ICMP.echo_request(1, 1))
        tun.inject(IPv4(src=PEER, dst=tun.address), ICMP.echo_request(1, 2))
        assert tun.expect(ICMP).icmp.sequence_number == 2

    def test_datagram_to_closed_udp_port_gets_icmp_error_that_quotes_it(self, tun):
        sent = tun.inject(IPv4(src=PEER, dst=tun.address), UDP(src_port=1000, dst_port=2000), b"anybody?")
        error = tun.expect(ICMP.where(type=3, code=3))
        assert bytes(error.quoted) == sent
        assert error.quoted.ports == (1000, 2000)

    def test_injected_fragments_are_reassembled(self, tun):
        payload = bytes(range(200)) * 8
        message = build(IPv4(src=PEER, dst=tun.address), ICMP.echo_request(3, 4), payload)[20:]
        cut = 800
        common = {"src": PEER, "dst": tun.address, "protocol": 1, "identification": 9}
        tun.inject(IPv4(**common, fragment_offset=cut // 8), message[cut:])
        tun.inject(IPv4(**common, flags=IPFlag.MF), message[:cut])
        first, rest = tun.capture(2)
        assert first.payload + rest.payload == payload
        assert rest.ip.fragment_offset * 8 == first.ip.total_length - 20

    def test_error_of_rejected_injection_suggests_packet_socket(self, tun):
        with pytest.raises(KernelError, match="PacketSocket") as caught:
            tun.inject(b"\x55" * 20)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(KernelError, match="there are 0 bytes to write"):
            tun.inject(b"")

    @pytest.mark.parametrize("value", [5, "hello", None, ["bytes"]])
    def test_inject_of_value_without_bytes_method_raises(self, tun, value):
        """A number must raise, because bytes(5) would send five zero bytes."""
        for send in (tun.inject, tun.emit):
            with pytest.raises(PacketError, match="Give bytes, or an object that has __bytes__"):
                send(value)
        assert not tun.record

    def test_inject_of_invalid_layers_raises(self, tun):
        with pytest.raises(PacketError, match="begins with an IP"):
            tun.inject(TCP(src_port=1, dst_port=2), b"")
        with pytest.raises(MalformedError, match=r"IPv4\.ttl"):
            tun.inject(IPv4(src=PEER, dst=tun.address, ttl=256), ICMP())

    def test_record_has_injected_and_received_packets_in_order(self, tun):
        sent = tun.inject(*echo(tun))
        answer = tun.expect(ICMP)
        assert [(each.direction, each.data) for each in tun.record] == [("in", sent), ("out", bytes(answer))]
        assert tun.record[0].time_ns <= tun.record[1].time_ns
        assert str(tun.record[0]).startswith(f"IP {PEER} > 10.1.2.1: ICMP echo request, id 7, seq 1")


class TestEmit:
    @pytest.mark.parametrize("data", [b"\x55", b"\x45", b"\x00" * 20, b"\xff" * 1500, bytes(range(256))])
    def test_emitted_bytes_are_read_unchanged(self, tun, data):
        assert tun.emit(data) == data
        assert tun.read() == data

    def test_emitted_headers_are_read_unchanged(self, tun):
        data = tun.emit(IPv4(src="192.0.2.1", dst="192.0.2.2", checksum=1, total_length=5), TCP(), b"x")
        assert tun.read() == data


class TestExpect:
    def test_capture_after_expect_returns_packets_after_the_match(self, tun):
        for number in (1, 2, 3):
            tun.inject(*echo(tun, number))
        assert tun.expect(ICMP.where(sequence_number=2)).icmp.sequence_number == 2
        assert [packet.icmp.sequence_number for packet in tun.capture()] == [3]

    def test_expect_requires_every_condition(self, tun):
        for number in (1, 2, 3):
            tun.inject(*echo(tun, number))
        packet = tun.expect(IPv4.where(dst=PEER), ICMP, lambda packet: packet.icmp.sequence_number > 1)
        assert packet.icmp.sequence_number == 2

    def test_error_of_expect_lists_the_closest_match_first(self, tun):
        tun.inject(IPv4(src=PEER, dst=tun.address), UDP(src_port=1, dst_port=2))
        tun.inject(*echo(tun, 5))
        with pytest.raises(ExpectationError) as caught:
            tun.expect(ICMP.where(type=0, sequence_number=6), timeout=0.05)
        text = str(caught.value)
        assert "for ICMP(type=0, sequence_number=6)" in text
        assert "2 packets arrived" in text
        assert text.index("ICMP.sequence_number: wanted 6, got 5") < text.index("ICMP.type: wanted 0, got 3")
        assert len(caught.value.seen) == 2
        assert caught.value.elapsed >= 0.05

    def test_error_of_expect_without_packets_says_no_packet_arrived(self, tun):
        with pytest.raises(ExpectationError, match="no packet arrived"):
            tun.expect(timeout=0.0)

    def test_error_of_expect_with_misspelled_field_suggests_a_field(self, tun):
        with pytest.raises(TypeError, match="Did you mean dst_port"):
            tun.expect(TCP.where(dst_prot=80))

    @pytest.mark.parametrize("value", [TCP(src_port=1), "TCP", 5])
    def test_expect_with_invalid_expectation_raises(self, tun, value):
        with pytest.raises(TypeError, match=r"Expect TCP\.where|is not an expectation"):
            tun.expect(value)

    def test_expect_during_constant_traffic_ends_at_timeout(self, tun):
        """Expect with a function that injects a packet at each call, so that only the timeout ends the wait."""

        def never(packet):
            tun.inject(*echo(tun))
            return False

        tun.inject(*echo(tun))
        with pytest.raises(ExpectationError):
            tun.expect(never, timeout=0.05)


class TestCapture:
    def test_capture_without_count_does_not_wait(self, tun):
        assert tun.capture() == []
        for number in (1, 2):
            tun.inject(*echo(tun, number))
        assert [packet.icmp.sequence_number for packet in tun.capture()] == [1, 2]
        assert tun.capture() == []

    def test_capture_with_count_leaves_later_packets_unread(self, tun):
        for number in (1, 2, 3):
            tun.inject(*echo(tun, number))
        assert [packet.icmp.sequence_number for packet in tun.capture(2)] == [1, 2]
        assert [packet.icmp.sequence_number for packet in tun.capture(1)] == [3]
        assert tun.capture(0) == []

    def test_capture_of_too_few_packets_raises(self, tun):
        tun.inject(*echo(tun))
        with pytest.raises(ExpectationError, match="2 packets"):
            tun.capture(2, timeout=0.05)

    def test_sockets_and_link_changes_cause_no_packet(self, tun):
        """Open sockets and set the link down and up: the kernel sends no packet."""
        tun.listen(80)
        tun.bind(5000)
        tun.device.down()
        tun.device.up()
        assert tun.capture(timeout=0.05) == []

    @pytest.mark.tun(address=("10.1.2.1/24", "fd00::1/64"))
    def test_read_returns_bytes_of_ipv6_packet(self, tun):
        tun.bind(6).sendto(b"six", (tun.peer6, 6))
        packet = parse(tun.read())
        assert (packet.ip.src, packet.udp.dst_port, packet.payload) == ("fd00::1", 6, b"six")
        assert packet == tun.record[-1].packet
        assert tun.capture() == []

    def test_capture_returns_unreadable_bytes_without_headers(self, tun):
        tun.emit(b"\x60 cut")
        tun.inject(*echo(tun))
        unreadable, reply = tun.capture(2)
        assert (unreadable.headers, unreadable.payload, bytes(unreadable)) == ((), b"\x60 cut", b"\x60 cut")
        assert UDP not in unreadable
        with pytest.raises(PacketError, match="the packet has no TCP header; it has none"):
            _ = unreadable.tcp
        assert "IPv6 header needs 40 bytes, got 5" in summary(unreadable)
        assert reply.icmp.type == 0
        assert [entry.packet is None for entry in tun.record] == [False, True, False]

    def test_expectation_function_receives_unreadable_bytes(self, tun):
        tun.emit(b"\x60 cut")
        assert tun.expect(lambda packet: packet.payload == b"\x60 cut").headers == ()


class TestPing:
    def test_ping_sends_requests_and_receives_replies(self, tun):
        ping = tun.ping("10.1.2.3", count=2, payload=b"marco", identifier=0x1234)
        for number in (1, 2):
            request = tun.expect(ICMP.where(type=8, identifier=0x1234, sequence_number=number))
            assert (request.payload, request.ip.dst) == (b"marco", "10.1.2.3")
            tun.inject(*reply(request), request.payload)
            answer = ping.reply()
            assert (answer.address, answer.sequence_number, answer.payload) == ("10.1.2.3", number, b"marco")

    def test_ping_to_own_address_gets_a_reply(self, tun):
        assert tun.ping(tun.address).reply().address == tun.address

    def test_ping_without_reply_raises(self, tun):
        with pytest.raises(ExpectationError, match=r"an echo reply from 10\.1\.2\.9"):
            tun.ping("10.1.2.9").reply(timeout=0.05)

    def test_ping_without_route_raises(self, tun):
        with pytest.raises(KernelError) as caught:
            tun.ping("192.0.2.1")
        assert caught.value.errno == errno.ENETUNREACH

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"address": "nope"}, "'nope'"),
            ({"address": "10.1.2.3", "count": 0}, "count is 0"),
            ({"address": "10.1.2.3", "identifier": 70000}, "70000 is not a 16-bit number"),
            ({"address": "10.1.2.3", "payload": bytes(65_508)}, "EMSGSIZE"),
            ({"address": "10.1.2.255"}, "EACCES"),
        ],
    )
    def test_error_of_ping_with_invalid_argument_names_the_remedy(self, tun, arguments, sentence):
        with pytest.raises(KernelError, match=sentence) as caught:
            tun.ping(**arguments)
        assert str(caught.value).endswith(".")  # Only a message with a remedy ends with a period.

    def test_ping_with_large_payload_is_fragmented(self, tun):
        tun.ping("10.1.2.3", payload=bytes(3000))
        first, second, third = tun.capture(3)
        assert [packet.ip.fragment_offset for packet in (first, second, third)] == [0, 185, 370]
        assert sum(len(packet.payload) for packet in (first, second, third)) == 3000


def test_time_of_packet_is_when_the_kernel_sent_it_not_when_it_was_read(tun):
    tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1))
    assert tun.device.wait(10)
    sent_before = tun.port.clock.time_ns()
    tun.run(["true"])
    packet = tun.expect(ICMP)
    assert tun.record[0].time_ns <= packet.time <= sent_before
    assert packet.clock == "realtime"


def test_time_of_packet_of_a_tun_outside_of_pytest_is_when_the_kernel_sent_it():
    with Tun.create() as tun:
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1))
        assert tun.device.wait(10)
        sent_before = tun.port.clock.time_ns()
        tun.run(["true"])
        assert tun.expect(ICMP).time <= sent_before


def test_time_of_packet_without_capture_is_when_it_was_read(tun):
    tun.port.capture = None
    tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1))
    assert tun.device.wait(10)
    before_reading = tun.port.clock.time_ns()
    assert tun.expect(ICMP).time >= before_reading


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"address": "10.1.2.1/33"}, "'10.1.2.1/33' is not an address with a prefix length (EINVAL). Give an address"),
        ({"address": "fd00::1"}, 'Give an address as "fd00::1/64"'),
        ({"address_resolution": False}, "use Tap.create, or make_tun(mode='tap')"),
    ],
    ids=["long prefix", "no prefix", "option of a Tap"],
)
def test_error_of_create_with_invalid_option_says_what_to_give(options, sentence):
    with pytest.raises(KernelError) as error_info:
        Tun.create(**options)
    assert sentence.lower() in str(error_info.value).lower()


def test_create_with_addresses_in_one_text_gives_both_to_the_device():
    with Tun.create("10.1.2.1/24 fd00::1/64") as tun:
        assert (tun.address, tun.address6) == ("10.1.2.1", "fd00::1")
