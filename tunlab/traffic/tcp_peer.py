"""TCPPeer: one end of a TCP connection, played by the test."""

from __future__ import annotations

from typing import Self

from tunlab.errors import ExpectationError
from tunlab.packet import Packet, TCPFlag, has
from tunlab.packet.text.diagram import diff_bytes
from tunlab.traffic.segment_match import RelativeNumber
from tunlab.traffic.tcp_endpoint import ACK, FIN, RST, SYN, TCPEndpoint


def ack_without_rst(flags: TCPFlag) -> bool:
    """Return True for the flags of a segment that acknowledges and does not reset."""
    return flags & (ACK | RST) == ACK


class TCPPeer(TCPEndpoint):
    """One end of a TCP connection, played by the test: `tun.tcp(80)`, or `tun.tcp(listen=80)`.

    It counts what it sends and receives, and sends nothing by itself: each segment is a call of the test. Numbers are
    relative everywhere, as in Wireshark: SYN is 0 and the first byte of data is 1, in each direction.

    Attributes:
        iss: Initial sequence number of the peer, absolute.
        irs: Initial sequence number of the device, absolute; None before its SYN.
        snd_una: The first number that the device has not acknowledged.
        snd_wnd: The device's receive window in bytes.
        window: The peer's own window in bytes, which its segments offer. Assign 0 and `ack()` to close it.
        mss: The maximum segment size that the peer's SYN offers; None offers none.
        window_scale: The shift that the peer's SYN offers; None offers none.
        sack: True if the peer's SYN permits selective acknowledgements, which `ack` then sends.
        timestamp: The peer's next timestamp, which each segment increments; None without the option.
        ts_recent: The device's latest timestamp, which segments echo.
        remote_syn: The device's SYN or SYN-ACK; its `mss`, `window_scale` and so on are what the device offers.
    """

    def handshake(self, *, timeout: float | None = None) -> Self:
        """Open the connection in three segments, and return the peer.

        A peer that listens waits for the device's SYN, answers it and waits for the ACK; another sends the SYN.
        """
        __tracebackhide__ = True
        if self.remote[1] and self.remote_syn is None:
            self.send(flags=SYN)
            self.expect(flags=has(SYN | ACK), timeout=timeout)
            self.ack()
        else:
            if self.remote_syn is None:
                self.expect(flags=has(SYN), timeout=timeout)
            self.send(flags=SYN | ACK)
            self.expect(flags=ack_without_rst, timeout=timeout)
        return self

    def expect_data(self, data: bytes, *, ack: bool = True, timeout: float | None = None) -> None:
        """Wait until the device has sent this data, in segments of any size and order, and acknowledge each segment.

        Retransmissions may come, but must not differ. Data behind it stays for the next call.

        Args:
            data: The next bytes of the stream.
            ack: Acknowledge each segment with data or FIN.
            timeout: Seconds to wait for each segment; None for the default of `packet_port`.

        Raises ExpectationError that names the first byte that differs, or how much has come.
        """
        __tracebackhide__ = True
        stream, checked, self._idle_since = self._stream, 0, None
        while True:
            got = bytes(stream.data[stream.taken + checked : stream.taken + len(data)])
            if not data.startswith(got, checked):
                raise self._difference_error(data)
            checked += len(got)
            if checked == len(data):
                stream.taken += len(data)
                return
            self._fill(f"{len(data)} bytes of data", checked, ack, timeout)

    def read(self, count: int | None = None, *, ack: bool = True, timeout: float | None = None) -> bytes:
        """Return the next `count` bytes that the device sends; None returns all up to its FIN. As `expect_data`."""
        __tracebackhide__ = True
        stream, self._idle_since = self._stream, None
        while (len(stream.data) - stream.taken < count) if count is not None else not stream.finished:
            wanted = "data up to FIN" if count is None else f"{count} bytes of data"
            self._fill(wanted, len(stream.data) - stream.taken, ack, timeout)
        end = len(stream.data) if count is None else stream.taken + count
        data = bytes(stream.data[stream.taken : end])
        stream.taken = end
        return data

    def _fill(self, wanted: str, present: int, ack: bool, timeout: float | None) -> None:
        """Receive one segment of the connection. Raises ExpectationError if no more data can come."""
        __tracebackhide__ = True
        stream, before = self._stream, (self.rcv_nxt, self._stream.blocks)
        wanted = (
            f"{wanted}, of which {present} came (next is sequence number {RelativeNumber(self.rcv_nxt, self.irs or 0)})"
        )
        if stream.finished:
            raise ExpectationError(wanted=wanted, problem=f"FIN came before the end of {wanted}")
        try:
            packet = self.expect(seq=None, ack=None, timeout=timeout)
        except ExpectationError as error:
            error.wanted = wanted
            if stream.beyond_window:
                error.wanted += f"; {stream.beyond_window} bytes beyond the window were dropped"
            raise
        if RST in packet.tcp.flags:
            raise ExpectationError(wanted=wanted, problem=f"RST came before the end of {wanted}")
        if stream.conflict is not None:
            number = RelativeNumber(stream.conflict.number, self.irs or 0)
            values = f"first {stream.conflict.first:#04x}, then {stream.conflict.again:#04x}"
            problem = f"the byte with sequence number {number} came again with another value: {values}"
            raise ExpectationError(wanted=wanted, problem=problem)
        if ack and (packet.payload or FIN in packet.tcp.flags):
            self.ack()
        self._check_progress(packet, wanted, timeout, progress=(self.rcv_nxt, stream.blocks) != before)

    def _check_progress(self, packet: Packet, wanted: str, timeout: float | None, *, progress: bool) -> None:
        """Raise ExpectationError if the segments of a whole timeout, by their times, brought nothing."""
        __tracebackhide__ = True
        seconds = self.packet_port.timeout if timeout is None else timeout
        now = packet.time or 0
        if progress or self._idle_since is None:
            self._idle_since = None if progress else now
        elif now - self._idle_since > seconds * 1e9:
            problem = f"for {seconds:.3g} s no segment brought more of {wanted}"
            raise ExpectationError(wanted=wanted, problem=problem, timeout=seconds)

    def _difference_error(self, data: bytes) -> ExpectationError:
        got = bytes(self._stream.data[self._stream.taken : self._stream.taken + len(data)])
        at = next(at for at, (wanted, each) in enumerate(zip(data, got, strict=False)) if wanted != each)
        number = RelativeNumber(1 + self._stream.taken + at, self.irs or 0)
        problem = f"byte {at} of the data differs, sequence number {number}"
        text = "\n".join(diff_bytes(data[: len(got)], got, "data"))
        return ExpectationError(wanted=f"{len(data)} bytes of data", problem=problem, progress=[text])

    def close(self, *, timeout: float | None = None) -> None:
        """Send FIN and wait for its acknowledgement. The device may still send: `expect_fin` waits for its FIN."""
        __tracebackhide__ = True
        self.send(flags=FIN | ACK)
        self.expect(flags=ack_without_rst, timeout=timeout)

    def expect_fin(self, *, ack: bool = True, timeout: float | None = None) -> None:
        """Wait for the device's FIN unless it has come, and acknowledge it."""
        __tracebackhide__ = True
        if not self.fin_received:
            self.expect(flags=has(FIN), timeout=timeout)
        if ack:
            self.ack()
