"""Packets over a TUN: inject, capture, expect, ping, and what runs beside them in the namespace."""

from tunlab.traffic.crossing import Crossing
from tunlab.traffic.expectation import Expectation
from tunlab.traffic.ping import DEFAULT_TIMEOUT, ECHO_PAYLOAD, EchoReply, Ping
from tunlab.traffic.tun import DEFAULT_ADDRESS, Tun

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_TIMEOUT",
    "ECHO_PAYLOAD",
    "Crossing",
    "EchoReply",
    "Expectation",
    "Ping",
    "Tun",
]
