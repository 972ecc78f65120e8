"""The match of a TCP peer: fields of a segment, with sequence numbers relative to both initial sequence numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from msgspec.structs import replace

from tunlab.packet import TCP, Difference, Match, Packet, TCPFlag, Verdict, checksums
from tunlab.packet.match import ABSENT
from tunlab.packet.tcp_options import SACK
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.function_names import function_name
from tunlab.traffic.tcp_stream import unwrap

_MODULUS = 2**32


class Numbers(NamedTuple):
    """The numbers of a peer at the moment when a segment arrives.

    Attributes:
        iss: Initial sequence number of the peer.
        irs: Initial sequence number of the device; None before its SYN.
        snd_nxt: The relative number that the peer sends next, which the device should acknowledge.
        rcv_nxt: The relative number that the device should send next.
    """

    iss: int
    irs: int | None
    snd_nxt: int
    rcv_nxt: int

    def seq(self, absolute: int) -> int:
        """Return a sequence number of the device as a relative one; before its SYN numbers are absolute."""
        return absolute if self.irs is None else unwrap(absolute, self.irs, self.rcv_nxt)

    def ack(self, absolute: int) -> int:
        """Return an acknowledgement number of the device as a relative one."""
        return unwrap(absolute, self.iss, self.snd_nxt)


class RelativeNumber(int):
    """A relative number that is shown with the absolute one beside it: "6 (1000006)"."""

    absolute: int
    remark: str

    def __new__(cls, relative: int, base: int, remark: str = "") -> Self:
        number = super().__new__(cls, relative)
        number.absolute, number.remark = (relative + base) % _MODULUS, remark
        return number

    def __str__(self) -> str:
        return f"{int(self)} ({self.absolute}){self.remark}"


class SegmentMatch:
    """A matcher for the segments of one connection.

    If segments are counted, `seq` is the peer's `rcv_nxt` unless it is given, and `ack` its `snd_nxt` in segments with
    ACK; None stands for any number. A segment with a bad checksum does not count, and does not match unless `checksum`
    is given.
    """

    def __init__(
        self,
        connection: Callable[[], Match],
        path: Callable[[], str],
        numbers: Callable[[], Numbers],
        count: Callable[[Packet], Numbers] | None,
        fields: Mapping[str, object],
        further: CombinedExpectation,
    ) -> None:
        """Make a match.

        Args:
            connection: Returns the match for addresses and ports.
            path: Returns these as text: "from 10.1.2.1.80 to 10.1.2.2.40000".
            numbers: Returns the peer's numbers now.
            count: Counts a segment of the connection, and returns the numbers before it; None does not count.
            fields: Fields of `TCP.where`, with relative numbers for `seq`, `ack` and `sack`.
            further: Conditions on the packet as it is, with absolute numbers.
        """
        TCP.where(**self._wrapped(fields))  # raises TypeError or MalformedError for an invalid field
        self._connection, self._path, self._numbers, self._count = connection, path, numbers, count
        self._fields, self._further = fields, further

    @staticmethod
    def _wrapped(fields: Mapping[str, object]) -> dict[str, object]:
        """Return the fields without those that may have any value, and sequence numbers as 32 bits."""
        return {
            name: value % _MODULUS if type(value) is int and name in ("seq", "ack") else value
            for name, value in fields.items()
            if value is not None or name not in ("seq", "ack", "checksum")
        }

    def difference(self, packet: Packet) -> list[Difference]:
        """Return the fields that differ, with relative numbers; [] for a match."""
        rows = self._connection().difference(packet)
        tcp = packet.get(TCP)
        if tcp is None or any(row.wanted is ABSENT for row in rows):
            return rows + self._further.difference(packet)
        if self._count is not None and "checksum" not in self._fields:
            rows += [
                Difference(f"{each.layer}.checksum", each.expected, each.value)
                for each in checksums(packet)
                if each.verdict is Verdict.BAD
            ]
        numbers = self._count(packet) if self._count is not None and not rows else self._numbers()
        fields = self._wrapped({**self._due(tcp, numbers), **self._fields})
        rows += TCP.where(**fields).difference(relative_packet(packet, numbers))
        return [_with_absolute(row, numbers) for row in rows] + self._further.difference(packet)

    def _due(self, tcp: TCP, numbers: Numbers) -> dict[str, object]:
        due: dict[str, object] = {}
        if self._count is None:
            return due
        if numbers.irs is not None:
            due["seq"] = 0 if TCPFlag.SYN in tcp.flags else numbers.rcv_nxt
        if TCPFlag.ACK in tcp.flags:
            due["ack"] = numbers.snd_nxt
        return due

    def __str__(self) -> str:
        fields = self._wrapped(self._fields)
        texts = [TCP.where(**fields).text(function_name)] if fields else []
        texts += [str(self._further)] if self._further != CombinedExpectation.of(()) else []
        return f"{' & '.join(texts) or 'any segment'} {self._path()}"


def relative_packet(packet: Packet, numbers: Numbers) -> Packet:
    """Return a packet of the device with relative numbers in its TCP header and in its SACK option."""
    tcp = packet[TCP]
    options = tcp.options
    if tcp.sack:
        options = b"".join(
            bytes(SACK([[numbers.ack(edge) % _MODULUS for edge in block] for block in option.blocks]))
            if isinstance(option, SACK)
            else bytes(option)
            for option in tcp.decoded_options
        )
    seq, ack = numbers.seq(tcp.seq) % _MODULUS, numbers.ack(tcp.ack) % _MODULUS
    relative = replace(tcp, seq=seq, ack=ack if TCPFlag.ACK in tcp.flags else tcp.ack, options=options)
    return packet.replace(headers=tuple(relative if each is tcp else each for each in packet.headers))


def _with_absolute(row: Difference, numbers: Numbers) -> Difference:
    """Return a difference of numbers with the absolute ones beside, and by how much the number is wrong."""
    name = row.field.removeprefix("TCP.")
    base = {"seq": numbers.irs, "ack": numbers.iss}.get(name)
    if base is None or not isinstance(row.got, int):
        return row
    near = numbers.rcv_nxt if name == "seq" else numbers.snd_nxt
    got = unwrap(row.got, 0, near)
    if type(row.wanted) is not int:
        return Difference(row.field, row.wanted, RelativeNumber(got, base))
    wanted = unwrap(row.wanted, 0, near)
    off = got - wanted
    remark = f", {abs(off)} {'more' if off > 0 else 'less'} than wanted"
    return Difference(row.field, RelativeNumber(wanted, base), RelativeNumber(got, base, remark))
