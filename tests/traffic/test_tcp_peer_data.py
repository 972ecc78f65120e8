"""TCPPeer: data of the device, in order, with retransmissions, and its end."""

import pytest

from tests.traffic.memory_port import connected, failure
from tunlab.packet import TCPFlag

ACK, FIN, RST = TCPFlag.ACK, TCPFlag.FIN, TCPFlag.RST
SECOND = 1_000_000_000


def test_data_of_segments_in_any_order_is_acknowledged_and_joined():
    port, peer = connected()
    port.arrive(b"world", seq=6)
    port.arrive(b"hello", seq=1)
    peer.expect_data(b"helloworld")
    assert [packet.tcp.ack - 5000 for packet in port.injected] == [1, 11]


def test_data_after_the_expected_bytes_stays_unread():
    port, peer = connected()
    port.arrive(b"helloworld", seq=1)
    peer.expect_data(b"hello")
    peer.expect_data(b"wor", ack=False)
    assert peer.read(2) == b"ld"
    assert len(port.injected) == 1


def test_expect_data_accepts_retransmissions():
    port, peer = connected()
    for start in (1, 1, 3):
        port.arrive(b"helloworld"[start - 1 : start + 4], seq=start)
    peer.expect_data(b"hellowo")
    assert [packet.tcp.ack - 5000 for packet in port.injected] == [6, 6, 8]


def test_expect_data_fails_at_retransmission_with_other_data():
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    port.arrive(b"hexxoworld", seq=1)
    text = failure(peer.expect_data, b"helloworld")
    assert "sequence number 3 (5003) came again with another value: first 0x6c, then 0x78" in text


def test_error_of_expect_data_names_the_first_differing_byte():
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    port.arrive(b"wXrld", seq=6)
    text = failure(peer.expect_data, b"helloworld!")
    assert text.startswith("byte 6 of the data differs, sequence number 7 (5007)\n")
    assert "0  68 65 6c 6c 6f 77 58 72 6c 64" in text


def test_error_of_expect_data_that_times_out_says_how_many_bytes_arrived():
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    assert "10 bytes of data, of which 5 came (next is sequence number 6 (5006))" in failure(
        peer.expect_data, b"helloworld"
    )


@pytest.mark.parametrize("flag", [FIN, RST])
def test_fin_or_rst_before_the_end_of_the_data_fails(flag):
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    port.arrive(flags=ACK | flag, seq=6)
    assert f"{flag.name} came before the end of 10 bytes of data, of which 5 came" in failure(peer.read, 10)


def test_read_without_count_returns_all_data_up_to_fin():
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    port.arrive(b"world", seq=6, flags=FIN | ACK)
    assert peer.read() == b"helloworld"
    peer.expect_fin()
    assert [packet.tcp.ack - 5000 for packet in port.injected] == [6, 12, 12]


def test_payload_matched_by_expect_is_not_returned_by_expect_data():
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    port.arrive(b"world", seq=6)
    peer.expect(payload=b"hello")
    peer.expect_data(b"world")


def test_expect_data_times_out_if_only_retransmissions_arrive():
    port, peer = connected()
    for _ in range(10):
        port.arrive(b"hello", seq=1, after=SECOND)
    text = failure(peer.expect_data, b"helloworld", timeout=3)
    assert "for 3 s no segment brought more of 10 bytes of data, of which 5 came" in text
    assert len(port.unread) == 4


def test_failed_expect_sees_late_segments_again_with_the_same_numbers():
    port, peer = connected()
    port.arrive(b"hello", seq=1)
    port.late, port.unread = port.unread, port.late
    failure(peer.expect)
    peer.expect(seq=1)
    port.arrive(b"world", seq=6)
    port.late, port.unread = port.unread, port.late
    failure(peer.expect, flags=RST)
    peer.expect()
    peer.expect_data(b"helloworld")
