"""Reading a lab's TUN: attached to it as its other end, or beside whoever is.

Source: Documentation/networking/tuntap.rst, packet(7).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Literal

from tunlab.errors import KernelError, LabError, PacketError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import TunDevice
from tunlab.lab.attachment import attach
from tunlab.lab.lab import Lab
from tunlab.lab.tun.inject_server import InjectServer
from tunlab.packet import parse
from tunlab.traffic import TraceEntry

__all__ = ["Reader", "attach"]

_AT_ONCE = 64


class Reader(Closeable):
    """What crosses a lab's TUN.

    attached   True: we are the TUN's other end, and write what comes in by the door; what we read, nobody else does.
               False: somebody else is, and we see what passes between that program and the kernel
    """

    def __init__(self, lab: Lab, node: str = "", ifname: str = "") -> None:
        """Begin to read a TUN: of the node, by default the lab's only one with a TUN; by default its first.

        Raises LabError if the lab is not up, KernelError, PrivilegeError.
        """
        self._lab, self.ifname, self._closed = lab, ifname or lab.ifname_of(node), False
        with ExitStack() as undo:
            netns = undo.enter_context(lab.netns(node))
            self._device = attach(netns, self.ifname)
            self._door: InjectServer | None = None
            self._socket: PacketSocket | None = None
            if self._device is not None:
                undo.callback(self._device.close)
                self._door = InjectServer(lab.directory_of(lab.node_name(node)), self.ifname)
                undo.callback(self._door.close)
            else:
                self._socket = undo.enter_context(PacketSocket(netns, self.ifname))
            self._resources = undo.pop_all()

    @property
    def attached(self) -> bool:
        """Whether we are the TUN's other end."""
        return self._device is not None

    def filenos(self) -> list[int]:
        """For poll(2): when one can be read, `take`."""
        sources = (self._device, self._door, self._socket)
        return [source.fileno() for source in sources if source is not None]

    def take(self) -> list[TraceEntry]:
        """What has crossed since and was not taken yet, some tens at most. Raises LabError when the device is gone."""
        try:
            return list(self._take())
        except KernelError as error:
            if error.errno in (errno.EBADFD, errno.ENODEV, errno.ENXIO, errno.ENETDOWN):
                raise self.gone() from error
            raise

    def gone(self) -> LabError:
        """The error when there is nothing to be read any more."""
        problem = f"{self.ifname} in lab {self._lab.name!r} is gone, or down"
        return LabError(self._lab.name, problem, remedy="tunlab ls shows what is up")

    def _take(self) -> Iterable[TraceEntry]:
        if self._device is not None:
            # In the order of cause and effect: what waited, what is injected now, what the kernel sends on that.
            yield from self._read(self._device)
            if self._door is not None:
                for octets in self._door.answer(self._device.write):
                    yield _trace_entry("in", octets, time.time_ns())
                    yield from self._read(self._device)
        if self._socket is not None:
            for captured in self._socket.recv_all(_AT_ONCE):
                yield _trace_entry("out" if captured.outgoing else "in", captured.data, captured.time)

    def _read(self, device: TunDevice) -> Iterator[TraceEntry]:
        return (_trace_entry("out", octets, time.time_ns()) for octets in device.read_all(_AT_ONCE))

    def close(self) -> None:
        """Let go of the device. May be repeated."""
        self._closed = True
        self._resources.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed


def _trace_entry(direction: Literal["in", "out"], octets: bytes, time_ns: int) -> TraceEntry:
    try:
        packet = parse(octets)
    except PacketError:
        packet = None
    return TraceEntry(direction, time_ns, octets, packet)
