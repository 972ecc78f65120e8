"""Dut: a device under test. The test is the other end of its link, and sees every packet that it sends."""

from __future__ import annotations

import errno
from contextlib import ExitStack

from tunlab.dut.process import DeviceProcess
from tunlab.dut.settings import DutSettings
from tunlab.errors import KernelError
from tunlab.packet import Packet
from tunlab.traffic.endpoint import Endpoint
from tunlab.traffic.fence import Fence
from tunlab.traffic.ports.object_port import ObjectPort
from tunlab.traffic.ports.port import Port


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

    def __init__(self, kind: str, target: str, settings: DutSettings, port: Port) -> None:
        """Use a running device; `open_dut` starts one. The arguments are as in the attributes."""
        super().__init__(port, settings.timeout)
        self.kind, self.target, self.settings, self.services = kind, target, settings, settings.services
        self._interfaces, self._name = settings.addresses, target
        self._fences = Fence(target, port.write)
        self._resources = ExitStack()

    def _attach(self, process: DeviceProcess) -> None:
        """Let the device end with its program, and the program with the device."""
        self._process = process
        self._resources.callback(process.close)

    @property
    def output(self) -> str:
        """Output of the program so far, stdout and stderr together; "" for kernel and objects."""
        return "" if self._process is None else self._process.output

    @property
    def dropped(self) -> int:
        """Number of injected packets that the device did not read in time; they were dropped."""
        return int(getattr(self.port, "dropped", 0))

    def check(self) -> None:
        """Raise DeviceError if the program has ended. The fixture calls it at the end of each test."""
        if self._process is not None and not self.closed:
            self._process.check()

    def _fence(self, settle: float = 0.0, timeout: float | None = None) -> list[Packet]:
        if isinstance(self.port, ObjectPort):  # an object answers during the call of `inject`
            self._inbox.settle(settle)
            return self._inbox.unread_packets()
        return self._inbox.fence(self._fences, self.peer, self.address, self._seconds(timeout), settle)

    def _check_open(self) -> None:
        if self.closed:
            reason, remedy = "this device under test is closed", "use it in the test whose fixture made it"
            raise KernelError(errno.EBADF, f"use {self._name}", reason=reason, remedy=remedy)

    def close(self) -> None:
        """End the device, and everything that it has started. May be repeated."""
        self.port.close()
        self._resources.close()

    def __repr__(self) -> str:
        return f"<Dut {self.target}{' closed' if self.closed else ''}>"
