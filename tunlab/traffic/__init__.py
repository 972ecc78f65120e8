"""Packets over a TUN device: injecting and expecting them, TCP and UDP peers, pings, and sockets in the namespace."""

from tunlab.traffic.expectation import Expectation
from tunlab.traffic.peer import PacketPort
from tunlab.traffic.ping import DEFAULT_TIMEOUT, ECHO_PAYLOAD, EchoReply, Ping
from tunlab.traffic.tap import Tap
from tunlab.traffic.tcp_peer import TCPPeer
from tunlab.traffic.trace import TraceEntry
from tunlab.traffic.tun import DEFAULT_ADDRESS, Tun
from tunlab.traffic.udp_peer import UDPPeer

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_TIMEOUT",
    "ECHO_PAYLOAD",
    "EchoReply",
    "Expectation",
    "PacketPort",
    "Ping",
    "TCPPeer",
    "Tap",
    "TraceEntry",
    "Tun",
    "UDPPeer",
]
