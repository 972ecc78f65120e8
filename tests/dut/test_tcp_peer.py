"""A TCPPeer against devices under test: in virtual time, and in real time over a descriptor."""

from itertools import pairwise

import pytest

from tunlab import ExpectationError
from tunlab.packet import TCPFlag

ACK, FIN, RST, SYN = TCPFlag.ACK, TCPFlag.FIN, TCPFlag.RST, TCPFlag.SYN


@pytest.fixture
def peer(dut):
    """Return a peer that is connected with the device's echo service."""
    return dut.tcp(dut.services.echo).handshake()


def test_device_echoes_segments_that_come_out_of_order(peer):
    peer.send(b"world", seq=6)
    peer.expect(ack=1)
    peer.send(b"hello")
    peer.expect_data(b"helloworld")
    peer.close()
    peer.expect_fin()


def test_device_echoes_more_than_its_window(peer):
    data = bytes(range(256)) * 400
    for start in range(0, len(data), 20_000):
        peer.send(data[start : start + 20_000])
        peer.expect_data(data[start : start + 20_000])
    assert (peer.snd_nxt, peer.rcv_nxt) == (len(data) + 1, len(data) + 1)


def test_device_answers_a_blind_reset_with_a_challenge_ack(peer):
    peer.inject(flags=RST, seq=peer.snd_nxt + 100)
    peer.expect(flags=ACK)
    peer.send(b"hello")
    peer.expect_data(b"hello")


def test_device_probes_a_zero_window(peer):
    peer.window = 0
    peer.send(b"hello")
    probe = peer.expect(seq=range(peer.rcv_nxt - 1, peer.rcv_nxt + 1), payload=lambda data: len(data) < 2, timeout=5)
    assert TCPFlag.ACK in probe.tcp.flags
    peer.window = 1000
    peer.ack()
    peer.expect_data(b"hello")


def test_expectation_of_a_wrong_number_shows_the_difference(dut, peer):
    peer.send(b"hello")
    with pytest.raises(ExpectationError, match=r"TCP.ack: wanted 5 \(1000005\), got 6 \(1000006\), 1 more than wanted"):
        peer.expect(ack=5, timeout=0.01)


def test_object_backs_off_for_minutes_of_virtual_time(make_dut):
    dut = make_dut("object:examples.tcp.stack:Stack")
    peer = dut.tcp(dut.services.echo).handshake()
    peer.send(b"hello")
    times = [peer.expect(seq=1, payload=b"hello", timeout=100).time for _ in range(8)]
    waits = [round((later - earlier) / 1e9) for earlier, later in pairwise(times)]
    assert waits == [1, 2, 4, 8, 16, 32, 60]
