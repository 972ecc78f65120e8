"""The interface of a port: it sends bytes, and yields received bytes with their time."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tunlab.traffic.deadlines import Clock


class TimedBytes(NamedTuple):
    """Received bytes: `time_ns` is in nanoseconds of `Port.clock.time_ns`."""

    time_ns: int
    data: bytes


class Port(Protocol):
    """A place where packets are sent and received, one packet per call."""

    @property
    def name(self) -> str:
        """Name in reports: the interface's name, or that of a device under test."""

    @property
    def link_type(self) -> int | None:
        """Link type of the packets, as for `parse`; None for IP packets."""

    @property
    def clock(self) -> Clock:
        """The clock of deadlines and packets."""

    @property
    def netns(self) -> tuple[int, int] | None:
        """Identity of the network namespace that `name` belongs to; None for a port without one."""

    @property
    def closed(self) -> bool:
        """True after `close`."""

    def write(self, data: bytes) -> None:
        """Send a packet to the other side. Raises KernelError if that is impossible."""

    def read(self) -> list[TimedBytes]:
        """Return the packets that have arrived, in order, without waiting."""

    def wait(self, deadline: int) -> bool:
        """Wait for a packet until an instant of `clock.monotonic_ns`. Return False if none has arrived by then."""

    def close(self) -> None:
        """Release the port. May be called again."""
