"""Over its control channel, every kind of device under test listens, connects, sends and reads."""

import pytest

from tunlab import DeviceError, ExpectationError
from tunlab.packet import TCP, TCPFlag, has


def test_dut_listen_accepts_connection_and_reads(dut):
    listener = dut.listen(8080)
    peer = dut.tcp(8080)
    peer.handshake()
    connection = listener.accept()
    peer.send(b"question")
    assert connection.read() == b"question"
    connection.send(b"answer")
    peer.expect_data(b"answer")


def test_dut_connect_opens_connection_to_the_peer(dut):
    peer = dut.tcp(listen=8080)
    connection = dut.connect(8080)
    peer.handshake()
    connection.send(b"hello")
    peer.expect_data(b"hello")


def test_dut_close_sends_fin_and_reads_the_rest(dut):
    listener = dut.listen(8080)
    peer = dut.tcp(8080)
    peer.handshake()
    connection = listener.accept()
    connection.close()
    dut.expect(TCP.where(src_port=8080, flags=has(TCPFlag.FIN)))


def test_dut_abort_sends_reset(dut):
    listener = dut.listen(8080)
    peer = dut.tcp(8080)
    peer.handshake()
    listener.accept().abort()
    dut.expect(TCP.where(src_port=8080, flags=has(TCPFlag.RST)))


def test_read_after_fin_of_the_peer_returns_nothing(dut):
    listener = dut.listen(8080)
    peer = dut.tcp(8080)
    peer.handshake()
    connection = listener.accept()
    peer.send(b"", flags=TCPFlag.FIN | TCPFlag.ACK)
    assert connection.read() == b""


def test_accept_without_connection_raises_at_the_timeout(dut):
    with pytest.raises(ExpectationError, match="for a connection to accept on port 8080"):
        dut.listen(8080).accept(timeout=0.01)


def test_program_without_control_channel_raises(make_dut):
    dut = make_dut("sleep {fd}")
    with pytest.raises(DeviceError, match=r"^sleep \d+ has no control channel. Give the program \{control\}\.$"):
        dut.listen(80)
