"""A TCP connection with the states of RFC 9293 and the checks of RFC 5961. Times are in nanoseconds."""

from collections.abc import Callable
from enum import Enum

from examples.tcp.receiver import Receiver
from examples.tcp.retransmission_timer import SECOND
from examples.tcp.sender import Chunk, Sender
from examples.tcp.sequence import add, distance
from tunlab.packet import TCP, TCPFlag
from tunlab.packet.tcp_options import MSS, NOP, WindowScale

ACK, FIN, PSH, RST, SYN = TCPFlag.ACK, TCPFlag.FIN, TCPFlag.PSH, TCPFlag.RST, TCPFlag.SYN

CAPACITY = 256 * 1024
"""Bytes of the buffer in each direction."""

SCALE = 3
"""The smallest shift with which a window of 16 bits covers the buffer."""

MAXIMUM_SEGMENT_LIFETIME = 30 * SECOND
GIVE_UP_AFTER = 180 * SECOND
"""R2 of RFC 9293 section 3.8.3: the time after which retransmission ends in an error."""

CHALLENGES_PER_SECOND = 10
"""The limit of RFC 5961 section 7."""


class State(Enum):
    """A state of RFC 9293 section 3.3.2. LISTEN is not a state here, because it has no connection yet."""

    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "CLOSED"


SENDS_DATA = {State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK}
RECEIVES_DATA = {State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2}
OPEN = {State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT}


class Connection:
    """A connection, from its first SYN to CLOSED.

    Attributes:
        state: The state of RFC 9293.
        error: Why the connection failed: "connection refused"; "" if it is open or was closed normally.
        local, remote: Address and port of each end.
    """

    def __init__(
        self,
        local: tuple[str, int],
        remote: tuple[str, int],
        *,
        initial: int,
        segment_size: int,
        default_segment_size: int,
        send: Callable[[TCP, bytes], None],
    ) -> None:
        """Make a connection. `connect` or `answer` starts its handshake.

        Args:
            local, remote: Address and port of each end.
            initial: Our initial sequence number.
            segment_size: The MSS that our SYN offers.
            default_segment_size: The MSS of a peer whose SYN offers none.
            send: Function that sends a segment.
        """
        self.local, self.remote = local, remote
        self.state = State.SYN_SENT
        self.error = ""
        self._initial = initial
        self._segment_size, self._default = segment_size, default_segment_size
        self._send = send
        self._receiver, self._sender = Receiver(CAPACITY), Sender(initial, CAPACITY)
        self._scaling = True
        self._passive = False
        self._syn_due = self._ack_due = False
        self._unanswered_since: int | None = None
        self._time_wait_ends: int | None = None
        self._challenges = (0, 0)

    # ---- for the application

    @property
    def room(self) -> int:
        """Number of bytes for which the send buffer has room."""
        return self._sender.room if self.state in OPEN and not self._sender.closing else 0

    @property
    def readable(self) -> int:
        """Number of received bytes that `read` can return."""
        return len(self._receiver.buffer)

    @property
    def peer_closed(self) -> bool:
        """True if the peer will not send more data than the readable bytes."""
        return self._receiver.finished or self.state is State.CLOSED

    def send(self, data: bytes) -> int:
        """Add data to the send buffer, as far as it has room. Return the number of bytes added."""
        return self._sender.write(data) if self.room else 0

    def read(self, count: int = CAPACITY) -> bytes:
        """Return up to `count` received bytes; b"" if there are none."""
        data = self._receiver.read(count)
        if data and self.state in RECEIVES_DATA and self._receiver.can_offer_more(self._sender.segment_size):
            self._ack_due = True
        return data

    def close(self) -> None:
        """Close our side: a FIN follows the data. The peer's data can still be read."""
        if self.state is State.SYN_SENT:
            self._end("")
        elif self.state in OPEN:
            self._sender.closing = True
            if self.state is State.CLOSE_WAIT:
                self.state = State.LAST_ACK
            elif self.state is State.ESTABLISHED:
                self.state = State.FIN_WAIT_1

    def abort(self) -> None:
        """End the connection with a reset (RFC 9293 section 3.10.5)."""
        if self.state in {State.SYN_RECEIVED, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT}:
            self._emit(self._sender.highest, RST)
        self._end("aborted")

    # ---- opening

    def connect(self) -> None:
        """Start an active open. The next `poll` sends the SYN."""
        self._syn_due = True

    def answer(self, syn: TCP) -> None:
        """Start a passive open with the SYN of a peer."""
        self.state, self._passive, self._syn_due = State.SYN_RECEIVED, True, True
        self._take_syn(syn)
        self._sender.first_window(syn.seq, self._initial, syn.window)

    def _take_syn(self, syn: TCP) -> None:
        self._receiver.begin(add(syn.seq, 1))
        size = syn.mss if syn.mss is not None else self._default
        self._sender.begin(max(1, min(size, self._segment_size)))
        self._scaling = syn.window_scale is not None
        if self._scaling:
            self._sender.scale = min(syn.window_scale or 0, 14)
            self._receiver.scale = SCALE

    # ---- segments that arrive (RFC 9293 section 3.10.7)

    def arrive(self, tcp: TCP, data: bytes, now: int) -> None:
        """Process a segment of this connection. The caller has checked its checksum."""
        if self.state is State.SYN_SENT:
            self._arrive_in_syn_sent(tcp, now)
            return
        syn, fin = bool(tcp.flags & SYN), bool(tcp.flags & FIN)
        if not self._receiver.accepts(tcp.seq, len(data) + syn + fin):
            repeated = syn and not tcp.flags & ACK and add(tcp.seq, 1) == self._receiver.next
            if repeated and self.state is State.SYN_RECEIVED:
                self._syn_due = True  # The peer repeats its SYN, so our SYN-ACK was lost.
            elif not tcp.flags & RST:
                if self.state is State.TIME_WAIT and fin:
                    self._time_wait_ends = now + 2 * MAXIMUM_SEGMENT_LIFETIME
                self._acknowledge()
            return
        if tcp.flags & RST:
            if tcp.seq == self._receiver.next:
                self._end("" if self.state in {State.TIME_WAIT, State.LAST_ACK, State.CLOSING} else "reset by the peer")
            else:
                self._challenge(now)
            return
        if syn:
            self._challenge(now)
            return
        if not tcp.flags & ACK or not self._process_acknowledgement(tcp, data, now):
            return
        if self.state in RECEIVES_DATA and (data or fin):
            self._process_data(tcp.seq, data, fin, now)

    def _arrive_in_syn_sent(self, tcp: TCP, now: int) -> None:
        acknowledged = bool(tcp.flags & ACK)
        if acknowledged and not 0 < distance(self._initial, tcp.ack) <= self._sender.outstanding:
            if not tcp.flags & RST:
                self._send(TCP(src_port=self.local[1], dst_port=self.remote[1], seq=tcp.ack, flags=RST, window=0), b"")
            return
        if tcp.flags & RST:
            if acknowledged:
                self._end("connection refused")
            return
        if not tcp.flags & SYN:
            return
        self._take_syn(tcp)
        self._sender.first_window(tcp.seq, tcp.ack if acknowledged else self._initial, tcp.window)
        if acknowledged:
            self._establish(tcp.ack, now)
            self._ack_due = True
        else:
            self.state, self._syn_due = State.SYN_RECEIVED, True

    def _establish(self, acknowledgement: int, now: int) -> None:
        self.state = State.FIN_WAIT_1 if self._sender.closing else State.ESTABLISHED
        self._sender.acknowledge(acknowledgement, now)
        self._sender.timer.established()
        self._unanswered_since = None

    def _process_acknowledgement(self, tcp: TCP, data: bytes, now: int) -> bool:
        """Process the acknowledgement and the window. Return False if the rest of the segment must be ignored."""
        sender = self._sender
        advance = distance(sender.unacknowledged, tcp.ack)
        window = tcp.window << sender.scale
        if self.state is State.SYN_RECEIVED:
            if not 0 < advance <= sender.outstanding:
                self._emit(tcp.ack, RST, acknowledge=False)
                return False
            sender.first_window(tcp.seq, tcp.ack, window)
            self._establish(tcp.ack, now)
        elif advance > sender.outstanding or advance < -max(sender.largest_window, 1):
            self._challenge(now)  # RFC 5961 section 5.2 requires a challenge ACK.
            return False
        elif advance > 0:
            sender.update_window(tcp.seq, tcp.ack, window)
            sender.acknowledge(tcp.ack, now)
            self._unanswered_since = None
        elif advance == 0:
            changed = sender.update_window(tcp.seq, tcp.ack, window)
            if window == 0:
                self._unanswered_since = None  # The peer has answered a window probe (RFC 9293 section 3.8.6.1).
            if sender.outstanding and not (data or changed or tcp.flags & FIN):
                sender.duplicate()
        if sender.fin_acknowledged:
            if self.state is State.FIN_WAIT_1:
                self.state = State.FIN_WAIT_2
            elif self.state is State.CLOSING:
                self._wait(now)
            elif self.state is State.LAST_ACK:
                self._end("")
        return self.state is not State.CLOSED

    def _process_data(self, number: int, data: bytes, fin: bool, now: int) -> None:
        if self._receiver.insert(number, data, fin):
            self._ack_due = True
        else:
            self._acknowledge()  # Acknowledge a segment after a gap at once: the peer counts duplicate ACKs.
        if self._receiver.finished:
            if self.state is State.ESTABLISHED:
                self.state = State.CLOSE_WAIT
            elif self.state is State.FIN_WAIT_1:
                self.state = State.CLOSING
            else:
                self._wait(now)

    # ---- time and segments that leave

    def next_deadline(self, now: int) -> int | None:
        """Return the time of the next `poll` that has something to do: `now` if there is work; None without a timer."""
        if self._syn_due or self._ack_due or (self.state in SENDS_DATA and self._sender.due() is not None):
            return now
        if self._time_wait_ends is not None:
            return self._time_wait_ends
        return self._sender.timer.deadline

    def poll(self, now: int) -> None:
        """Send the segments that are due now."""
        if self._time_wait_ends is not None and now >= self._time_wait_ends:
            self._end("")
            return
        timer = self._sender.timer
        if timer.deadline is not None and now >= timer.deadline:
            self._expire(now)
        if self._syn_due:
            self._syn_due = False
            self._emit_syn(now)
        if self.state in SENDS_DATA:
            while (chunk := self._sender.due()) is not None:
                self._emit_chunk(chunk, now)
            self._sender.probe_later(now)
        if self._ack_due:
            self._acknowledge()

    def _expire(self, now: int) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = now - self._sender.timer.timeout
        if now - self._unanswered_since >= GIVE_UP_AFTER:
            self._end("connection timed out")
            return
        probe = self._sender.expire(now)
        if self.state in {State.SYN_SENT, State.SYN_RECEIVED}:
            self._syn_due = True
        elif probe is not None:
            self._emit_chunk(probe, now)
            self._sender.next = self._sender.unacknowledged

    def _emit_syn(self, now: int) -> None:
        active = self.state is State.SYN_SENT
        options = [MSS(self._segment_size)]
        if self._scaling:
            options += [NOP, WindowScale(SCALE)]
        self._sender.sent(self._initial, 1, now)
        self._emit(self._initial, SYN, acknowledge=not active, options=options)

    def _emit_chunk(self, chunk: Chunk, now: int) -> None:
        self._sender.sent(chunk.number, len(chunk.data) + chunk.fin, now)
        flags = (FIN if chunk.fin else TCPFlag(0)) | (PSH if chunk.push and chunk.data else TCPFlag(0))
        self._emit(chunk.number, flags, data=chunk.data)

    def _acknowledge(self) -> None:
        self._emit(self._sender.highest, TCPFlag(0))

    def _challenge(self, now: int) -> None:
        """Send a challenge ACK for a segment that may be forged (RFC 5961), at most ten times a second."""
        second, count = self._challenges
        count = count + 1 if now // SECOND == second else 1
        self._challenges = now // SECOND, count
        if count <= CHALLENGES_PER_SECOND:
            self._acknowledge()

    def _emit(
        self,
        number: int,
        flags: TCPFlag,
        *,
        data: bytes = b"",
        acknowledge: bool = True,
        options: list[object] | None = None,
    ) -> None:
        window = self._receiver.offer(self._sender.segment_size, scaled=not flags & SYN)
        if not acknowledge:
            header = TCP(seq=number, flags=flags, window=0 if flags & RST else window)
        else:
            self._ack_due = False
            header = TCP(seq=number, ack=self._receiver.next, flags=flags | ACK, window=window)
        header = header.replace(src_port=self.local[1], dst_port=self.remote[1], options=options or b"")
        self._send(header, data)

    def _wait(self, now: int) -> None:
        self.state = State.TIME_WAIT
        self._sender.timer.stop()
        self._time_wait_ends = now + 2 * MAXIMUM_SEGMENT_LIFETIME

    def _end(self, error: str) -> None:
        if self.state is not State.CLOSED:
            self.state, self.error = State.CLOSED, error
        self._syn_due = self._ack_due = False
        self._sender.timer.stop()
        self._time_wait_ends = None
