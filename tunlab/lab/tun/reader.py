"""Reader: the packets of a lab's TUN, read from the device or, if another program is attached to it, captured.

Source: Documentation/networking/tuntap.rst, packet(7).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from tunlab.errors import KernelError, LabError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import TunDevice
from tunlab.lab.attachment import attach
from tunlab.lab.persistent.lab import PersistentLab
from tunlab.lab.tun.inject_server import InjectServer
from tunlab.traffic import TraceEntry

_BATCH_SIZE = 64


class Reader(Closeable):
    """A reader of the packets that cross a persistent lab's TUN.

    If no program is attached to the TUN, the reader attaches to it, and writes the packets of `inject` to it. Otherwise
    it captures the packets between that program and the kernel.
    """

    def __init__(self, lab: PersistentLab, node: str = "", ifname: str = "") -> None:
        """Start to read a TUN, by default the first of the only node that has one.

        Raises:
            LabError: if the lab is not up.
            PrivilegeError, KernelError: if the kernel refuses.
        """
        self._lab, self.ifname, self._closed = lab, ifname or lab.ifname(node), False
        with ExitStack() as undo:
            netns = undo.enter_context(lab.netns(node))
            self._device = attach(netns, self.ifname)
            self._server: InjectServer | None = None
            self._socket: PacketSocket | None = None
            if self._device is not None:
                undo.callback(self._device.close)
                self._server = InjectServer(lab.node_directory(lab.node_name(node)), self.ifname)
                undo.callback(self._server.close)
            else:
                self._socket = undo.enter_context(PacketSocket(netns, self.ifname))
            self._resources = undo.pop_all()

    @property
    def attached(self) -> bool:
        """True if this reader, and so no other program, is attached to the TUN."""
        return self._device is not None

    def filenos(self) -> list[int]:
        """Return the descriptors for poll(2): call `take` when one is readable."""
        sources = (self._device, self._server, self._socket)
        return [source.fileno() for source in sources if source is not None]

    def take(self) -> list[TraceEntry]:
        """Return up to 64 new packets without waiting. Raises LabError if the TUN no longer exists."""
        try:
            return list(self._take())
        except KernelError as error:
            if error.errno in (errno.EBADFD, errno.ENODEV, errno.ENXIO, errno.ENETDOWN):
                raise self.gone_error() from error
            raise

    def gone_error(self) -> LabError:
        """Return the error for a TUN that no longer exists."""
        problem = f"{self.ifname} in lab {self._lab.name!r} was deleted or is down"
        return LabError(self._lab.name, problem, remedy="`tunlab ls` lists the running labs")

    def _take(self) -> Iterable[TraceEntry]:
        if self._device is not None:
            # Yield the packets sent so far, then each injected packet followed by its replies.
            yield from self._read(self._device)
            if self._server is not None:
                for data in self._server.serve(self._device.write):
                    yield TraceEntry("in", time.time_ns(), data)
                    yield from self._read(self._device)
        if self._socket is not None:
            for captured in self._socket.recv_all(_BATCH_SIZE):
                yield TraceEntry("out" if captured.outgoing else "in", captured.time, captured.data)

    def _read(self, device: TunDevice) -> Iterator[TraceEntry]:
        return (TraceEntry("out", time.time_ns(), data) for data in device.read_all(_BATCH_SIZE))

    def close(self) -> None:
        """Detach from the TUN. May be repeated."""
        self._closed = True
        self._resources.close()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed
