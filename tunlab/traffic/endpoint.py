"""Endpoint: the test's end of a port. It injects packets, and expects, captures and reads those that arrive.

The other side of the port is a kernel (`Tun`) or a device under test. No thread reads in the background: packets wait
at the other side until the test asks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar

from tunlab.errors import KernelError
from tunlab.kernel.closeable import Closeable
from tunlab.packet import Header, Packet, PacketPart, build
from tunlab.packet.values import to_bytes
from tunlab.traffic.addresses import Addressed
from tunlab.traffic.deadlines import check_timeout
from tunlab.traffic.ethernet_peer import EthernetPeer
from tunlab.traffic.expectation import CombinedExpectation, Expectation
from tunlab.traffic.inbox import Inbox
from tunlab.traffic.peer_factory import PeerFactory
from tunlab.traffic.ports.port import Port
from tunlab.traffic.trace import TraceEntry


class Endpoint(Addressed, PeerFactory, Closeable):
    """The test's end of a port.

    Attributes:
        port: The port: how bytes are sent and received, and its clock.
        timeout: Default timeout of `expect`, `capture` and `fence`, in seconds.
        record: The latest packets in both directions: at most 100,000, and at most 64 MiB.
        timeouts: The last 100 expectations that timed out: nanoseconds since the epoch, and a description.
    """

    node: ClassVar[str] = "kernel"
    """Name of the other side in reports."""

    _ethernet: EthernetPeer | None = None

    def __init__(self, port: Port, timeout: float) -> None:
        """Use a port. A subclass sets `_ethernet` before, the test's end of a port with Ethernet frames."""
        self.port, self.timeout = port, timeout
        self._inbox = Inbox(port, self._ethernet)
        self.record, self.timeouts = self._inbox.record, self._inbox.timeouts

    def inject(self, *layers: PacketPart | Packet) -> bytes:
        """Send a packet into the namespace: its kernel receives it on the TUN. Return the bytes of the packet.

        Args:
            layers: Headers and payload as separate arguments, or a Packet, bytes or another object with `__bytes__`.

        Raises PacketError if the layers are not a packet, KernelError if the kernel refuses it.
        """
        __tracebackhide__ = True
        data = self._to_bytes(layers)
        self._check_open()
        self._inbox.inject(data)
        return data

    def expect(
        self, *wanted: Expectation, timeout: float | None = None, among: Callable[[Packet], bool] | None = None
    ) -> Packet:
        """Wait for the next packet from the kernel that meets every condition, and return it.

        Packets before it are skipped: later calls do not see them. `flags=has(TCPFlag.SYN)` allows further flags.

        Args:
            wanted: Conditions: `TCP.where(…)`, a header class, or a function that gets the packet.
            timeout: Seconds; None for `self.timeout`. The margin of `tunlab.traffic.deadlines` is added.
            among: Function of a packet. Packets for which it returns False are not matched, and stay unread.

        Raises ExpectationError at the timeout. It lists every packet that arrived, with its differences.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(wanted)
        self._check_open()
        return self._inbox.expect(expected, self._seconds(timeout), among)

    def expect_all(
        self,
        wanted: Sequence[Expectation | tuple[Expectation, ...]],
        *,
        ordered: bool = False,
        timeout: float | None = None,
    ) -> list[Packet]:
        """Wait for one packet per expectation, and return them in the order of the expectations.

        Args:
            wanted: Conditions as for `expect`; a tuple combines several for one packet.
            ordered: Require that the packets arrive in this order; other packets may arrive between them.
            timeout: Seconds for all of them; None for `self.timeout`.

        Raises ExpectationError at the timeout. It lists the met and unmet expectations and the other packets.
        """
        __tracebackhide__ = True
        expected = [CombinedExpectation.of(each if isinstance(each, tuple) else (each,)) for each in wanted]
        self._check_open()
        return self._inbox.expect_all(expected, ordered, self._seconds(timeout))

    def expect_none(self, *unwanted: Expectation, timeout: float | None = None) -> None:
        """Assert that no unread packet matches the conditions. Packets stay unread.

        A packet of which a header could not be read counts if that header may match (`Packet.unread_header`).

        `timeout` is how many seconds to wait for such a packet; None uses `fence` instead of a fixed wait. Raises
        ExpectationError if a packet matches, KernelError if a fence cannot work here.
        """
        __tracebackhide__ = True
        expected = CombinedExpectation.of(unwanted)
        self._check_open()
        self._inbox.expect_none(expected, None if timeout is None else check_timeout("timeout", timeout), self._fence)

    def expect_silence(self, *, timeout: float | None = None) -> None:
        """Assert that no packet is unread and none arrives. `timeout` and errors are as in `expect_none`."""
        __tracebackhide__ = True
        self.expect_none(timeout=timeout)

    def fence(self, *, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        """Wait until the kernel has answered every packet injected so far, and return the unread packets.

        They stay unread. The fence is an echo request from `peer` to `address`, whose reply is queued after all earlier
        answers. Expectations do not see it; `record` has it with the note "fence".

        Args:
            settle: Seconds to wait first, for packets that timers or programs send.
            timeout: Seconds to wait for the reply; None for `self.timeout`.

        Raises KernelError if no reply is possible, for example because the Tun has no address or its link is down.
        """
        self._check_open()
        return self._fence(check_timeout("settle", settle), timeout)

    def capture(self, count: int | None = None, *, timeout: float | None = None) -> list[Packet]:
        """Return the unread packets, and consume them: later calls do not return them again.

        Bytes that are not a packet are returned as a Packet without headers, with the bytes as its payload.

        Args:
            count: Number of packets to wait for; later ones stay unread. None returns all unread packets.
            timeout: Seconds to wait. None means `self.timeout` if `count` is given, else no wait.

        Raises ExpectationError if fewer than `count` packets arrive.
        """
        __tracebackhide__ = True
        self._check_open()
        return self._inbox.capture(count, 0.0 if timeout is None and count is None else self._seconds(timeout))

    def read(self, timeout: float | None = None) -> bytes:
        """Return the bytes of the next packet, of any protocol. Raises ExpectationError if none arrives."""
        __tracebackhide__ = True
        self._check_open()
        return self._inbox.read(self._seconds(timeout))

    def unread(self) -> list[TraceEntry]:
        """Return unread packets in arrival order, without consuming them."""
        self._check_open()
        return self._inbox.unread()

    def unmatched(self) -> list[TraceEntry]:
        """Return the packets that no call has matched, captured or read, including those that `expect` skipped.

        A strict test fails if there is one.
        """
        if not self.closed:
            try:
                self._fence(timeout=0.25)
            except KernelError:  # A fence is not possible, or the device was deleted.
                with suppress(KernelError):
                    self._inbox.unread()
        return [entry for entry in self.record if not entry.consumed]

    def _seconds(self, timeout: float | None) -> float:
        __tracebackhide__ = True
        return check_timeout("timeout", self.timeout if timeout is None else timeout)

    def _to_bytes(self, layers: tuple[PacketPart | Packet, ...], *, from_kernel: bool = False) -> bytes:
        __tracebackhide__ = True
        return to_bytes_of_packet(layers)

    @property
    def name(self) -> str:
        """Name of the port in reports."""
        return self.port.name

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self.port.closed

    @abstractmethod
    def _fence(self, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        """Wait for the answers to all injected packets, as `fence` does."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raise KernelError if the endpoint is closed."""


def to_bytes_of_packet(layers: tuple[PacketPart | Packet, ...]) -> bytes:
    """Return the bytes of a packet, given as headers and payload, as a Packet, or as bytes. Raises PacketError."""
    __tracebackhide__ = True
    if len(layers) == 1 and not isinstance(layers[0], Header):
        return to_bytes(layers[0], "packet")
    return build(*layers)
