"""The script of a replay: the recorded packets, and the kernel configuration that they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Literal, cast

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.kernel.validation import InterfaceAddress, parse_interface
from tunlab.packet import (
    ICMP,
    TCP,
    UDP,
    Header,
    ICMPv6,
    ICMPv6Type,
    IPv4,
    IPv6,
    NDMessage,
    Packet,
    TCPFlag,
    Verdict,
    checksums,
    parse,
)
from tunlab.recorder import RAW_LINK_TYPES, RecordedPacket, extract_ip
from tunlab.traffic.ethernet_peer import is_listener_report

SYN_ACK = TCPFlag.SYN | TCPFlag.ACK


class Step(Struct, frozen=True):
    """A recorded IP packet.

    Attributes:
        number: the packet's number in the recording, counted from 1.
        direction: "in" if the replay injects it, "out" if the kernel should send it.
        data: the bytes of the packet, from its IP header on.
        time_ns: nanoseconds since the epoch; 0 without a timestamp.
    """

    number: int
    direction: Literal["in", "out"]
    data: bytes
    time_ns: int


class Script(Struct, frozen=True):
    """The packets that a replay injects and expects, and the kernel configuration that they need.

    Attributes:
        steps: the packets, in order.
        addresses: the kernel's addresses with prefix length; the first of an IP version is the main one.
        routes: destinations that need a route to the TUN, because they are not in the network of an address.
        tcp_ports: TCP ports with a listener in the recorded kernel.
        udp_ports: UDP ports with a listener in the recorded kernel.
    """

    steps: tuple[Step, ...]
    addresses: tuple[str, ...]
    routes: tuple[str, ...] = ()
    tcp_ports: tuple[int, ...] = ()
    udp_ports: tuple[int, ...] = ()


def script(records: Sequence[RecordedPacket], *, ifname: str = "", addresses: Sequence[str] = ()) -> Script:
    """Return the packets that a replay of a recording injects and expects, and the configuration they need.

    Args:
        records: the recorded packets.
        ifname: the interface to replay; by default the only one with packets "in".
        addresses: the kernel's addresses, as "10.1.2.1" or "fd00::1/64"; those of an IP version that is not given are
            found in the recording. If it has no directions, packets to these addresses are "in", packets from them
            "out".

    Raises:
        PacketError: if there is no packet to inject, or one was truncated.
        KernelError: if an address is invalid.
    """
    given = [_interface(each) for each in addresses]
    steps = _steps(records, ifname or find_ifname(records, addresses), {str(each.ip) for each in given})
    if not any(step.direction == "in" for step in steps):
        suffix = f" on interface {ifname!r}" if ifname else ""
        raise PacketError(
            f'no packet{suffix} has the direction "in", so there is none to inject.'
            " If the file has no directions, give the kernel's address with --address."
        )
    packets = [(step.direction, packet) for step in steps if (packet := parse_or_none(step.data)) is not None]
    sent = [outer_ip(packet) for direction, packet in packets if direction == "out"]
    destinations = _hosts(outer_ip(packet).dst for direction, packet in packets if direction == "in")
    own = _kernel_addresses(given, destinations, _hosts(ip.src for ip in sent))
    # Add routes only to hosts to which the recorded kernel sent packets: it may have had no route to other hosts.
    peers = [ip_address(peer) for peer in _hosts(ip.dst for ip in sent)]
    routes = tuple(
        f"{peer}/{peer.max_prefixlen}" for peer in peers if not any(peer in interface.network for interface in own)
    )
    return Script(tuple(steps), tuple(map(str, own)), routes, *_listeners(packets))


def find_ifname(records: Sequence[RecordedPacket], addresses: Sequence[str] = ()) -> str:
    """Return the name of the only interface with packets "in". Raises PacketError if there are several.

    If the recording has no directions, `addresses` determine them: then the only interface is returned.
    """
    names = list(dict.fromkeys(each.interface.name for each in records if each.direction == "in"))
    if not names and addresses:
        names = list(dict.fromkeys(each.interface.name for each in records))
    if len(names) > 1:
        raise PacketError(f"packets arrived on several interfaces ({', '.join(names)}). Choose one with --interface.")
    return names[0] if names else ""


def _steps(records: Sequence[RecordedPacket], ifname: str, hosts: set[str]) -> list[Step]:
    steps = list[Step]()
    for number, record in enumerate(records, 1):
        data = extract_ip(record)
        if record.interface.name != ifname or data is None:
            continue
        packet, direction = parse_or_none(data), record.direction
        if direction is None:
            if packet is None or not hosts.intersection((outer_ip(packet).src, outer_ip(packet).dst)):
                continue
            direction = "in" if outer_ip(packet).dst in hosts else "out"
        if packet is not None and _is_skipped(packet, direction, record.interface.linktype):
            continue
        if direction == "in" and record.wire_length > len(record.data):
            raise PacketError(
                f"packet {number} was truncated: {len(record.data)} of its {record.wire_length} bytes were recorded."
                " Record whole packets."
            )
        steps.append(Step(number, direction, data, record.time_ns or 0))
    return steps


def _is_skipped(packet: Packet, direction: str, linktype: int) -> bool:
    """Return True for packets that a kernel with a TUN neither answers nor sends in the recorded order.

    A TUN has no link-layer addresses, so there is no ARP on it, nor the neighbor discovery of Ethernet. MLD reports are
    sent after a random delay (RFC 3810 section 9.11).
    """
    if isinstance(packet.transport, NDMessage):
        return linktype not in RAW_LINK_TYPES
    return direction == "out" and is_listener_report(packet)


def _kernel_addresses(
    given: Sequence[InterfaceAddress], destinations: Counter[str], sources: Counter[str]
) -> list[InterfaceAddress]:
    """Return the kernel's addresses: for each IP version a main address, then all others that replied.

    The main address is the given one, else the destination of most packets among those that replied, else among all,
    else the most common source of the kernel's packets.
    """
    own = list(given)
    replied = [each for each, _ in destinations.most_common() if each in sources]
    candidates = [_interface(each) for each in (*replied, *dict(destinations.most_common()), *sources)]
    for version in (4, 6):
        if all(each.version != version for each in own):
            own += [each for each in candidates if each.version == version][:1]
    if not own:
        raise PacketError("no packet has a usable destination address. Give the kernel's address with --address.")
    hosts = {str(each.ip) for each in own}
    others = [ip_address(each) for each in replied if each not in hosts]
    return own + [parse_interface(f"{each}/{each.max_prefixlen}", "replay a recording") for each in others]


def _interface(address: str) -> InterfaceAddress:
    """Return an address with its prefix length, by default 24 for IPv4 and 64 for IPv6. Raises KernelError."""
    length = "" if "/" in address else "/64" if ":" in address else "/24"
    return parse_interface(f"{address}{length}", "replay a recording")


def _hosts(addresses: Iterable[str]) -> Counter[str]:
    """Count unicast addresses, except loopback and reserved ones."""
    return Counter(
        text
        for text in addresses
        if not ((each := ip_address(text)).is_multicast or each.is_unspecified or each.is_loopback or each.is_reserved)
    )


def _listeners(packets: Sequence[tuple[str, Packet]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the TCP ports that sent a SYN-ACK, and the UDP ports that received a packet and did not reject it."""
    tcp, udp, closed = dict[int, None](), dict[int, None](), set[int]()
    for direction, packet in packets:
        transport = packet.transport
        if direction == "out" and isinstance(transport, TCP) and transport.flags & SYN_ACK == SYN_ACK:
            tcp[transport.src_port] = None
        elif direction == "out" and _is_port_unreachable(transport):
            with suppress(PacketError):
                closed.add((packet.quoted.ports or (0, 0))[1])
        elif direction == "in" and isinstance(transport, UDP) and _is_intact(packet):
            udp[transport.dst_port] = None
    return tuple(tcp), tuple(port for port in udp if port not in closed and port)


def _is_port_unreachable(header: Header | None) -> bool:
    if isinstance(header, ICMP):
        return (header.type, header.code) == (3, 3)
    return isinstance(header, ICMPv6) and (header.type, header.code) == (ICMPv6Type.DESTINATION_UNREACHABLE, 4)


def _is_intact(packet: Packet) -> bool:
    return all(each.verdict is not Verdict.BAD for each in checksums(packet))


def parse_or_none(data: bytes) -> Packet | None:
    """Parse an IP packet; return None if the bytes are not an IP packet."""
    try:
        return parse(data)
    except PacketError:
        return None


def outer_ip(packet: Packet) -> IPv4 | IPv6:
    """Return the first header of an IP packet: in a tunnel, the kernel's addresses are in this one."""
    return cast("IPv4 | IPv6", packet.headers[0])
