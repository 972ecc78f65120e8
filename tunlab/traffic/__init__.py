"""Packets over a TUN device: injecting, capturing and expecting them, pings, and sockets in the same namespace."""

from tunlab.traffic.expectation import Expectation
from tunlab.traffic.ping import DEFAULT_TIMEOUT, ECHO_PAYLOAD, EchoReply, Ping
from tunlab.traffic.tap import Tap
from tunlab.traffic.trace import TraceEntry
from tunlab.traffic.tun import DEFAULT_ADDRESS, Tun

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_TIMEOUT",
    "ECHO_PAYLOAD",
    "EchoReply",
    "Expectation",
    "Ping",
    "Tap",
    "TraceEntry",
    "Tun",
]
