"""Replay: injects the recorded packets "in" into a kernel, and compares its replies with the recorded packets "out".

Values that a kernel chooses may differ: IP identification, IPv6 flow label, initial sequence numbers, timestamps.
Injected segments are adapted to the new sequence numbers; otherwise the kernel would reset the connection (RFC 9293
section 3.10.7).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.lab.replay.script import SYN_ACK, Script, Step, outer_ip, parse_or_none
from tunlab.packet import (
    ICMP,
    TCP,
    Difference,
    Fragment,
    Header,
    ICMPType,
    ICMPv6,
    ICMPv6Type,
    IPv4,
    IPv6,
    Packet,
    TCPFlag,
    Verdict,
    build,
    checksums,
    tcp_options,
)
from tunlab.traffic import Tun
from tunlab.traffic.ethernet_peer import is_listener_report

Flow = tuple[str, int | None, str, int | None]
"""Source address and port, destination address and port."""

_CHOSEN_FIELDS: dict[type[Header], str] = {IPv4: "identification", IPv6: "flow_label", Fragment: "identification"}
"""The field of a header whose value the kernel chooses for each packet or connection."""


class Outcome(Struct, frozen=True):
    """The result for one packet: its bytes in the recording and in the replay, and how they differ.

    Attributes:
        number: the recorded packet's number; None for a packet that is not in the recording.
        direction: "in" if injected, "out" if sent by the kernel.
        recorded: the recorded bytes; None for a packet that is not in the recording.
        now: the bytes injected or sent in the replay; None if the kernel did not send the packet.
        differences: the fields that differ; `wanted` is the recorded value, `got` the value in the replay.
    """

    number: int | None
    direction: Literal["in", "out"]
    recorded: bytes | None
    now: bytes | None
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """True if the packet equals the recorded one; always true for an injected packet."""
        return self.recorded is not None and self.now is not None and not self.differences


def prepare(tun: Tun, script: Script) -> None:
    """Add the recorded kernel's routes and listening sockets to a TUN and its namespace."""
    for dst in script.routes:
        tun.device.rtnl.add_route(dst, ifindex=tun.device.ifindex)
    for port in script.tcp_ports:
        tun.listen(port)
    for port in script.udp_ports:
        tun.bind(port)


class Replay:
    """A replay of recorded packets on a TUN.

    Args:
        tun: the TUN to inject into and read from.
        script: the packets to inject and to expect.
        exact: inject the recorded bytes unchanged and report every difference.
        pace: keep the recorded intervals between packets.
        timeout: seconds to wait for each recorded packet, in addition to the recorded interval.
        act: make the kernel start the connections and pings that the recorded kernel started.
    """

    def __init__(
        self,
        tun: Tun,
        script: Script,
        *,
        exact: bool = False,
        pace: bool = False,
        timeout: float = 1.0,
        act: bool = True,
    ) -> None:
        self._tun, self._script = tun, script
        self._exact, self._pace, self._timeout, self._act = exact, pace, timeout, act
        self._received: deque[bytes] = deque()
        self._started: set[object] = set()
        self._isn: dict[Flow, int] = {}
        self._clock: dict[Flow, int] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """Replay the packets and yield each outcome once it is known. Raises KernelError if the kernel rejects one."""
        steps = self._script.steps
        started, first, before = time.monotonic(), steps[0].time_ns, steps[0].time_ns
        for index, step in enumerate(steps):
            if step.direction == "in":
                if self._pace:
                    self._read_until(started + (step.time_ns - first) / 1e9)
                data = step.data if self._exact else self._adapt(step.data)
                self._tun.device.write(data)
                yield Outcome(step.number, "in", step.data, data)
            else:
                if self._act:
                    self._start(step, steps[index:])
                later = [each for each in steps[index + 1 :] if each.direction == "out"]
                yield from self._compare(step, later, self._timeout + max(0, step.time_ns - before) / 1e9)
            before = step.time_ns
        self._receive()
        yield from (Outcome(None, "out", None, data) for data in self._received)

    def _receive(self) -> None:
        """Read the packets that the kernel has sent, except MLD reports: it sends them after a random delay."""
        for data in self._tun.device.read_all():
            packet = parse_or_none(data)
            if packet is None or not is_listener_report(packet):
                self._received.append(data)

    def _read_until(self, deadline: float) -> None:
        """Wait until a monotonic time, and keep the packets that arrive meanwhile."""
        while (remaining := deadline - time.monotonic()) > 0:
            if self._tun.device.wait(remaining):
                self._receive()

    def _compare(self, step: Step, later: Iterable[Step], timeout: float) -> Iterator[Outcome]:
        deadline = time.monotonic() + timeout
        while not self._received and (remaining := deadline - time.monotonic()) > 0:
            if self._tun.device.wait(remaining):
                self._receive()
        self._receive()
        for index, data in enumerate(self._received):
            if not self._differences(step.data, data):
                for _ in range(index):
                    yield Outcome(None, "out", None, self._received.popleft())
                self._received.popleft()
                self._learn(step.data, data)
                yield Outcome(step.number, "out", step.data, data)
                return
        if self._received and not any(not self._differences(each.data, self._received[0]) for each in later):
            data = self._received.popleft()
            differences = tuple(self._differences(step.data, data))
            self._learn(step.data, data)
            yield Outcome(step.number, "out", step.data, data, differences)
            return
        yield Outcome(step.number, "out", step.data, None)

    # ---- connections and pings of the kernel -------------------------------------------------------------------------

    def _start(self, step: Step, rest: Sequence[Step]) -> None:
        packet = parse_or_none(step.data)
        if packet is None or packet.ip is not packet.headers[0]:  # the kernel of the replay has no tunnels
            return
        transport, dst = packet.transport, packet.ip.dst
        if isinstance(transport, TCP) and transport.flags & SYN_ACK == TCPFlag.SYN:
            key: object = _flow(packet)
            if key not in self._started:
                self._started.add(key)
                self._tun.connect(dst, transport.dst_port, src_port=transport.src_port)
        elif (identifier := _echo_identifier(packet)) is not None:
            key = (dst, identifier)
            if key not in self._started:
                self._started.add(key)
                requests = [parse_or_none(each.data) for each in rest if each.direction == "out"]
                count = sum(
                    each is not None and (each.ip.dst, _echo_identifier(each)) == (dst, identifier) for each in requests
                )
                self._tun.ping(dst, count=count, payload=packet.payload, identifier=identifier)

    # ---- values that the kernel chooses ------------------------------------------------------------------------------

    def _learn(self, recorded: bytes, now: bytes) -> None:
        """Store how much the kernel's sequence number and timestamp differ from the recorded ones."""
        before, after = parse_or_none(recorded), parse_or_none(now)
        if before is None or after is None or self._exact:
            return
        one, other = before.get(TCP), after.get(TCP)
        if one is None or other is None or _flow(before) != _flow(after):
            return
        if TCPFlag.SYN in one.flags and TCPFlag.SYN in other.flags:
            self._isn[_flow(before)] = (other.seq - one.seq) % 2**32
        if one.timestamps and other.timestamps:
            self._clock[_flow(before)] = (other.timestamps[0] - one.timestamps[0]) % 2**32

    def _adapt(self, data: bytes) -> bytes:
        """Return a recorded segment with acknowledgement number, SACK and echoed timestamp adapted to the kernel."""
        packet = parse_or_none(data)
        tcp = packet.get(TCP) if packet is not None else None
        if packet is None or tcp is None:
            return data
        back = (packet.ip.dst, tcp.dst_port, packet.ip.src, tcp.src_port)
        shift, clock = self._isn.get(back, 0), self._clock.get(back, 0)
        if not shift and not clock:
            return data
        changed = tcp.replace(options=_shifted(tcp, shift, clock))
        if TCPFlag.ACK in tcp.flags:
            changed = changed.replace(ack=(tcp.ack + shift) % 2**32)
        good = all(each.verdict is Verdict.GOOD for each in checksums(packet) if each.layer == "TCP")
        if good:
            changed = changed.replace(checksum=None)
        headers = tuple(changed if isinstance(each, TCP) else each for each in packet.headers)
        return build(packet.replace(headers=headers))

    def _differences(self, recorded: bytes, now: bytes) -> list[Difference]:
        if recorded == now:
            return []
        before, after = parse_or_none(recorded), parse_or_none(now)
        if before is None or after is None or self._exact:
            return _field_differences(before, after) or [Difference("bytes", recorded, now)]
        return _field_differences(self._expected_now(before, after), after)

    def _expected_now(self, recorded: Packet, now: Packet) -> Packet:
        """Return the recorded packet with the values that the kernel chose in the replay."""
        headers = list(recorded.headers)
        for index, (header, other) in enumerate(zip(headers, now.headers, strict=False)):
            if type(header) is not type(other):
                break
            changes: dict[str, object] = {}
            if (chosen := _CHOSEN_FIELDS.get(type(header))) is not None:
                changes[chosen] = getattr(other, chosen)
            if isinstance(header, TCP) and isinstance(other, TCP):
                if not header.flags & other.flags & TCPFlag.SYN:
                    changes["seq"] = (header.seq + self._isn.get(_flow(recorded), 0)) % 2**32
                else:
                    changes["seq"] = other.seq
                if header.timestamps and other.timestamps:
                    clock = (other.timestamps[0] - header.timestamps[0]) % 2**32
                    changes["options"] = _shifted(header, 0, 0, clock)
            # If both checksums are good, or both bad, do not compare their values: a checksum depends on other fields.
            if hasattr(other, "checksum") and _verdict(recorded, header) == _verdict(now, other):
                changes["checksum"] = other.checksum
            headers[index] = header.replace(**changes)
        payload = recorded.payload
        if isinstance(recorded.transport, ICMP | ICMPv6) and _quote_same_packet(recorded, now):
            payload = now.payload
        return recorded.replace(headers=tuple(headers), payload=payload)


def _flow(packet: Packet) -> Flow:
    ports = packet.ports or (None, None)
    return packet.ip.src, ports[0], packet.ip.dst, ports[1]


def _echo_identifier(packet: Packet) -> int | None:
    """Return the identifier of an echo request; None for other packets."""
    header = packet.transport
    request = ICMPType.ECHO_REQUEST if isinstance(header, ICMP) else ICMPv6Type.ECHO_REQUEST
    return header.identifier if isinstance(header, ICMP | ICMPv6) and header.type == request else None


def _verdict(packet: Packet, header: object) -> Verdict | None:
    return next((each.verdict for each in checksums(packet) if each.layer == type(header).__name__), None)


def _quote_same_packet(one: Packet, other: Packet) -> bool:
    """Return True if two ICMP errors quote the same addresses, protocol, ports and length."""
    try:
        mine, its = one.quoted, other.quoted
    except PacketError:
        return False
    return (_flow(mine), _protocol(mine), len(one.payload)) == (_flow(its), _protocol(its), len(other.payload))


def _protocol(packet: Packet) -> int | None:
    ip = outer_ip(packet)
    return ip.protocol if isinstance(ip, IPv4) else ip.next_header


def _shifted(tcp: TCP, shift: int, clock: int, own_clock: int = 0) -> bytes:
    """Return TCP options with `shift` added to SACK, `clock` to the echoed and `own_clock` to the own timestamp."""
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
    shifted = b"".join(options)
    return shifted + tcp.options[len(shifted) :]


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
