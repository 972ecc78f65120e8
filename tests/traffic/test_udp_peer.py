"""UDPPeer against the kernel's UDP."""

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, UDP


def test_udp_peer_exchanges_datagrams_with_a_socket(tun):
    receiver, peer = tun.bind(5000), tun.udp(5000)
    peer.send(b"hi")
    assert receiver.recvfrom(10) == (b"hi", peer.local)
    receiver.sendto(b"yo", peer.local)
    peer.expect(UDP, payload=b"yo")


def test_listening_udp_peer_sends_to_the_port_of_the_first_datagram(tun):
    peer = tun.udp(listen=53)
    client = tun.bind(0)
    client.sendto(b"query", peer.local)
    peer.expect(payload=b"query")
    peer.send(b"answer")
    assert client.recvfrom(10) == (b"answer", ("10.1.2.2", 53))


def test_send_of_a_listening_udp_peer_before_it_receives_raises(tun):
    with pytest.raises(ValueError, match=r"its other end is unknown. Let the device send to 10.1.2.2 port 53"):
        tun.udp(listen=53).send(b"x")


def test_datagram_with_bad_checksum_is_dropped(tun):
    receiver, peer = tun.bind(5000), tun.udp(5000)
    with tun.expect_counters(Udp__InCsumErrors=1, Udp__InErrors=1):
        peer.send(b"bad", checksum=1)
        peer.send(b"good")
        assert receiver.recv(10) == b"good"


def test_closed_port_sends_an_icmp_error_and_no_datagram(tun):
    peer = tun.udp(9)
    peer.send(b"x")
    tun.expect(ICMP.where(type=3, code=3))
    peer.expect_none()


def test_expect_of_one_udp_peer_leaves_packets_of_another(tun):
    receiver, one, other = tun.bind(5000), tun.udp(5000), tun.udp(5000)
    for peer in (other, one):
        receiver.sendto(b"%d" % peer.local[1], peer.local)
    for peer in (one, other):
        peer.expect(payload=b"%d" % peer.local[1])


def test_error_of_udp_peer_names_the_fields(tun):
    receiver, peer = tun.bind(5000), tun.udp(5000)
    receiver.sendto(b"yo", peer.local)
    tun.fence()
    with pytest.raises(ExpectationError, match=r"no IPv4\(.*UDP\(.*payload=2 bytes 79 6f"):
        peer.expect_none(payload=b"yo")
    with pytest.raises(ExpectationError, match=r"UDP\.payload: wanted 2 bytes, got 2: byte 0 differs"):
        peer.expect(payload=b"xo", timeout=0)


def test_udp_peer_exchanges_datagrams_over_ipv6(make_tun):
    tun = make_tun("fd00::1/64")
    receiver, peer = tun.bind(5000), tun.udp(5000)
    peer.send(b"hi")
    assert receiver.recv(10) == b"hi"
