"""The script of a replay: the recorded datagrams, and the kernel configuration they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.kernel.validation import parse_interface
from tunlab.packet import ICMP, TCP, UDP, Packet, TCPFlag, Verdict, checksums, parse
from tunlab.recorder import RecordedPacket, extract_ipv4

SYN_ACK = TCPFlag.SYN | TCPFlag.ACK


class Step(Struct, frozen=True):
    """A recorded datagram.

    Attributes:
        number: the packet's number in the recording, counted from 1.
        direction: "in" if the replay injects it, "out" if the kernel should send it.
        data: the bytes of the datagram.
        time_ns: nanoseconds since the epoch; 0 without a timestamp.
    """

    number: int
    direction: Literal["in", "out"]
    data: bytes
    time_ns: int


class Script(Struct, frozen=True):
    """The packets that a replay injects and expects, and the kernel configuration that they need.

    Attributes:
        steps: the datagrams, in order.
        address: the kernel's address with prefix length.
        extra_addresses: the kernel's other addresses, with prefix length.
        routes: destinations that need a route to the TUN, because they are not in the address's network.
        tcp_ports: TCP ports with a listener in the recorded kernel.
        udp_ports: UDP ports with a listener in the recorded kernel.
    """

    steps: tuple[Step, ...]
    address: str
    extra_addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tcp_ports: tuple[int, ...] = ()
    udp_ports: tuple[int, ...] = ()


def script(records: Sequence[RecordedPacket], *, ifname: str = "", address: str = "") -> Script:
    """Return the packets that a replay of a recording injects and expects, and the configuration they need.

    Args:
        records: the recorded packets.
        ifname: the interface to replay; by default the only one with packets "in".
        address: the kernel's address, "10.1.2.1" or "10.1.2.1/24"; by default found in the recording. If the recording
            has no directions, packets to this address are "in" and packets from it "out".

    Raises:
        PacketError: if there is no packet to inject, or one was truncated.
        KernelError: if `address` is invalid.
    """
    steps = _steps(records, ifname or find_ifname(records, address), address.partition("/")[0])
    if not any(step.direction == "in" for step in steps):
        suffix = f" on interface {ifname!r}" if ifname else ""
        raise PacketError(
            f'no packet{suffix} has the direction "in", so there is none to inject.'
            " If the file has no directions, give the kernel's address with --address."
        )
    packets = [(step.direction, packet) for step in steps if (packet := parse_or_none(step.data)) is not None]
    sources = {packet.ip.src for direction, packet in packets if direction == "out"}
    destinations = Counter(
        packet.ip.dst for direction, packet in packets if direction == "in" and _is_host(IPv4Address(packet.ip.dst))
    )
    own = _kernel_address(address, destinations, sources)
    network = IPv4Network(own, strict=False)
    host = own.partition("/")[0]
    extra_addresses = tuple(f"{each}/32" for each in destinations if each in sources and each != host)
    # Add routes only to hosts to which the recorded kernel sent packets: it may have had no route to other hosts.
    peers = dict.fromkeys(packet.ip.dst for direction, packet in packets if direction == "out")
    routes = tuple(
        f"{peer}/32"
        for peer in peers
        if _is_host(IPv4Address(peer)) and IPv4Address(peer) not in network and f"{peer}/32" not in extra_addresses
    )
    return Script(tuple(steps), own, extra_addresses, routes, *_listeners(packets))


def find_ifname(records: Sequence[RecordedPacket], address: str = "") -> str:
    """Return the name of the only interface with packets "in". Raises PacketError if there are several."""
    names = list(dict.fromkeys(each.interface.name for each in records if each.direction == "in"))
    if not names and address:
        names = list(dict.fromkeys(each.interface.name for each in records))
    if len(names) > 1:
        raise PacketError(f"packets arrived on several interfaces ({', '.join(names)}). Choose one with --interface.")
    return names[0] if names else ""


def _steps(records: Sequence[RecordedPacket], ifname: str, host: str) -> list[Step]:
    steps = list[Step]()
    for number, record in enumerate(records, 1):
        data = extract_ipv4(record)
        if record.interface.name != ifname or data is None:
            continue
        direction = record.direction
        if direction is None:
            packet = parse_or_none(data)
            if packet is None or host not in (packet.ip.src, packet.ip.dst):
                continue
            direction = "in" if packet.ip.dst == host else "out"
        if direction == "in" and record.wire_length > len(record.data):
            raise PacketError(
                f"packet {number} was truncated: {len(record.data)} of its {record.wire_length} bytes were recorded."
                " Record whole packets."
            )
        steps.append(Step(number, direction, data, record.time_ns or 0))
    return steps


def _kernel_address(address: str, destinations: Counter[str], sources: set[str]) -> str:
    """Return the given address, else the destination of most packets among those that replied, else among all."""
    if not address:
        most_common = [each for each, _ in destinations.most_common()]
        replied = [each for each in most_common if each in sources]
        address = next(iter(replied or most_common), "")
        if not address:
            raise PacketError("no packet has a usable destination address. Give the kernel's address with --address.")
    return str(parse_interface(address if "/" in address else f"{address}/24", "replay a recording"))


def _is_host(address: IPv4Address) -> bool:
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved)


def _listeners(packets: Sequence[tuple[str, Packet]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the TCP ports that sent a SYN-ACK, and the UDP ports that received a datagram and did not reject it."""
    tcp, udp, closed = dict[int, None](), dict[int, None](), set[int]()
    for direction, packet in packets:
        transport = packet.transport
        if direction == "out" and isinstance(transport, TCP) and transport.flags & SYN_ACK == SYN_ACK:
            tcp[transport.src_port] = None
        elif direction == "out" and isinstance(transport, ICMP) and (transport.type, transport.code) == (3, 3):
            with suppress(PacketError):
                closed.add((packet.quoted.ports or (0, 0))[1])
        elif direction == "in" and isinstance(transport, UDP) and _is_intact(packet):
            udp[transport.dst_port] = None
    return tuple(tcp), tuple(port for port in udp if port not in closed and port)


def _is_intact(packet: Packet) -> bool:
    return all(each.verdict is not Verdict.BAD for each in checksums(packet))


def parse_or_none(data: bytes) -> Packet | None:
    """Parse an IPv4 packet; return None if the bytes are not IPv4."""
    try:
        return parse(data)
    except PacketError:
        return None
