"""Detect recordings of a router or firewall, which cannot be replayed.

A recording is replayed to a kernel with one TUN, no other routes and no firewall.
Source: RFC 1812 section 5.3.1 (a router decrements the TTL), RFC 792 (messages that only routers send).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tunlab.errors import PacketError
from tunlab.lab.replay.script import parse_or_none
from tunlab.packet import ICMP, Packet
from tunlab.recorder import RecordedPacket, extract_ipv4

_ROUTER_MESSAGES = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "network administratively prohibited",
    (3, 10): "host administratively prohibited",
    (3, 13): "communication administratively prohibited",
    (5, 0): "redirect",
    (5, 1): "redirect",
    (11, 0): "TTL exceeded in transit",
}


def check_replayable(records: Sequence[RecordedPacket], ifname: str) -> None:
    """Raise PacketError if the recorded kernel forwarded packets from `ifname` or sent a router's ICMP messages."""
    netns = _netns_of(ifname)
    received = dict[Hashable, int]()
    for number, record in enumerate(records, 1):
        data = extract_ipv4(record)
        packet = parse_or_none(data) if data is not None else None
        if packet is None or _netns_of(record.interface.name) != netns:
            continue
        if record.direction == "in" and record.interface.name == ifname:
            received |= dict.fromkeys(_keys(packet, packet.ip.ttl - 1), number)
        elif record.direction == "out":
            for arrival in (received[key] for key in _keys(packet, packet.ip.ttl) if key in received):
                raise _error(f"packet {arrival} was forwarded to {record.interface.name} as packet {number}")
            icmp = packet.get(ICMP)
            if icmp is not None and (message := _ROUTER_MESSAGES.get((icmp.type, icmp.code))):
                raise _error(f"packet {number} is a router's ICMP message ({message})")


def _netns_of(ifname: str) -> str:
    """Return the namespace part of an interface name: "client" of "client:eth0", "" of "tun0"."""
    return ifname.rpartition(":")[0]


def _keys(packet: Packet, ttl: int) -> list[Hashable]:
    """Return keys that a forwarded packet shares with the original: both addresses, or one and the content (NAT)."""
    ip = packet.ip
    content = ttl, ip.protocol, ip.identification, packet.payload
    return [(ttl, ip.protocol, ip.src, ip.dst), ("src", ip.src, *content), ("dst", ip.dst, *content)]


def _error(reason: str) -> PacketError:
    return PacketError(
        f"{reason}: the recorded kernel was a router or firewall, and a recording does not contain its configuration."
        " Build a lab with the same configuration and replay to it: `tunlab replay FILE LAB`."
    )
