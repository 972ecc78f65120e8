"""Tests of the TCP stack of examples/tcp in virtual time: handshake, transfer, loss, closing, resets, windows."""

import random

import pytest

from examples.tcp.connection import State
from examples.tcp.retransmission_timer import SECOND
from examples.tcp.services import HttpFile
from examples.tcp.stack import Stack
from tests.examples.virtual_network import MILLISECOND, VirtualNetwork
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build, findings, parse
from tunlab.packet.tcp_options import MSS, WindowScale

CLIENT, SERVER = "10.1.2.1", "10.1.2.2"
SYN, ACK, FIN, RST = TCPFlag.SYN, TCPFlag.ACK, TCPFlag.FIN, TCPFlag.RST


def pair(**options):
    client, server = Stack(CLIENT), Stack(SERVER)
    server.listen(80)
    return client, server, VirtualNetwork(client, server, **options)


def established(**options):
    client, server, network = pair(**options)
    here = client.connect(SERVER, 80)
    network.run()
    return here, server.accept(80), network


def answers(stack, *parts, now=0):
    """Return the packets that a stack sends at once when it receives a packet."""
    stack.receive(build(*parts), now)
    return [parse(each) for each in stack.poll(now)]


def handshake(stack, port, *, seq=1000, window=65535, options=()):
    """Complete a handshake as the stack's peer. Return the stack's initial sequence number."""
    ip = IPv4(src=CLIENT, dst=SERVER)
    ports = {"src_port": 40000, "dst_port": port}
    (syn_ack,) = answers(stack, ip, TCP(**ports, seq=seq, flags=SYN, window=window, options=list(options)))
    assert syn_ack.tcp.flags == SYN | ACK
    answers(stack, ip, TCP(**ports, seq=seq + 1, ack=syn_ack.tcp.seq + 1, flags=ACK, window=window))
    return syn_ack.tcp.seq


def test_handshake_takes_three_segments():
    here, there, network = established()
    assert [packet.tcp.flags for _, packet in network.packets] == [SYN, SYN | ACK, ACK]
    assert (here.state, there.state) == (State.ESTABLISHED, State.ESTABLISHED)
    assert [finding for _, packet in network.packets for finding in findings(packet)] == []


def test_syn_has_mss_and_window_scale_options():
    _, _, network = established()
    options = network.packets[0][1].tcp.decoded_options
    assert MSS(1460) in options
    assert WindowScale(3) in options


def test_syn_to_closed_port_is_reset():
    client, _, network = pair()
    connection = client.connect(SERVER, 81)
    network.run()
    assert connection.state is State.CLOSED
    assert connection.error == "connection refused"
    assert network.packets[-1][1].tcp.flags == RST | ACK


def test_simultaneous_open_establishes_one_connection():
    client, server = Stack(CLIENT), Stack(SERVER)
    network = VirtualNetwork(client, server)
    here = client.connect(SERVER, 5000, source_port=6000)
    there = server.connect(CLIENT, 6000, source_port=5000)
    network.run()
    assert (here.state, there.state) == (State.ESTABLISHED, State.ESTABLISHED)


def test_lost_syn_is_sent_again_after_one_second_then_two():
    client, _, network = pair(lost=lambda packet: bool(packet.tcp.flags & SYN) and len(network.packets) < 3)
    client.connect(SERVER, 80)
    network.run(until=lambda: len(network.packets) == 3)
    assert [time for time, _ in network.packets] == [0, SECOND, 3 * SECOND]


def test_unanswered_syn_times_out_after_three_minutes():
    client, _, network = pair(lost=lambda _: True)
    connection = client.connect(SERVER, 80)
    network.run()
    assert connection.error == "connection timed out"
    assert 180 * SECOND <= network.now <= 300 * SECOND


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", [0, 0.02, 0.2])
def test_transfer_with_packet_loss_is_complete(loss, seed):
    dice = random.Random(seed)
    content = dice.randbytes(100_000)
    client = Stack(CLIENT)
    server = Stack(SERVER, services={80: lambda: HttpFile(content)})
    network = VirtualNetwork(client, server, lost=lambda _: dice.random() < loss)
    connection = client.connect(SERVER, 80)
    connection.send(b"GET / HTTP/1.0\r\n\r\n")
    received = bytearray()

    def is_complete():
        received.extend(connection.read())
        return connection.peer_closed

    network.run(until=is_complete)
    assert received.endswith(b"\r\n\r\n" + content)
    connection.close()
    network.run()
    assert connection.state is State.CLOSED
    assert [finding for _, packet in network.packets for finding in findings(packet)] == []


def test_transfer_with_same_random_seed_sends_the_same_packets():
    def run():
        dice = random.Random(7)
        here, there, network = established(lost=lambda _: dice.random() < 0.1)
        here.send(bytes(100_000))
        network.run(until=lambda: bool(there is None or there.readable == 100_000))
        return [(time, bytes(packet)) for time, packet in network.packets]

    assert run() == run()


def test_third_duplicate_acknowledgement_retransmits_before_the_timeout():
    lost = []

    def drop_one(packet):
        if len(packet.payload) == 1460 and packet.tcp.seq not in lost and len(lost) < 1 and network.now > 0:
            lost.append(packet.tcp.seq)
            return True
        return False

    client, server, network = pair(lost=drop_one)
    here = client.connect(SERVER, 80)
    network.run()
    begin = network.now
    here.send(bytes(14600))
    there = server.accept(80)
    network.run(until=lambda: there.readable == 14600)
    assert network.now - begin < 100 * MILLISECOND


def test_close_on_one_side_then_the_other_passes_through_all_closing_states():
    here, there, network = established()
    here.close()
    assert here.state is State.FIN_WAIT_1
    network.run()
    assert (here.state, there.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)
    there.send(b"late")
    there.close()
    assert there.state is State.LAST_ACK
    network.run(until=lambda: there.state is State.CLOSED)
    assert here.state is State.TIME_WAIT
    assert here.read() == b"late"
    end = network.now
    network.run()
    assert here.state is State.CLOSED
    assert network.now - end >= 59 * SECOND


def test_close_on_both_sides_at_once_passes_through_state_closing():
    here, there, network = established()
    here.close()
    there.close()
    network.run(until=lambda: here.state is State.CLOSING)
    network.run(until=lambda: here.state is State.TIME_WAIT)
    network.run()
    assert (here.state, there.state) == (State.CLOSED, State.CLOSED)


def test_abort_resets_the_peer():
    here, there, network = established()
    here.abort()
    network.run()
    assert there.error == "reset by the peer"


def test_zero_window_is_probed_until_it_opens():
    here, there, network = established()
    here.send(bytes(256 * 1024))
    network.run(until=lambda: network.now > 30 * SECOND)
    assert there.readable > 256 * 1024 - 1460
    taken = here.send(b"more")
    network.run(until=lambda: network.now > 600 * SECOND)
    probes = [packet for time, packet in network.tcp(CLIENT) if time > 31 * SECOND]
    assert taken == 4
    assert {len(packet.payload) for packet in probes} == {1}
    received = there.read()
    network.run(until=lambda: there.readable == 256 * 1024 + 4 - len(received))
    assert there.read().endswith(b"more")


def test_small_writes_do_not_send_tiny_segments_into_a_small_window():
    stack = Stack(SERVER)
    stack.listen(80)
    seq = handshake(stack, 80, window=100)
    connection = stack.accept(80)
    connection.send(bytes(1000))
    (segment,) = (parse(each) for each in stack.poll(0))
    assert len(segment.payload) == 100
    ip, ports = IPv4(src=CLIENT, dst=SERVER), {"src_port": 40000, "dst_port": 80}
    acknowledge = TCP(**ports, seq=1001, ack=seq + 101, flags=ACK, window=10)
    assert answers(stack, ip, acknowledge) == []


def test_out_of_order_segments_are_reassembled_and_acknowledged_at_once():
    stack = Stack(SERVER)
    stack.listen(80)
    seq = handshake(stack, 80)
    ip, fields = IPv4(src=CLIENT, dst=SERVER), {"src_port": 40000, "dst_port": 80, "ack": seq + 1, "flags": ACK}
    (duplicate,) = answers(stack, ip, TCP(**fields, seq=1004), b"def")
    assert duplicate.tcp.ack == 1001
    (overlapping,) = answers(stack, ip, TCP(**fields, seq=1006), b"fghi")
    assert overlapping.tcp.ack == 1001
    (filled,) = answers(stack, ip, TCP(**fields, seq=1001), b"abc")
    assert filled.tcp.ack == 1010
    assert stack.accept(80).read() == b"abcdefghi"


@pytest.mark.parametrize(
    ("offset", "answer"), [(0, []), (1, [ACK]), (70_000_000, [])], ids=["next", "inside", "outside"]
)
def test_reset_closes_connection_only_with_the_next_expected_sequence_number(offset, answer):
    stack = Stack(SERVER)
    stack.listen(80)
    handshake(stack, 80)
    connection = stack.accept(80)
    reset = TCP(src_port=40000, dst_port=80, seq=1001 + offset, flags=RST)
    assert [each.tcp.flags for each in answers(stack, IPv4(src=CLIENT, dst=SERVER), reset)] == answer
    assert (connection.state is State.CLOSED) == (offset == 0)


def test_syn_on_established_connection_gets_challenge_ack():
    stack = Stack(SERVER)
    stack.listen(80)
    seq = handshake(stack, 80)
    syn = TCP(src_port=40000, dst_port=80, seq=1001, flags=SYN)
    (challenge,) = answers(stack, IPv4(src=CLIENT, dst=SERVER), syn)
    assert (challenge.tcp.flags, challenge.tcp.seq, challenge.tcp.ack) == (ACK, seq + 1, 1001)


def test_acknowledgement_of_unsent_data_gets_challenge_ack():
    stack = Stack(SERVER)
    stack.listen(80)
    seq = handshake(stack, 80)
    (challenge,) = answers(
        stack, IPv4(src=CLIENT, dst=SERVER), TCP(src_port=40000, dst_port=80, seq=1001, ack=seq + 1000, flags=ACK)
    )
    assert challenge.tcp.ack == 1001


def test_challenge_acks_are_limited_to_ten_per_second():
    stack = Stack(SERVER)
    stack.listen(80)
    handshake(stack, 80)
    syn = TCP(src_port=40000, dst_port=80, seq=1001, flags=SYN)
    assert sum(len(answers(stack, IPv4(src=CLIENT, dst=SERVER), syn)) for _ in range(20)) == 10


def test_segment_with_bad_checksum_is_dropped():
    stack = Stack(SERVER)
    stack.listen(80)
    syn = TCP(src_port=40000, dst_port=80, flags=SYN, checksum=1)
    assert answers(stack, IPv4(src=CLIENT, dst=SERVER), syn) == []


def test_icmp_echo_request_gets_reply():
    (reply,) = answers(Stack(SERVER), IPv4(src=CLIENT, dst=SERVER), ICMP(type=8, identifier=1), b"ping")
    assert (reply.icmp.type, reply.payload) == (0, b"ping")


def test_udp_echo_port_replies_and_closed_port_is_unreachable():
    stack = Stack(SERVER)
    ip = IPv4(src=CLIENT, dst=SERVER)
    (echo,) = answers(stack, ip, UDP(src_port=5000, dst_port=7), b"hello")
    assert (echo.udp.dst_port, echo.payload) == (5000, b"hello")
    (unreachable,) = answers(stack, ip, UDP(src_port=5000, dst_port=53), b"hello")
    assert (unreachable.icmp.type, unreachable.icmp.code) == (3, 3)
    assert unreachable.quoted.udp.dst_port == 53


def test_character_generator_stops_when_the_window_is_full():
    stack = Stack(SERVER)
    seq = handshake(stack, 19, window=1000)
    sent = sum(len(parse(each).payload) for each in stack.poll(0))
    assert sent <= 1000
    assert seq
