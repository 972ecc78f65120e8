"""Dut: a device under test. The test is the other end of its link, and sees every packet that it sends."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from tunlab.dut.control import Control, DutConnection, DutListener
from tunlab.dut.process import DeviceProcess
from tunlab.dut.settings import DutSettings
from tunlab.errors import DeviceError, ExpectationError, KernelError
from tunlab.packet import Packet
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.endpoint import Endpoint
from tunlab.traffic.fence import Fence
from tunlab.traffic.ports.object_port import ObjectPort
from tunlab.traffic.ports.port import Port

T = TypeVar("T")

_CONTROL_INTERVAL = 5_000_000
"""Nanoseconds between two requests to a program whose application waits for something."""


class Dut(Endpoint):
    """A device under test, and the test's end of the link to it.

    Attributes:
        kind: "kernel", "program", "fd" or "object".
        target: The device as it was given: "object:my_stack:Stack".
        settings: Its settings.
        services: Ports of its services: `dut.services.echo`.
        port: The port: how bytes are sent and received, and its clock.
        timeout: Default timeout of `expect`, `capture` and `fence`, in seconds.
        record: The latest packets in both directions: at most 100,000, and at most 64 MiB.
        timeouts: The last 100 expectations that timed out: nanoseconds of the port's clock, and a description.
    """

    node = "dut"

    _process: DeviceProcess | None = None
    _control: Control | None = None

    def __init__(self, kind: str, target: str, settings: DutSettings, port: Port) -> None:
        """Use a running device; `open_dut` starts one. The arguments are as in the attributes."""
        super().__init__(port, settings.timeout)
        self.kind, self.target, self.settings, self.services = kind, target, settings, settings.services
        self._interfaces, self._name = settings.addresses, target
        self._fences = Fence(target, port.write)
        self._resources = ExitStack()

    @property
    def output(self) -> str:
        """Output of the program so far, stdout and stderr together; "" for kernel and objects."""
        return "" if self._process is None else self._process.output

    @property
    def dropped(self) -> int:
        """Number of injected packets that the device did not read in time; they were dropped."""
        return int(getattr(self.port, "dropped", 0))

    def check(self) -> None:
        """Raise DeviceError if the program has ended and no error has told so. The fixture calls it after each test."""
        if self._process is not None and not self._process.end_is_known:
            self._process.check()

    def listen(self, port: int) -> DutListener:
        """Have the application of the device listen on a TCP port: `dut.listen(80).accept()`.

        Raises DeviceError if the device has no control channel.
        """
        self._check_open()
        return DutListener(self._application(), port, self._wait)

    def connect(self, port: int, *, address: str = "") -> DutConnection:
        """Have the application of the device open a TCP connection to the test, without waiting for the handshake.

        "" is the address `peer`. Raises DeviceError if the device has no control channel.
        """
        self._check_open()
        control = self._application()
        return DutConnection(control, control.connect(address or self.peer, port), self._wait)

    def _application(self) -> Control:
        if self._control is None:
            problem, remedy = "has no control channel", "give the program {control}"
            raise DeviceError(self._name, problem, remedy=remedy)
        return self._control

    def _wait(self, attempt: Callable[[], T], wanted: str, timeout: float | None) -> T:
        """Call `attempt` until its result is true. Packets that arrive meanwhile stay unread."""
        deadline = Deadline(self._seconds(timeout), self.port.clock)
        while not (result := attempt()):
            self._inbox.unread()
            if deadline.remaining() <= 0 and not deadline.extend():
                raise ExpectationError(wanted=wanted, elapsed=deadline.elapsed, timeout=deadline.timeout)
            now = self.port.clock.monotonic_ns()
            self.port.wait(min(deadline.instant, now + _CONTROL_INTERVAL) if self._process else deadline.instant)
        return result

    def _fence(self, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        if isinstance(self.port, ObjectPort):  # an object answers during the call of `inject`
            self._inbox.settle(settle)
            return self._inbox.unread_packets()
        if self.port.link_type is not None:
            reason = "a fence is an IP packet, and this device takes Ethernet frames"
            remedy = "give a timeout: `timeout=0.1`"
            raise KernelError(errno.EOPNOTSUPP, f"fence {self._name}", reason=reason, remedy=remedy)
        return self._inbox.fence(self._fences, self.peer, self.address, self._seconds(timeout), settle)

    def _check_open(self) -> None:
        if self.closed:
            reason, remedy = "this device under test is closed", "use the device in the test whose fixture created it"
            raise KernelError(errno.EBADF, f"use {self._name}", reason=reason, remedy=remedy)

    def close(self) -> None:
        """End the device, and everything that it has started. May be repeated."""
        self.port.close()
        self._resources.close()

    def __repr__(self) -> str:
        return f"<Dut {self.target}{' closed' if self.closed else ''}>"
