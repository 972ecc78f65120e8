"""What no replay can do: a kernel of its own has no second device, no routes beyond it, and no firewall.

Source: RFC 1812 section 5.3.1 (a router takes one off the TTL), RFC 792 (what only routers say).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tunlab.errors import PacketError
from tunlab.lab.replay.script import parsed
from tunlab.packet import ICMP, Packet
from tunlab.recorder import RecordedPacket, extract_ipv4

_OF_ROUTERS = {
    (3, 0): "that it knows no way to a network",
    (3, 1): "that a host cannot be reached",
    (3, 4): "that a datagram is too long for the way on",
    (3, 9): "that a firewall prohibits a network",
    (3, 10): "that a firewall prohibits a host",
    (3, 13): "that a firewall prohibits it",
    (5, 0): "of a better way",
    (5, 1): "of a better way",
    (11, 0): "that the TTL ran out on the way",
}


def check_replayable(records: Sequence[RecordedPacket], ifname: str) -> None:
    """Nothing, if what came in by `ifname` was for the kernel itself, as far as the recording tells.

    Raises PacketError where the kernel was a router: it passed on what came in, or sent what routers and firewalls do.
    """
    home = _home(ifname)
    came = dict[Hashable, int]()
    for number, record in enumerate(records, 1):
        octets = extract_ipv4(record)
        packet = parsed(octets) if octets is not None else None
        if packet is None or _home(record.interface.name) != home:
            continue
        if record.direction == "in" and record.interface.name == ifname:
            came |= dict.fromkeys(_signs(packet, packet.ip.ttl - 1), number)
        elif record.direction == "out":
            for origin in (came[sign] for sign in _signs(packet, packet.ip.ttl) if sign in came):
                passed_on = f"it was passed on, by {record.interface.name} as {number}"
                raise _refused(f"packet {origin} was not for this kernel: {passed_on}")
            icmp = packet.get(ICMP)
            if icmp is not None and (said := _OF_ROUTERS.get((icmp.type, icmp.code))):
                raise _refused(f"packet {number} tells its sender {said}")


def _home(ifname: str) -> str:
    """The namespace of a device: "client" of "client:eth0"; "" where the recording has one alone."""
    return ifname.rpartition(":")[0]


def _signs(packet: Packet, ttl: int) -> list[Hashable]:
    """By what it is known a hop later: its addresses, though it be a part of it; one of them, the other translated."""
    ip = packet.ip
    alike = ttl, ip.protocol, ip.identification, packet.payload
    return [(ttl, ip.protocol, ip.src, ip.dst), ("src", ip.src, *alike), ("dst", ip.dst, *alike)]


def _refused(seen: str) -> PacketError:
    return PacketError(
        f"{seen}: the kernel was a router or had a firewall, and a recording has neither its routes nor its rules nor"
        " its sysctls; only what one kernel with one TUN answers can be replayed. Put up a lab that is as it was, and"
        " name it: tunlab replay FILE LAB"
    )
