"""What a recording of a TUN says that is to be played: the steps, and the kernel that they were played to."""

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
    """A recorded datagram: `number` in the recording from 1, `time_ns` 0 where it has none."""

    number: int
    direction: Literal["in", "out"]
    octets: bytes
    time_ns: int


class Script(Struct, frozen=True):
    """What is played.

    address    the kernel's, with its prefix length
    further    other addresses of the kernel's, with theirs
    routes     networks beyond the TUN that the address does not cover
    tcp, udp   ports on which the recorded kernel had somebody listening
    """

    steps: tuple[Step, ...]
    address: str
    further: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()


def script(records: Sequence[RecordedPacket], *, ifname: str = "", address: str = "") -> Script:
    """What a recording says that is to be played, on the interface `ifname`, by default the only one with packets "in".

    address   "10.1.2.1" or "10.1.2.1/24"; by default worked out from the recording. Where the recording has no
              directions, what goes to this address is "in", what comes from it "out"

    Raises PacketError for a recording with nothing to inject, or with packets cut short; KernelError for no address.
    """
    steps = _steps(records, ifname or ifname_of(records, address), address.partition("/")[0])
    if not any(step.direction == "in" for step in steps):
        what = f"of the interface {ifname!r} " if ifname else ""
        raise PacketError(
            f'no packet {what}has the direction "in", and only those can be injected; '
            "if the file keeps no directions, say which address was the kernel's: --address"
        )
    packets = [(step.direction, packet) for step in steps if (packet := parsed(step.octets)) is not None]
    sent = {packet.ip.src for direction, packet in packets if direction == "out"}
    wanted = Counter(
        packet.ip.dst for direction, packet in packets if direction == "in" and _is_host(IPv4Address(packet.ip.dst))
    )
    own = _own(address, wanted, sent)
    network = IPv4Network(own, strict=False)
    host = own.partition("/")[0]
    further = tuple(f"{each}/32" for each in wanted if each in sent and each != host)
    # Only where something was sent: where nothing was, it may be for want of a route.
    peers = dict.fromkeys(packet.ip.dst for direction, packet in packets if direction == "out")
    routes = tuple(
        f"{peer}/32"
        for peer in peers
        if _is_host(IPv4Address(peer)) and IPv4Address(peer) not in network and f"{peer}/32" not in further
    )
    return Script(tuple(steps), own, further, routes, *_listeners(packets))


def ifname_of(records: Sequence[RecordedPacket], address: str = "") -> str:
    """The only interface with packets "in"; raises PacketError where there are several."""
    names = list(dict.fromkeys(each.interface.name for each in records if each.direction == "in"))
    if not names and address:
        names = list(dict.fromkeys(each.interface.name for each in records))
    if len(names) > 1:
        raise PacketError(f"packets came in on several interfaces: choose one by --interface: {', '.join(names)}")
    return names[0] if names else ""


def _steps(records: Sequence[RecordedPacket], ifname: str, host: str) -> list[Step]:
    steps = list[Step]()
    for number, record in enumerate(records, 1):
        octets = extract_ipv4(record)
        if record.interface.name != ifname or octets is None:
            continue
        direction = record.direction
        if direction is None:
            packet = parsed(octets)
            if packet is None or host not in (packet.ip.src, packet.ip.dst):
                continue
            direction = "in" if packet.ip.dst == host else "out"
        if direction == "in" and record.wire_length > len(record.data):
            raise PacketError(
                f"packet {number} was cut when it was recorded: it had {record.wire_length} octets, and"
                f" {len(record.data)} were kept; record it whole"
            )
        steps.append(Step(number, direction, octets, record.time_ns or 0))
    return steps


def _own(address: str, wanted: Counter[str], sent: set[str]) -> str:
    """The kernel's address: as given, else that to which most was sent of those that have answered."""
    if not address:
        most = [each for each, _ in wanted.most_common()]
        answering = [each for each in most if each in sent]
        address = next(iter(answering or most), "")
        if not address:
            raise PacketError("no packet goes to an address that a kernel can have: say which it had: --address")
    return str(parse_interface(address if "/" in address else f"{address}/24", "play a recording"))


def _is_host(address: IPv4Address) -> bool:
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved)


def _listeners(packets: Sequence[tuple[str, Packet]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """TCP ports that have answered a SYN, UDP ports that took a datagram and of which nobody said they are closed."""
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


def parsed(octets: bytes) -> Packet | None:
    """The packet; None for octets that begin with no IPv4 header."""
    try:
        return parse(octets)
    except PacketError:
        return None
