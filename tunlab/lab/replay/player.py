"""A recording of a TUN played once more to a kernel: what was injected is injected, what comes out is compared.

What a kernel chooses anew each time is tolerated: the IP identification, its initial sequence numbers, its timestamps.
Its choice is carried over into what is injected, or a connection would be answered by resets: RFC 9293 section 3.10.7.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tunlab.errors import PacketError
from tunlab.lab.replay.script import SYN_ACK, Script, Step, parsed
from tunlab.packet import ICMP, TCP, Difference, ICMPType, Packet, TCPFlag, Verdict, build, checksums, tcp_options
from tunlab.traffic import Tun

Flow = tuple[str, int | None, str, int | None]
"""Addresses and ports, the sender's first."""


class Outcome(Struct, frozen=True):
    """One line of what happened.

    number        of the recorded packet; None for one that was not recorded
    recorded      its octets
    now           what was injected, or what came out; None where nothing did
    differences   fields that differ: `wanted` as recorded, `got` as they are now
    """

    number: int | None
    direction: Literal["in", "out"]
    recorded: bytes | None
    now: bytes | None
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether what came out is as recorded; an injected packet always is."""
        return self.recorded is not None and self.now is not None and not self.differences


def prepare(tun: Tun, played: Script) -> None:
    """Give a TUN of our own what the recorded one had: further addresses, ways back, sockets that listen."""
    for cidr in played.further:
        tun.device.add_address(cidr)
    for dst in played.routes:
        tun.device.rtnl.add_route(dst, ifindex=tun.device.ifindex)
    for port in played.tcp:
        tun.listen(port)
    for port in played.udp:
        tun.bind(port)


class Replay:
    """One run of a script over a TUN.

    exact     inject octets as they are, and tolerate nothing
    pace      keep the recorded times between packets
    timeout   seconds to wait for what was recorded, beyond the time that it took then
    act       let the namespace's kernel begin what it began then: connections, pings
    """

    def __init__(
        self,
        tun: Tun,
        played: Script,
        *,
        exact: bool = False,
        pace: bool = False,
        timeout: float = 1.0,
        act: bool = True,
    ) -> None:
        self._tun, self._script = tun, played
        self._exact, self._pace, self._timeout, self._act = exact, pace, timeout, act
        self._came: deque[bytes] = deque()
        self._begun: set[object] = set()
        self._isn: dict[Flow, int] = {}
        self._clock: dict[Flow, int] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """Play it; each outcome as soon as it is known. Raises KernelError for what the kernel does not take."""
        steps = self._script.steps
        began, first, before = time.monotonic(), steps[0].time_ns, steps[0].time_ns
        for at, step in enumerate(steps):
            if step.direction == "in":
                if self._pace:
                    self._read_until(began + (step.time_ns - first) / 1e9)
                octets = step.octets if self._exact else self._carried_over(step.octets)
                self._tun.device.write(octets)
                yield Outcome(step.number, "in", step.octets, octets)
            else:
                if self._act:
                    self._begin(step, steps[at:])
                later = [each for each in steps[at + 1 :] if each.direction == "out"]
                yield from self._compare(step, later, self._timeout + max(0, step.time_ns - before) / 1e9)
            before = step.time_ns
        self._came.extend(self._tun.device.read_all())
        yield from (Outcome(None, "out", None, octets) for octets in self._came)

    def _read_until(self, deadline: float) -> None:
        """Wait for an instant; what comes meanwhile is kept."""
        while (left := deadline - time.monotonic()) > 0:
            if self._tun.device.wait(left):
                self._came.extend(self._tun.device.read_all())

    def _compare(self, step: Step, later: Iterable[Step], patience: float) -> Iterator[Outcome]:
        deadline = time.monotonic() + patience
        while not self._came and (left := deadline - time.monotonic()) > 0:
            if self._tun.device.wait(left):
                self._came.extend(self._tun.device.read_all())
        self._came.extend(self._tun.device.read_all())
        for place, octets in enumerate(self._came):
            if not self._differences(step.octets, octets):
                for _ in range(place):
                    yield Outcome(None, "out", None, self._came.popleft())
                self._came.popleft()
                self._learn(step.octets, octets)
                yield Outcome(step.number, "out", step.octets, octets)
                return
        if self._came and not any(not self._differences(each.octets, self._came[0]) for each in later):
            octets = self._came.popleft()
            differences = tuple(self._differences(step.octets, octets))
            self._learn(step.octets, octets)
            yield Outcome(step.number, "out", step.octets, octets, differences)
            return
        yield Outcome(step.number, "out", step.octets, None)

    # ---- what the kernel began by itself ---------------------------------------------------------------------------

    def _begin(self, step: Step, rest: Sequence[Step]) -> None:
        packet = parsed(step.octets)
        if packet is None:
            return
        transport, dst = packet.transport, packet.ip.dst
        if isinstance(transport, TCP) and transport.flags & SYN_ACK == TCPFlag.SYN:
            key: object = _flow(packet)
            if key not in self._begun:
                self._begun.add(key)
                self._tun.connect(dst, transport.dst_port, src_port=transport.src_port)
        elif isinstance(transport, ICMP) and transport.type == ICMPType.ECHO_REQUEST:
            key = (dst, transport.identifier)
            if key not in self._begun:
                self._begun.add(key)
                count = sum(_is_echo_request(each, dst, transport.identifier) for each in rest)
                self._tun.ping(dst, count=count, payload=packet.payload, identifier=transport.identifier)

    # ---- what a kernel chooses anew --------------------------------------------------------------------------------

    def _learn(self, recorded: bytes, now: bytes) -> None:
        """From a SYN of the kernel's how far its numbers are from the recorded ones."""
        before, after = parsed(recorded), parsed(now)
        if before is None or after is None or self._exact:
            return
        one, other = before.get(TCP), after.get(TCP)
        if one is None or other is None or _flow(before) != _flow(after):
            return
        if TCPFlag.SYN in one.flags and TCPFlag.SYN in other.flags:
            self._isn[_flow(before)] = (other.seq - one.seq) % 2**32
        if one.timestamps and other.timestamps:
            self._clock[_flow(before)] = (other.timestamps[0] - one.timestamps[0]) % 2**32

    def _carried_over(self, octets: bytes) -> bytes:
        """A recorded segment to the kernel with the acknowledgements and echoes that fit the kernel's numbers now."""
        packet = parsed(octets)
        tcp = packet.get(TCP) if packet is not None else None
        if packet is None or tcp is None:
            return octets
        back = (packet.ip.dst, tcp.dst_port, packet.ip.src, tcp.src_port)
        shift, clock = self._isn.get(back, 0), self._clock.get(back, 0)
        if not shift and not clock:
            return octets
        changed = replace(tcp, options=_shifted(tcp, shift, clock))
        if TCPFlag.ACK in tcp.flags:
            changed = replace(changed, ack=(tcp.ack + shift) % 2**32)
        good = all(each.verdict is Verdict.GOOD for each in checksums(packet) if each.layer == "TCP")
        if good:
            changed = replace(changed, checksum=None)
        headers = tuple(changed if isinstance(each, TCP) else each for each in packet.headers)
        return build(replace(packet, headers=headers))

    def _differences(self, recorded: bytes, now: bytes) -> list[Difference]:
        if recorded == now:
            return []
        before, after = parsed(recorded), parsed(now)
        if before is None or after is None or self._exact:
            return _field_differences(before, after) or [Difference("octets", recorded, now)]
        return _field_differences(self._as_now(before, after), after)

    def _as_now(self, recorded: Packet, now: Packet) -> Packet:
        """The recorded packet as the kernel would have sent it with the numbers that it has chosen now."""
        ip = replace(recorded.ip, identification=now.ip.identification)
        headers = [ip, *recorded.headers[1:]]
        tcp, other = recorded.get(TCP), now.get(TCP)
        if tcp is not None and other is not None:
            shift = self._isn.get(_flow(recorded), 0)
            both = tcp.flags & other.flags
            seq = other.seq if both & TCPFlag.SYN else (tcp.seq + shift) % 2**32
            options = tcp.options
            if tcp.timestamps and other.timestamps:
                clock = (other.timestamps[0] - tcp.timestamps[0]) % 2**32
                options = _shifted(tcp, 0, 0, clock)
            headers[1] = replace(tcp, seq=seq, options=options)
        payload = recorded.payload
        if (icmp := recorded.get(ICMP)) is not None and icmp.is_error and _alike(recorded, now):
            payload = now.payload
        # A checksum is right or wrong; which number that makes follows from the rest.
        fresh = [
            replace(header, checksum=mine.checksum) if _verdict(recorded, header) == _verdict(now, mine) else header
            for header, mine in zip(headers, now.headers, strict=False)
            if hasattr(header, "checksum") and hasattr(mine, "checksum")
        ]
        return replace(recorded, headers=tuple(fresh + headers[len(fresh) :]), payload=payload)


def _flow(packet: Packet) -> Flow:
    ports = packet.ports or (None, None)
    return packet.ip.src, ports[0], packet.ip.dst, ports[1]


def _is_echo_request(step: Step, dst: str, identifier: int) -> bool:
    packet = parsed(step.octets) if step.direction == "out" else None
    icmp = packet.get(ICMP) if packet is not None and packet.ip.dst == dst else None
    return icmp is not None and (icmp.type, icmp.identifier) == (ICMPType.ECHO_REQUEST, identifier)


def _verdict(packet: Packet, header: object) -> Verdict | None:
    return next((each.verdict for each in checksums(packet) if each.layer == type(header).__name__), None)


def _alike(one: Packet, other: Packet) -> bool:
    """Whether two ICMP errors are about the same datagram: its addresses, protocol, ports and length."""
    try:
        mine, its = one.quoted, other.quoted
    except PacketError:
        return False
    return (_flow(mine), mine.ip.protocol, len(one.payload)) == (_flow(its), its.ip.protocol, len(other.payload))


def _shifted(tcp: TCP, shift: int, clock: int, own_clock: int = 0) -> bytes:
    """The options with the edges of SACK, the echoed timestamp and the sender's own moved on by so much."""
    options = []
    for option in tcp.decoded_options:
        match option:
            case tcp_options.SACK():
                blocks = [[(edge + shift) % 2**32 for edge in block] for block in option.blocks]
                options.append(bytes(tcp_options.SACK(blocks)))
            case tcp_options.Timestamps():
                echo = (option.echo_reply + clock) % 2**32 if option.echo_reply else 0
                options.append(bytes(tcp_options.Timestamps((option.value + own_clock) % 2**32, echo)))
            case _:
                options.append(bytes(option))
    moved = b"".join(options)
    return moved + tcp.options[len(moved) :]


def _field_differences(before: Packet | None, after: Packet | None) -> list[Difference]:
    if before is None or after is None:
        return []
    rows = list[Difference]()
    for one, other in zip(before.headers, after.headers, strict=False):
        if type(one) is not type(other):
            rows.append(Difference("layer", type(one).__name__, type(other).__name__))
            break
        rows += [
            Difference(f"{type(one).__name__}.{field}", getattr(one, field), getattr(other, field))
            for field in one.__struct_fields__
            if getattr(one, field) != getattr(other, field)
        ]
    if len(before.headers) != len(after.headers):
        rows.append(Difference("layers", len(before.headers), len(after.headers)))
    for field in ("payload", "trailer"):
        if getattr(before, field) != getattr(after, field):
            rows.append(Difference(field, getattr(before, field), getattr(after, field)))
    return rows
