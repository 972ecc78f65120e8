"""TCPEndpoint: the state of a TCP peer, and its single segments: those that it sends and those that it expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunlab.errors import ExpectationError
from tunlab.packet import TCP, IPv4, IPv6, Packet, TCPFlag
from tunlab.traffic.expectation import CombinedExpectation, Expectation
from tunlab.traffic.peer import PacketPort, Peer
from tunlab.traffic.segment_match import Numbers, RelativeNumber, SegmentMatch, relative_packet
from tunlab.traffic.segment_options import OPTION_NAMES, encode_options
from tunlab.traffic.tcp_stream import ReceivedStream, SentNumbers, unwrap

ACK, FIN, PSH, RST, SYN = TCPFlag.ACK, TCPFlag.FIN, TCPFlag.PSH, TCPFlag.RST, TCPFlag.SYN
DEFAULT_ISS = 1_000_000
_MODULUS = 2**32
_DEFAULT_MSS = {IPv4: (1460, 536), IPv6: (1440, 1220)}
"""The MSS that a peer offers, and the one of a device that offers none (RFC 9293 section 3.7.1)."""


class TCPEndpoint(Peer):
    """One end of a TCP connection that counts sequence numbers, and sends a segment per call.

    `TCPPeer` describes the attributes.
    """

    _header = TCP

    def __init__(
        self,
        packet_port: PacketPort,
        port: int = 0,
        *,
        listen: int = 0,
        src: str = "",
        src_port: int = 40_000,
        dst: str = "",
        iss: int = DEFAULT_ISS,
        window: int = 65_535,
        mss: int | None = 0,
        window_scale: int | None = None,
        timestamps: bool | int = False,
        sack: bool = False,
    ) -> None:
        """Make a peer whose packets `packet_port` carries. The other arguments are those of `tun.tcp`."""
        super().__init__(packet_port, port, listen=listen, src=src, src_port=src_port, dst=dst)
        self.iss, self.window, self.window_scale, self.sack = iss, window, window_scale, sack
        self.mss = _DEFAULT_MSS[type(self.ip)][0] if mss == 0 else mss
        self.timestamp = None if timestamps is False else int(timestamps)
        self.irs: int | None = None
        self.remote_syn: TCP | None = None
        self.snd_una = self.snd_wnd = self.ts_recent = 0
        self._sent, self._stream = SentNumbers(), ReceivedStream()
        self._window_end: int | None = None
        self._idle_since: int | None = None  # since when segments have brought no new data
        # The sequence numbers before each segment of a wait that timed out. A segment that came too late stays unread,
        # so the next wait reads it again.
        self._numbers_before: dict[tuple[int | None, Packet], Numbers] = {}

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def snd_nxt(self) -> int:
        """The number of the next new byte that the peer sends."""
        return self._sent.next

    @property
    def rcv_nxt(self) -> int:
        """The number that the peer expects next; its segments acknowledge everything before it."""
        return self._stream.next

    @property
    def fin_received(self) -> bool:
        """True after the device's FIN and all data before it."""
        return self._stream.finished

    @property
    def unread(self) -> bytes:
        """The data received in order that `expect_data` and `read` have not returned."""
        return bytes(self._stream.data[self._stream.taken :])

    def relative(self, packet: Packet) -> Packet:
        """Return a segment of the device with relative `seq`, `ack` and `sack`."""
        return relative_packet(packet, self._get_numbers())

    def _get_numbers(self) -> Numbers:
        return Numbers(self.iss, self.irs, self.snd_nxt, self.rcv_nxt)

    def _agreed(self, own: bool, option: str) -> bool:
        """Return True if the peer offers an option, and the device has offered it too."""
        return own and self.remote_syn is not None and getattr(self.remote_syn, option) not in (None, False)

    @property
    def _scaled(self) -> bool:
        return self._agreed(self.window_scale is not None, "window_scale")

    # ---- sending ---------------------------------------------------------------------------------------------------

    def segment(self, data: bytes = b"", **fields: Any) -> tuple[IPv4 | IPv6, TCP, bytes]:
        """Return the IP header, TCP header and data of the next segment, without sending it.

        Args:
            data: The data.
            fields: Fields of the TCP header in place of the automatic ones: `flags`, `window` (as on the wire),
                `checksum` and so on; `seq` and `ack` are relative. Options are given by name: `mss`, `window_scale`,
                `sack_permitted`, `timestamps=(value, echo)`, `sack=[(left, right)]` with relative edges; None leaves
                one out, and `options` replaces them all.
        """
        __tracebackhide__ = True
        self._check_remote()
        flags = fields["flags"] = TCPFlag(fields.get("flags", PSH | ACK if data else ACK))
        values = self._option_values(flags) | {name: fields.pop(name) for name in OPTION_NAMES & fields.keys()}
        base = self.irs or 0
        if sack := values.get("sack"):
            values["sack"] = [[(edge + base) % _MODULUS for edge in block] for block in sack]
        shift = self.window_scale or 0 if self._scaled and SYN not in flags else 0
        automatic: dict[str, Any] = {
            "src_port": self.local[1],
            "dst_port": self.remote[1],
            "window": min(self.window >> shift, 0xFFFF),
            "options": encode_options(values),
        }
        fields["seq"] = (fields.get("seq", self.snd_nxt) + self.iss) % _MODULUS
        if "ack" in fields or ACK in flags:
            fields["ack"] = (fields.get("ack", self.rcv_nxt) + base) % _MODULUS
        return self.ip, TCP(**(automatic | fields)), data

    def _option_values(self, flags: TCPFlag) -> dict[str, Any]:
        timestamps = self.timestamp is not None
        if SYN in flags:
            answers = self.remote_syn is not None  # a SYN-ACK has only options that the device's SYN has
            return {
                "mss": self.mss,
                "window_scale": self.window_scale if self._scaled or not answers else None,
                "sack_permitted": self._agreed(self.sack, "sack_permitted") or (self.sack and not answers),
                "timestamps": (self.timestamp, self.ts_recent)
                if self._agreed(timestamps, "timestamps") or (timestamps and not answers)
                else None,
            }
        timestamps = self._agreed(timestamps, "timestamps")
        most = 3 if timestamps else 4  # SACK blocks that fit into 40 bytes of options
        return {
            "timestamps": (self.timestamp, self.ts_recent) if timestamps else None,
            "sack": self._stream.blocks[:most] if ACK in flags and self._agreed(self.sack, "sack_permitted") else [],
        }

    def inject(self, data: bytes = b"", **fields: Any) -> None:
        """Send a segment that does not count: one that the device should drop or reject. Arguments as for `segment`."""
        __tracebackhide__ = True
        self.packet_port.inject(*self.segment(data, **fields))

    def send(self, data: bytes = b"", **fields: Any) -> None:
        """Send data, and count it; in several segments if it is longer than the device's MSS.

        It waits for nothing, and does not look at the device's window. `seq` sends again, or ahead: `seq=1` is the
        first byte.

        Args:
            data: The data; b"" sends one segment without data, as an ACK.
            fields: Fields of `segment`; SYN is sent in the first segment only, PSH and FIN in the last.
        """
        __tracebackhide__ = True
        flags = TCPFlag(fields.get("flags", PSH | ACK if data else ACK))
        number = fields.pop("seq", self.snd_nxt)
        size = self._segment_size(flags)
        for start in range(0, len(data) or 1, size):
            chunk = data[start : start + size]
            only_first, only_last = SYN if start else 0, PSH | FIN if start + size < len(data) else 0
            ip, tcp, _ = self.segment(chunk, **fields | {"flags": flags & ~(only_first | only_last), "seq": number})
            self.packet_port.inject(ip, tcp, chunk)
            end = number + len(chunk) + (SYN in tcp.flags) + (FIN in tcp.flags)
            self._sent.add(number, end)
            number = end
            if self.timestamp is not None:
                self.timestamp += 1
            if ACK in tcp.flags:
                shift = self.window_scale or 0 if self._scaled and SYN not in flags else 0
                acknowledged = unwrap(tcp.ack, self.irs or 0, self.rcv_nxt)
                self._window_end = acknowledged + (tcp.window << shift)

    def _segment_size(self, flags: TCPFlag) -> int:
        """Return how many bytes fit into a segment: the device's MSS without options (RFC 6691)."""
        offered = self.remote_syn.mss if self.remote_syn is not None else None
        size = offered or _DEFAULT_MSS[type(self.ip)][1]
        return max(size - len(encode_options(self._option_values(flags))), 1)

    def ack(self, **fields: Any) -> None:
        """Acknowledge all that was received in order; `ack=1` acknowledges less. Fields as for `segment`."""
        __tracebackhide__ = True
        self.send(**fields)

    def reset(self, **fields: Any) -> None:
        """Send RST with the next sequence number (RFC 9293 section 3.10.5). Fields as for `segment`."""
        __tracebackhide__ = True
        self.send(**{"flags": RST} | fields)

    # ---- expecting -------------------------------------------------------------------------------------------------

    def expect(self, *wanted: Expectation, timeout: float | None = None, **fields: Any) -> Packet:
        """Wait for a segment of the connection, and return it.

        Segments before it are skipped, but count as received. Packets that are not of the connection stay unread. Data
        stays for `expect_data` and `read`, unless `payload` is given.

        Args:
            wanted: Further conditions, as for `Tun.expect`, with absolute numbers.
            timeout: Seconds; None for the default of `packet_port`.
            fields: Fields of `TCP.where`, with relative `seq`, `ack` and `sack`. `seq` is `rcv_nxt` if it is not given,
                and `ack` is `snd_nxt` in segments with ACK; None stands for any number.

        A segment with a bad checksum does not match unless `checksum` is given, and does not count.

        Raises ExpectationError at the timeout, as `Tun.expect` does.
        """
        __tracebackhide__ = True
        further = CombinedExpectation.of(wanted)
        expected = SegmentMatch(self._connection, self._path, self._get_numbers, self._count, fields, further)
        with self._numbers_in_errors():
            packet = self.packet_port.expect(expected, timeout=timeout, among=self._is_mine)
        if "payload" in fields:
            start = unwrap(packet.tcp.seq, self.irs or 0, self.rcv_nxt) + (SYN in packet.tcp.flags)
            self._stream.taken = max(self._stream.taken, min(start - 1 + len(packet.payload), len(self._stream.data)))
        self._numbers_before.clear()
        return packet

    def expect_none(self, *unwanted: Expectation, timeout: float | None = None, **fields: Any) -> None:
        """Assert that no unread segment of the connection has these fields; without fields, that there is no segment.

        `timeout` and errors are as in `Tun.expect_none`; `seq` and `ack` may be any number if they are not given.
        """
        __tracebackhide__ = True
        further = CombinedExpectation.of(unwanted)
        match = SegmentMatch(self._connection, self._path, self._get_numbers, None, fields, further)
        with self._numbers_in_errors():
            self.packet_port.expect_none(match, timeout=timeout)

    @contextmanager
    def _numbers_in_errors(self) -> Iterator[None]:
        """Add the peer's numbers to an error, because summaries of packets have absolute ones."""
        __tracebackhide__ = True
        try:
            yield
        except ExpectationError as error:
            numbers = self._get_numbers()
            sent, received = (
                RelativeNumber(numbers.snd_nxt, numbers.iss),
                RelativeNumber(numbers.rcv_nxt, numbers.irs or 0),
            )
            expects = f"expects sequence number {received}" if numbers.irs is not None else "has received no SYN"
            error.add_note(f"the peer has sent up to {sent} and {expects}")
            raise

    def _count(self, packet: Packet) -> Numbers:
        """Count a received segment, once, and return the numbers before it."""
        key = packet.time, packet
        if key not in self._numbers_before:
            self._answer(packet)
            if SYN in packet.tcp.flags and self.irs is None:
                self.irs, self.remote_syn = packet.tcp.seq, packet.tcp
                self._numbers_before[key] = self._get_numbers()
                self._stream.synchronized = True
            else:
                self._numbers_before[key] = self._get_numbers()
            if self.irs is not None:
                self._receive(packet.tcp, packet.payload)
        return self._numbers_before[key]

    def _receive(self, tcp: TCP, payload: bytes) -> None:
        start = unwrap(tcp.seq, self.irs or 0, self.rcv_nxt) + (SYN in tcp.flags)
        if tcp.timestamps is not None and start <= self.rcv_nxt:
            self.ts_recent = tcp.timestamps[0]
        if RST not in tcp.flags:
            self._stream.add(start, payload, fin=FIN in tcp.flags, window_end=self._window_end)
        if ACK in tcp.flags:
            self.snd_una = max(self.snd_una, unwrap(tcp.ack, self.iss, self.snd_nxt))
            shift = self.remote_syn.window_scale or 0 if self._scaled and self.remote_syn is not None else 0
            self.snd_wnd = tcp.window << (0 if SYN in tcp.flags else shift)
