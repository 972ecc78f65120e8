"""TCPPeer: what it counts, what it sends by itself, and the texts of its failures."""

import re

import pytest

from tests.traffic.memory_port import MemoryPort, connected, failure
from tunlab.errors import ExpectationError, MalformedError
from tunlab.packet import TCP, IPv4, Match, Matcher, TCPFlag, findings, has
from tunlab.packet.tcp_options import MSS, SACK
from tunlab.traffic import PacketPort, Tap, TCPPeer, Tun

ACK, FIN, PSH, RST, SYN = TCPFlag.ACK, TCPFlag.FIN, TCPFlag.PSH, TCPFlag.RST, TCPFlag.SYN
SECOND = 1_000_000_000


class TestSegments:
    def test_handshake_sends_syn_and_ack_with_computed_numbers(self):
        port = MemoryPort()
        peer = TCPPeer(port, 80, iss=1000)
        port.arrive(flags=SYN | ACK, ack=1 - 999_000)
        assert peer.handshake() is peer
        syn, ack = (packet.tcp for packet in port.injected)
        assert (syn.flags, syn.seq, syn.ack, syn.mss) == (SYN, 1000, 0, 1460)
        assert (ack.flags, ack.seq, ack.ack, ack.options) == (ACK, 1001, 5001, b"")
        assert (peer.snd_nxt, peer.rcv_nxt, peer.snd_una, peer.irs) == (1, 1, 1, 5000)

    def test_data_longer_than_mss_is_split_into_segments_of_which_the_last_has_psh(self):
        port, peer = connected(mss=100, timestamps=7)
        peer.send(bytes(200), flags=PSH | ACK | FIN)
        sent = [(packet.tcp.seq - peer.iss, len(packet.payload), packet.tcp.flags) for packet in port.injected]
        assert sent == [(1, 88, ACK), (89, 88, ACK), (177, 24, PSH | ACK | FIN)]
        assert peer.snd_nxt == 202
        assert [packet.tcp.timestamps for packet in port.injected] == [(9, 7), (10, 7), (11, 7)]

    def test_data_sent_ahead_counts_as_sent_when_the_gap_is_filled(self):
        _, peer = connected()
        peer.send(b"world", seq=6)
        assert peer.snd_nxt == 1
        peer.send(b"hello")
        assert peer.snd_nxt == 11
        peer.send(b"hello", seq=1)
        assert peer.snd_nxt == 11

    def test_syn_of_data_longer_than_mss_is_in_the_first_segment_only(self):
        port = MemoryPort()
        peer = TCPPeer(port, 80)
        peer.send(bytes(600), flags=SYN)
        sent = [(packet.tcp.flags, packet.tcp.seq - peer.iss, len(packet.payload)) for packet in port.injected]
        assert sent == [(SYN, 0, 532), (TCPFlag(0), 533, 68)]

    def test_inject_and_segment_leave_sequence_numbers_unchanged(self):
        port, peer = connected()
        peer.inject(b"x", checksum=1, seq=-1, ack=3, window=9, urgent_pointer=4, flags=FIN)
        (packet,) = port.injected
        assert (packet.tcp.seq, packet.tcp.ack, packet.tcp.window) == (999_999, 5003, 9)
        assert (packet.tcp.checksum, packet.tcp.urgent_pointer, packet.tcp.flags) == (1, 4, FIN)
        assert peer.segment()[1].seq == 1_000_001

    def test_ip_header_of_sent_packets_can_be_replaced(self):
        port, peer = connected()
        peer.ip = peer.ip.replace(ttl=1)
        peer.send(b"x")
        assert port.injected[0][IPv4].ttl == 1

    def test_options_of_a_segment_can_be_left_out_given_and_replaced(self):
        _, peer = connected(timestamps=True, sack=True)
        assert peer.segment(timestamps=None)[1].options == b""
        assert peer.segment(timestamps=(5, 6))[1].timestamps == (5, 6)
        assert peer.segment(sack=[(3, 5)])[1].sack == ((5003, 5005),)
        assert peer.segment(options=[MSS(9)])[1].options == bytes(MSS(9))
        assert peer.segment(flags=SYN, mss=None, sack_permitted=False, timestamps=None)[1].options == b""

    @pytest.mark.parametrize("option", ["window_scale", "sack", "timestamps"])
    def test_option_that_the_device_does_not_offer_is_not_used(self, option):
        port = MemoryPort()
        peer = TCPPeer(port, 80, window=100_000, **{option: 4})
        port.arrive(flags=SYN | ACK)
        peer.handshake()
        port.arrive(b"world", seq=6)
        peer.expect(seq=6)
        segment = peer.segment()[1]
        assert (segment.options, segment.window) == (b"", 65_535)

    def test_syn_ack_has_only_options_that_the_device_offers(self):
        port = MemoryPort(port=999, peer_port=443)
        peer = TCPPeer(port, listen=443, window_scale=2, sack=True, timestamps=True)
        port.arrive(flags=SYN, options=TCPPeer(port, 1, sack=True).segment(flags=SYN)[1].options)
        peer.expect(flags=SYN)
        answer = peer.segment(flags=SYN | ACK)[1]
        assert (answer.sack_permitted, answer.window_scale, answer.timestamps) == (True, None, None)

    def test_windows_are_scaled_if_both_ends_offer_window_scaling(self):
        port, peer = connected(window=200_000, window_scale=2)
        assert (peer.segment()[1].window, peer.segment(flags=SYN)[1].window) == (50_000, 65_535)
        assert peer.snd_wnd == 1000
        port.arrive(seq=1, window=1000)
        peer.expect()
        assert peer.snd_wnd == 4000

    def test_ack_reports_received_blocks_with_the_latest_first(self):
        port, peer = connected(sack=True)
        for seq in (11, 21, 16):
            port.arrive(b"12345", seq=seq)
            peer.expect(seq=seq)
            peer.ack()
        assert [packet.tcp.sack for packet in port.injected] == [
            ((5011, 5016),),
            ((5021, 5026), (5011, 5016)),
            ((5011, 5026),),
        ]

    def test_segments_sent_by_peer_have_no_findings(self):
        port, peer = connected(window_scale=2, sack=True, timestamps=True)
        port.arrive(b"x", seq=5)
        peer.expect(seq=5)
        peer.send(b"hello")
        peer.send(flags=SYN)
        peer.reset()
        assert [findings(packet) for packet in port.injected] == [[], [], []]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({}, "neither port nor listen"), ({"port": 1, "listen": 2}, "both port=1 and listen=2")],
    )
    def test_peer_without_port_or_listen_argument_raises(self, arguments, message):
        with pytest.raises(TypeError, match=message):
            TCPPeer(MemoryPort(), **arguments)

    def test_invalid_arguments_of_peer_raise(self):
        with pytest.raises(MalformedError, match="dst_port"):
            TCPPeer(MemoryPort(), 70_000)
        _, peer = connected()
        with pytest.raises(TypeError, match=r"no field 'flag'. Did you mean flags"):
            peer.expect(flag=SYN)
        with pytest.raises(TypeError, match="flag"):
            peer.send(flag=SYN)

    def test_send_of_a_listening_peer_before_it_receives_raises(self):
        with pytest.raises(ValueError, match=r"received nothing.* Let the device send to 10.1.2.2 port 443"):
            TCPPeer(MemoryPort(), listen=443).send(b"x")


class TestExpectations:
    def test_error_of_expect_shows_relative_and_absolute_numbers_and_their_difference(self):
        port, peer = connected()
        peer.send(b"hello")
        port.arrive(seq=2, ack=5)
        text = failure(peer.expect)
        assert "TCP.seq: wanted 1 (5001), got 2 (5002), 1 more than wanted" in text
        assert "TCP.ack: wanted 6 (1000006), got 5 (1000005), 1 less than wanted" in text

    def test_range_set_or_function_is_compared_with_relative_numbers(self):
        port, peer = connected()
        for wanted in (range(1, 4), {2, 3}, lambda ack: ack == 3):
            port.arrive(seq=1, ack=3)
            peer.expect(ack=wanted)
        port.arrive(seq=1, ack=7)
        assert "TCP.ack: wanted range(1, 4), got 7 (1000007)" in failure(peer.expect, ack=range(1, 4))

    def test_difference_of_sequence_numbers_across_the_wrap_is_small(self):
        port = MemoryPort(iss=2**32 - 1)
        peer = TCPPeer(port, 80)
        port.arrive(flags=SYN | ACK)
        peer.handshake()
        port.arrive(seq=0)
        assert "TCP.seq: wanted 1 (0), got 0 (4294967295), 1 less than wanted" in failure(peer.expect)
        port.arrive(seq=-1)
        assert "got -1 (4294967294), 1 less than wanted" in failure(peer.expect, seq=0)

    def test_bad_checksum_is_a_difference_and_does_not_count_as_received(self):
        port, peer = connected()
        port.arrive(b"hello", seq=1, checksum=1)
        assert re.search("TCP.checksum: wanted 0x[0-9a-f]{4}, got 0x0001", failure(peer.expect))
        assert peer.rcv_nxt == 1
        for checksum in (1, None):
            port.arrive(b"hello", seq=1, checksum=1)
            peer.expect(seq=1, checksum=checksum)
        assert peer.unread == b"hello"

    def test_error_of_expect_notes_the_numbers_of_the_peer(self):
        _, peer = connected()
        peer.send(b"hello")
        with pytest.raises(ExpectationError) as caught:
            peer.expect()
        assert caught.value.__notes__ == ["the peer has sent up to 6 (1000006) and expects sequence number 1 (5001)"]
        with pytest.raises(ExpectationError) as caught:
            TCPPeer(MemoryPort(), 80).expect()
        assert caught.value.__notes__ == ["the peer has sent up to 0 (1000000) and has received no SYN"]

    def test_sequence_number_none_matches_any_number(self):
        port, peer = connected()
        port.arrive(seq=100, ack=900)
        peer.expect(seq=None, ack=None)

    def test_ack_of_a_segment_without_ack_flag_is_not_compared(self):
        port = MemoryPort()
        peer = TCPPeer(port, 80)
        peer.send(flags=SYN)
        port.arrive(flags=RST, ack=77)
        peer.expect(flags=RST)

    def test_sack_blocks_are_compared_as_relative_numbers(self):
        port, peer = connected(sack=True)
        port.arrive(seq=1, options=[SACK([(1_000_006, 1_000_011)])])
        assert peer.relative(peer.expect(sack=((6, 11),))).tcp.sack == ((6, 11),)

    def test_additional_conditions_of_expect_are_given_absolute_numbers(self):
        port, peer = connected()
        port.arrive(seq=1)
        packet = peer.expect(TCP.where(seq=5001), IPv4, lambda packet: packet.tcp.ack == 1_000_001, flags=ACK)
        assert (packet.tcp.seq, peer.relative(packet).tcp.seq) == (5001, 1)

    def test_skipped_segments_count_as_received(self):
        port, peer = connected()
        port.arrive(b"hello", seq=1)
        port.arrive(flags=FIN | ACK, seq=6)
        peer.expect(flags=has(FIN))
        assert (peer.rcv_nxt, peer.unread, peer.fin_received) == (7, b"hello", True)

    def test_error_of_expect_that_times_out_names_fields_and_connection(self):
        _, peer = connected()
        text = failure(peer.expect, flags=has(FIN))
        assert "s for TCP(flags=has(FIN)) from 10.1.2.1.80 to 10.1.2.2.40000" in text
        assert "any segment from 10.1.2.1.80 to" in failure(peer.expect)

    def test_segments_of_other_connections_stay_unread(self):
        port, peer = connected()
        other = TCPPeer(port, 80, src_port=40_001)
        port.arrive(seq=0, flags=SYN | ACK, dst_port=40_001)
        port.arrive(b"hello", seq=1)
        peer.expect_data(b"hello")
        other.handshake()
        port.arrive(seq=1, dst_port=40_001)
        assert "TCP.dst_port: wanted 40000, got 40001" in failure(peer.expect)
        peer.expect_none()
        other.expect()

    def test_error_of_expect_none_names_the_segment_and_leaves_it_unread(self):
        port, peer = connected()
        port.arrive(b"hello", seq=1)
        peer.expect_none(flags=has(RST))
        peer.expect_none(seq=2)
        assert "no TCP(seq=1)" in failure(peer.expect_none, seq=1)
        assert peer.rcv_nxt == 1
        peer.expect(payload=b"hello")

    def test_data_beyond_the_window_of_the_peer_is_dropped(self):
        port, peer = connected()
        peer.window = 3
        peer.ack()
        port.arrive(b"hello", seq=1, flags=FIN | ACK)
        peer.expect()
        assert (peer.unread, peer.rcv_nxt, peer.fin_received) == (b"hel", 4, False)
        assert "2 bytes beyond the window were dropped" in failure(peer.expect_data, b"hello")

    def test_peer_echoes_the_timestamp_of_the_latest_segment_in_order(self):
        port, peer = connected(timestamps=True)
        stamp = [peer.segment(timestamps=(value, 0))[1].options for value in (50, 60)]
        port.arrive(b"x", seq=1, options=stamp[0])
        port.arrive(b"z", seq=3, options=stamp[1])
        peer.expect(seq=3)
        assert peer.segment()[1].timestamps == (peer.timestamp, 50)

    def test_close_does_not_accept_rst_as_an_ack(self):
        port, peer = connected()
        port.arrive(flags=RST | ACK, seq=1, ack=2)
        assert "TCP.flags: wanted ack_without_rst, got RST|ACK" in failure(peer.close)


class TestKernel:
    def test_peers_of_a_tun_have_different_ports(self, tun):
        listener = tun.listen(80)
        peers = [tun.tcp(80).handshake() for _ in range(3)]
        assert [peer.local for peer in peers] == [("10.1.2.2", port) for port in (40_000, 40_001, 40_002)]
        for number in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"%d" % number)
        for number, peer in reversed(list(enumerate(peers))):
            peer.expect_data(b"%d" % number)
            peer.expect_fin()

    def test_ip_version_of_peer_follows_its_addresses(self, make_tun):
        tun = make_tun(["10.1.2.1/24", "fd00::1/64"])
        tun.listen(80)
        for address in (tun.address, tun.address6):
            assert tun.tcp(80, dst=address).handshake().remote == (address, 80)
        assert tun.tcp(80, src="fd00::77").handshake().local == ("fd00::77", 40_002)
        assert tun.tcp(80, src="10.1.2.77").handshake().remote == ("10.1.2.1", 80)

    def test_peer_connects_and_closes_over_a_tap(self):
        with Tap.create() as tap:
            tap.listen(80)
            tap.tcp(80).handshake().close()

    def test_error_of_expect_over_a_tun_shows_relative_numbers_and_header_diagram(self, tun):
        tun.listen(80)
        peer = tun.tcp(80).handshake()
        peer.send(b"hello")
        text = failure(peer.expect, ack=5, timeout=0.01)
        assert "TCP.ack: wanted 5 (1000005), got 6 (1000006), 1 more than wanted" in text
        assert "|                            1000006                            |" in text

    def test_tun_is_a_packet_port_and_match_is_a_matcher(self):
        tun: type[PacketPort] = Tun
        assert tun.expect is Tun.expect
        matcher: type[Matcher] = Match
        assert matcher.difference is Match.difference
