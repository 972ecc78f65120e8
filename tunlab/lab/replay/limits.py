"""Detect recordings of a router or firewall, which cannot be replayed.

A recording is replayed to a kernel with one TUN, no other routes and no firewall.
Source: RFC 1812 section 5.3.1 and RFC 8200 section 3 (a router decrements TTL or hop limit); RFC 792, RFC 4443 and
RFC 4861 section 8 (messages that only routers send).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tunlab.errors import PacketError
from tunlab.lab.replay.script import outer_ip, parse_or_none
from tunlab.packet import ICMP, ICMPv6, IPv4, Packet
from tunlab.recorder import RecordedPacket, extract_ip

_ICMP_ROUTER_MESSAGES = {
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

_ICMPV6_ROUTER_MESSAGES = {(1, 0), (1, 1), (1, 2), (1, 3), (1, 5), (1, 6), (2, 0), (3, 0), (137, 0)}
"""Type and code of the messages that only routers send: unreachable, packet too big, time exceeded and redirect."""


def check_replayable(records: Sequence[RecordedPacket], ifname: str) -> None:
    """Raise PacketError if the recorded kernel forwarded packets from `ifname` or sent a router's ICMP messages."""
    netns = _netns_of(ifname)
    received = dict[Hashable, int]()
    for number, record in enumerate(records, 1):
        data = extract_ip(record)
        packet = parse_or_none(data) if data is not None else None
        if packet is None or _netns_of(record.interface.name) != netns:
            continue
        if record.direction == "in" and record.interface.name == ifname:
            received |= dict.fromkeys(_keys(packet, _hops_left(packet) - 1), number)
        elif record.direction == "out":
            for arrival in (received[key] for key in _keys(packet, _hops_left(packet)) if key in received):
                raise _error(f"packet {arrival} was forwarded to {record.interface.name} as packet {number}")
            if message := _router_message(packet):
                raise _error(f"packet {number} is a router's {message}")


def _netns_of(ifname: str) -> str:
    """Return the namespace part of an interface name: "client" of "client:eth0", "" of "tun0"."""
    return ifname.rpartition(":")[0]


def _router_message(packet: Packet) -> str:
    """Return protocol and name of a message that only routers send; "" for other packets."""
    icmp, icmpv6 = packet.get(ICMP), packet.get(ICMPv6)
    if icmp is not None and (name := _ICMP_ROUTER_MESSAGES.get((icmp.type, icmp.code))):
        return f"ICMP message ({name})"
    if icmpv6 is not None and (icmpv6.type, icmpv6.code) in _ICMPV6_ROUTER_MESSAGES:
        return f"ICMPv6 message ({icmpv6.name})"
    return ""


def _hops_left(packet: Packet) -> int:
    ip = outer_ip(packet)
    return ip.ttl if isinstance(ip, IPv4) else ip.hop_limit or 0


def _keys(packet: Packet, hops_left: int) -> list[Hashable]:
    """Return keys that a forwarded packet shares with the original: both addresses, or one and the content (NAT)."""
    ip = outer_ip(packet)
    protocol, identification = (ip.protocol, ip.identification) if isinstance(ip, IPv4) else (ip.next_header, None)
    content = hops_left, protocol, identification, packet.payload
    return [(hops_left, protocol, ip.src, ip.dst), ("src", ip.src, *content), ("dst", ip.dst, *content)]


def _error(reason: str) -> PacketError:
    return PacketError(
        f"{reason}: the recorded kernel was a router or firewall, and a recording does not contain its configuration."
        " Build a lab with the same configuration and replay to it: `tunlab replay FILE LAB`."
    )
