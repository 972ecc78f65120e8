"""The same tests of TCP, UDP and ICMP against every kind of device under test."""

import pytest

from tunlab import ExpectationError
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, findings, has

SYN, ACK, RST, FIN, PSH = TCPFlag.SYN, TCPFlag.ACK, TCPFlag.RST, TCPFlag.FIN, TCPFlag.PSH


def segment(dut, port, **fields):
    return IPv4(src=dut.peer, dst=dut.address), TCP(src_port=40000, dst_port=port, **fields)


def handshake(dut, port):
    """Open a connection from sequence number 1000, and return the device's next sequence number."""
    dut.inject(*segment(dut, port, seq=1000, flags=SYN))
    reply = dut.expect(TCP.where(src_port=port, flags=SYN | ACK))
    assert reply.tcp.ack == 1001
    dut.inject(*segment(dut, port, seq=1001, ack=reply.tcp.seq + 1, flags=ACK))
    return reply.tcp.seq + 1


def test_dut_answers_echo_request(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1), b"payload")
    reply = dut.expect(ICMP.where(type=0, identifier=7))
    assert reply.payload == b"payload"
    assert findings(reply) == []


def test_dut_answers_syn_to_closed_port_with_rst(dut):
    dut.inject(*segment(dut, 4, seq=1000, flags=SYN))
    assert dut.expect(TCP.where(src_port=4, flags=RST | ACK)).tcp.ack == 1001


def test_dut_echoes_data_over_tcp_and_closes_the_connection(dut):
    port = dut.services.echo
    number = handshake(dut, port)
    dut.inject(*segment(dut, port, seq=1001, ack=number, flags=ACK | PSH), b"hello")
    assert dut.expect(TCP.where(src_port=port), lambda packet: packet.payload).payload == b"hello"
    dut.inject(*segment(dut, port, seq=1006, ack=number + 5, flags=FIN | ACK))
    assert dut.expect(TCP.where(src_port=port, flags=has(FIN))).tcp.ack == 1007


def test_dut_echoes_data_over_udp(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), UDP(src_port=4000, dst_port=dut.services.echo), b"hello")
    assert dut.expect(UDP.where(src_port=dut.services.echo, dst_port=4000)).payload == b"hello"


def test_dut_answers_datagram_to_closed_port_with_port_unreachable(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), UDP(src_port=4000, dst_port=4), b"hello")
    dut.expect(ICMP.where(type=3, code=3))


def test_dut_retransmits_syn_ack_after_about_a_second(dut):
    dut.inject(*segment(dut, dut.services.echo, seq=1000, flags=SYN))
    first, second = (dut.expect(TCP.where(flags=SYN | ACK)) for _ in range(2))
    assert 0.9e9 < second.time - first.time < 1.5e9
    assert second.tcp.seq == first.tcp.seq


def test_fence_of_dut_waits_for_answers_and_leaves_them_unread(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1), b"payload")
    (reply,) = dut.fence()
    assert reply.icmp.identifier == 7
    assert dut.expect(ICMP, timeout=0) == reply


def test_dut_drops_packet_with_bad_checksum(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1).replace(checksum=1), b"payload")
    dut.expect_silence()


def test_error_of_expect_that_times_out_lists_packets_of_the_dut(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1))
    dut.fence()
    with pytest.raises(ExpectationError, match=r"for TCP\(\)\n(?s:.)*1 packet arrived:\n  1\. .*echo reply"):
        dut.expect(TCP, timeout=0.01)


def test_record_has_packets_of_both_directions_in_order_of_time(dut):
    dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(7, 1))
    dut.expect(ICMP)
    assert [each.direction for each in dut.record] == ["in", "out"]
    assert dut.record[0].time_ns <= dut.record[1].time_ns
    assert {each.clock for each in dut.record} == {dut.port.clock.name}
