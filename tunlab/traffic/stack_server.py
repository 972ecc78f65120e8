"""A thread that runs a stack behind a TUN: it passes packets between the kernel and the stack."""

from __future__ import annotations

import os
import select
import threading
import time
from types import TracebackType

from tunlab.errors import DeviceError
from tunlab.kernel.device.tun import TunDevice
from tunlab.traffic.inbox import Inbox
from tunlab.traffic.ports.object_port import Stack

_STOP_TIMEOUT = 5.0  # seconds that a call of the stack may take when the block ends


class StackServer:
    """A context manager: while its block runs, a thread passes packets between a device and a stack, in real time.

    An exception of the stack is raised at the end of the block.
    """

    def __init__(self, device: TunDevice, inbox: Inbox, stack: Stack) -> None:
        self._device, self._inbox, self._stack = device, inbox, stack
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tunlab-stack", daemon=True)
        self._stop = -1

    def __enter__(self) -> None:
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._inbox.reader = self._thread
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._device.fd, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        try:
            while True:
                for data in self._stack.poll(time.monotonic_ns()):
                    self._inbox.inject(data, "sent by the stack")
                deadline = self._stack.next_deadline()
                wait = None if deadline is None else max(0, deadline - time.monotonic_ns()) / 1e6
                if any(descriptor == self._stop for descriptor, _ in poll.poll(wait)):
                    return
                for data in self._inbox.take("received by the stack"):
                    self._stack.receive(data, time.monotonic_ns())
        except BaseException as error:
            self._error = error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join(_STOP_TIMEOUT)
        os.close(self._stop)  # a thread that hangs now ends when it polls, because the descriptor is not valid
        if self._thread.is_alive():
            problem = f"hangs: a call of it has not returned for {_STOP_TIMEOUT:g} s"
            raise DeviceError(type(self._stack).__name__, problem, remedy="see where, with py-spy or faulthandler")
        self._inbox.reader = None
        if self._error is not None:
            raise self._error from error
