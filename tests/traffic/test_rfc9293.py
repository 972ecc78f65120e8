"""Cases of RFC 9293 and its neighbours against the kernel's TCP, each played by a TCPPeer."""

import socket
from contextlib import ExitStack

import pytest

from tunlab.packet import TCP, TCPFlag, has

ACK, FIN, PSH, RST, SYN, URG = (
    TCPFlag.ACK, TCPFlag.FIN, TCPFlag.PSH, TCPFlag.RST, TCPFlag.SYN, TCPFlag.URG,
)  # fmt: skip


@pytest.fixture(params=["IPv4", "IPv6"])
def tun(request, make_tun):
    return make_tun("10.1.2.1/24" if request.param == "IPv4" else "fd00::1/64")


@pytest.fixture
def established(tun):
    """Yield a function that opens a connection, and returns the peer and the kernel's socket."""
    listener = tun.listen(80)
    with ExitStack() as sockets:

        def open_connection(**options):
            peer = tun.tcp(80, **options).handshake()
            return peer, sockets.enter_context(listener.accept()[0])

        yield open_connection


class TestOpening:
    """RFC 9293 sections 3.5 and 3.10.7."""

    def test_syn_to_closed_port_is_reset(self, tun):
        peer = tun.tcp(80)
        peer.send(flags=SYN)
        peer.expect(TCP.where(seq=0), flags=RST | ACK)

    def test_rst_from_closed_port_acknowledges_the_data_of_the_syn(self, tun):
        peer = tun.tcp(80)
        peer.send(b"hello", flags=SYN)
        peer.expect(flags=RST | ACK, ack=6)

    def test_ack_to_listening_port_gets_rst_with_the_ack_as_sequence_number(self, tun):
        tun.listen(80)
        peer = tun.tcp(80)
        peer.inject(flags=ACK, ack=1234)
        peer.expect(TCP.where(seq=1234), flags=RST)

    def test_rst_to_listening_port_is_ignored(self, tun):
        tun.listen(80)
        peer = tun.tcp(80)
        peer.reset()
        peer.expect_none()
        peer.handshake()

    def test_wrong_ack_of_the_syn_ack_of_the_device_gets_rst(self, tun):
        tun.listen(80)
        peer = tun.tcp(80)
        peer.send(flags=SYN)
        peer.expect(flags=SYN | ACK)
        peer.inject(ack=2)
        peer.expect(flags=RST, seq=2)

    def test_retransmitted_syn_is_answered_again_with_the_same_sequence_number(self, tun):
        tun.listen(80)
        peer = tun.tcp(80)
        for _ in range(2):
            peer.send(flags=SYN, seq=0)
            peer.expect(flags=SYN | ACK)

    def test_simultaneous_open_establishes_the_connection(self, tun):
        peer = tun.tcp(listen=443)
        client = tun.connect(*peer.local)
        peer.expect(flags=SYN)
        peer.send(flags=SYN)
        peer.expect(flags=SYN | ACK)
        peer.ack()
        client.sendall(b"hello")
        peer.expect_data(b"hello")

    def test_syn_ack_with_wrong_ack_gets_rst(self, tun):
        peer = tun.tcp(listen=443)
        tun.connect(*peer.local)
        peer.expect(flags=SYN)
        peer.inject(flags=SYN | ACK, ack=2)
        peer.expect(flags=RST, seq=2)

    def test_rst_in_answer_to_syn_refuses_the_connection(self, tun):
        peer = tun.tcp(listen=443)
        client = tun.connect(*peer.local)
        peer.expect(flags=SYN)
        peer.send(flags=RST | ACK)
        with pytest.raises(ConnectionRefusedError):
            client.send(b"hello")


class TestReceiving:
    """RFC 9293 section 3.10.7.4: acceptance, order, overlap."""

    def test_segments_out_of_order_are_reassembled(self, established):
        peer, conn = established()
        peer.send(b"world", seq=6)
        peer.expect(ack=1)
        peer.send(b"hello")
        peer.expect(ack=11)
        assert conn.recv(100) == b"helloworld"

    def test_gap_is_reported_by_sack(self, established):
        peer, conn = established(sack=True)
        peer.send(b"world", seq=6)
        peer.expect(ack=1, sack=((6, 11),))
        peer.send(b"hello")
        peer.expect(sack=())
        assert conn.recv(100) == b"helloworld"

    def test_data_of_overlapping_segments_is_received_once(self, established):
        peer, conn = established()
        peer.send(b"hello")
        peer.send(b"lowor", seq=4)
        peer.expect(ack=9)
        assert conn.recv(100) == b"hellowor"

    def test_retransmitted_segment_is_acknowledged_again(self, established):
        peer, conn = established()
        peer.send(b"hello")
        peer.expect(flags=ACK)
        peer.send(b"hello", seq=1)
        peer.expect(flags=ACK)
        assert conn.recv(100) == b"hello"

    @pytest.mark.parametrize("beyond", [0, 1])
    def test_segment_beyond_the_window_is_acknowledged_and_dropped(self, established, beyond):
        peer, conn = established()
        peer.inject(b"x", seq=peer.snd_nxt + peer.snd_wnd + beyond)
        peer.expect(flags=ACK)
        peer.send(b"hello")
        peer.expect(flags=ACK)
        assert conn.recv(100) == b"hello"

    def test_ack_of_data_not_sent_is_acknowledged_and_dropped(self, established):
        peer, conn = established()
        peer.inject(b"x", ack=peer.rcv_nxt + 1)
        peer.expect(flags=ACK)
        peer.send(b"hello")
        peer.expect(flags=ACK)
        assert conn.recv(100) == b"hello"

    def test_segment_with_bad_checksum_is_dropped(self, tun, established):
        peer, conn = established()
        with tun.expect_counters(Tcp__InCsumErrors=1):
            peer.inject(b"hello", checksum=1)
        peer.expect_none()
        peer.send(b"world")
        assert conn.recv(100) == b"world"

    def test_segment_without_ack_flag_is_dropped(self, established):
        peer, _ = established()
        peer.inject(b"hello", flags=PSH)
        peer.expect_none()

    def test_transfer_continues_when_sequence_numbers_wrap(self, established):
        peer, conn = established(iss=2**32 - 3)
        peer.send(b"0123456789")
        peer.expect(TCP.where(ack=8), ack=11)
        assert conn.recv(100) == b"0123456789"

    def test_segment_with_old_timestamp_is_rejected(self, established):
        peer, conn = established(timestamps=1000)
        peer.inject(b"x", timestamps=(1, peer.ts_recent))
        peer.expect(flags=ACK)
        peer.send(b"hello")
        peer.expect(flags=ACK, timestamps=lambda pair: pair[1] == peer.timestamp - 1)
        assert conn.recv(100) == b"hello"


class TestSending:
    """RFC 9293 sections 3.7 and 3.8."""

    def test_unacknowledged_data_is_retransmitted(self, established):
        peer, conn = established()
        conn.sendall(b"hello")
        for _ in range(2):
            peer.expect(seq=1, payload=b"hello")
        peer.ack()
        peer.expect_none(payload=b"hello")

    def test_partial_ack_retransmits_the_rest(self, established):
        peer, conn = established()
        conn.sendall(b"hello")
        peer.expect(payload=b"hello")
        peer.ack(ack=3)
        peer.expect(seq=3, payload=b"llo")

    def test_three_duplicate_acks_retransmit_the_missing_segment(self, established):
        peer, conn = established(mss=100)
        conn.sendall(bytes(500))
        for number in range(1, 501, 100):
            peer.expect(seq=number)
        for _ in range(4):
            peer.ack(ack=1)
        peer.expect(seq=1)

    def test_sacked_segment_is_not_retransmitted(self, established):
        peer, conn = established(mss=100, sack=True)
        conn.sendall(bytes(300))
        for number in (1, 101, 201):
            peer.expect(seq=number)
        peer.ack(ack=1, sack=[(101, 201)])
        peer.ack(ack=1, sack=[(101, 301)])
        peer.expect(seq=1)
        peer.expect_none(seq=101)

    def test_segments_have_at_most_the_mss(self, established):
        peer, conn = established(mss=100)
        conn.sendall(bytes(250))
        for size in (100, 100, 50):
            peer.expect(payload=bytes(size))

    def test_window_limits_the_data_in_flight(self, established):
        peer, conn = established(window=200, mss=100)
        conn.sendall(bytes(250))
        peer.expect_data(bytes(200), ack=False)
        peer.expect_none(seq=201)
        peer.ack()
        peer.expect_data(bytes(50))

    def test_device_fills_the_whole_scaled_window(self, established):
        peer, conn = established(window=200_000, window_scale=7)
        data = bytes(range(256)) * 4000
        conn.settimeout(None)
        conn.setblocking(False)
        sent = conn.send(data)
        peer.expect_data(data[:sent])

    def test_zero_window_is_probed_until_it_opens(self, established):
        peer, conn = established()
        peer.window = 0
        peer.ack()
        conn.sendall(b"hello")
        peer.expect(flags=ACK, seq=peer.rcv_nxt - 1, payload=b"")
        peer.window = 1000
        peer.ack()
        peer.expect_data(b"hello")

    def test_urgent_pointer_of_device_is_behind_the_urgent_byte(self, established):
        peer, conn = established()
        conn.send(b"ab!", socket.MSG_OOB)
        peer.expect(flags=has(URG), urgent_pointer=3, payload=b"ab!")

    def test_urgent_byte_of_peer_is_read_out_of_band(self, established):
        peer, conn = established()
        peer.send(b"ab!", flags=URG | PSH | ACK, urgent_pointer=3)
        assert (conn.recv(1, socket.MSG_OOB), conn.recv(10)) == (b"!", b"ab")


class TestChallengeAck:
    """RFC 5961: what an attacker outside the path could have sent gets an ACK, and the connection stays."""

    @pytest.mark.parametrize(
        "blind",
        [{"flags": SYN}, {"flags": RST, "seq": 100}, {"flags": SYN, "seq": 100}],
        ids=["SYN", "RST", "SYN ahead"],
    )
    def test_blind_attack_segment_gets_challenge_ack(self, established, blind):
        peer, conn = established()
        peer.inject(**blind)
        peer.expect(flags=ACK)
        peer.send(b"hello")
        peer.expect(flags=ACK)
        assert conn.recv(100) == b"hello"

    def test_rst_with_the_exact_sequence_number_resets_the_connection(self, established):
        peer, conn = established()
        peer.reset()
        with pytest.raises(ConnectionResetError):
            conn.recv(1)

    def test_rst_outside_the_window_is_ignored(self, established):
        peer, conn = established()
        peer.inject(flags=RST, seq=peer.snd_nxt - 1)
        peer.send(b"hello")
        assert conn.recv(100) == b"hello"


class TestClosing:
    """RFC 9293 section 3.6."""

    def test_connection_that_the_device_closes_first_ends_in_order(self, established):
        peer, conn = established()
        conn.close()
        peer.expect_fin()
        peer.close()

    def test_connection_that_the_peer_closes_first_ends_in_order(self, established):
        peer, conn = established()
        peer.close()
        assert conn.recv(1) == b""
        conn.close()
        peer.expect_fin()

    def test_half_closed_connection_still_sends(self, established):
        peer, conn = established()
        peer.close()
        conn.sendall(b"hello")
        peer.expect_data(b"hello")
        conn.close()
        peer.expect_fin()

    def test_half_closed_connection_still_receives(self, established):
        peer, conn = established()
        conn.shutdown(socket.SHUT_WR)
        peer.expect_fin()
        peer.send(b"hello")
        peer.expect(flags=ACK)
        assert conn.recv(100) == b"hello"

    def test_simultaneous_close_ends_the_connection(self, established):
        peer, conn = established()
        conn.close()
        peer.expect(flags=FIN | ACK)
        peer.send(flags=FIN | ACK, ack=1)
        peer.expect(flags=ACK)
        peer.ack()
        peer.expect_none()

    def test_unacknowledged_fin_is_retransmitted(self, established):
        peer, conn = established()
        conn.close()
        peer.expect(flags=FIN | ACK, seq=1)
        peer.expect(flags=FIN | ACK, seq=1)

    def test_fin_that_arrives_out_of_order_waits_for_the_data(self, established):
        peer, conn = established()
        peer.send(flags=FIN | ACK, seq=6)
        peer.expect(ack=1)
        peer.send(b"hello")
        peer.expect(ack=7)
        assert (conn.recv(100), conn.recv(100)) == (b"hello", b"")

    def test_retransmitted_fin_in_time_wait_is_acknowledged_again(self, established):
        peer, conn = established()
        conn.close()
        peer.expect_fin()
        peer.close()
        peer.send(flags=FIN | ACK, seq=1)
        peer.expect(flags=ACK)

    def test_data_after_close_gets_rst(self, established):
        peer, conn = established()
        conn.close()
        peer.expect_fin()
        peer.send(b"hello")
        peer.expect(flags=RST, seq=peer.rcv_nxt)

    def test_close_with_unread_data_sends_rst(self, established):
        peer, conn = established()
        peer.send(b"hello")
        peer.expect(flags=ACK)
        conn.close()
        peer.expect(flags=RST | ACK)
