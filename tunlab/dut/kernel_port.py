"""The port to the kernel as a device under test, with the simple services, which the kernel does not have itself.

No thread runs the services: they are served whenever the test reads or waits.

Source: RFC 862 (echo), RFC 863 (discard), RFC 864 (character generator).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from tunlab.dut.settings import Services
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.tun import TunDevice
from tunlab.traffic.ports.port import TimedBytes
from tunlab.traffic.ports.tun_port import TunPort
from tunlab.traffic.sockets import SocketFactory

_SIZE = 65536
_LINE = bytes(range(32, 104)) + b"\r\n"


class KernelServices(Closeable):
    """Echo, discard and character generator over TCP and UDP, in a namespace."""

    def __init__(self, sockets: SocketFactory, services: Services) -> None:
        """Open the sockets. Raises KernelError if a port is not free."""
        self._resources = ExitStack()
        self._epoll = self._resources.enter_context(select.epoll())
        self._handlers: dict[int, Callable[[int], None]] = {}
        for port, reply in ((services.echo, bytes), (services.discard, _nothing), (services.chargen, _line)):
            listener = self._resources.enter_context(sockets.listen(port, "", 128))
            receiver = self._resources.enter_context(sockets.bind(port, ""))
            self._register(listener, partial(self._accept, listener, reply))
            self._register(receiver, partial(_answer, receiver, reply))

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to serve."""
        return self._epoll.fileno()

    def serve(self) -> None:
        """Serve what has arrived, without waiting."""
        while events := self._epoll.poll(0):
            for descriptor, event in events:
                self._handlers[descriptor](event)

    def _register(self, opened: socket.socket, handler: Callable[[int], None]) -> None:
        opened.setblocking(False)
        self._handlers[opened.fileno()] = handler
        self._epoll.register(opened, select.EPOLLIN)

    def _accept(self, listener: socket.socket, reply: Callable[[bytes], bytes], _: int) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:  # the peer has reset the connection
            return
        self._resources.callback(accepted.close)
        pending = bytearray()

        def handle(event: int) -> None:
            try:
                has_ended = False
                if event & ~select.EPOLLOUT:
                    data = accepted.recv(_SIZE)
                    has_ended = not data
                    pending.extend(reply(data))
                if event & select.EPOLLOUT and reply is _line:
                    pending.extend(_LINE * 16)
                if pending:
                    del pending[: accepted.send(pending)]
            except BlockingIOError:
                pass
            except OSError:
                has_ended = True
            if has_ended:
                self._handlers.pop(accepted.fileno())
                accepted.close()
            else:
                writes = select.EPOLLOUT if pending or reply is _line else 0
                self._epoll.modify(accepted, (0 if len(pending) > _SIZE else select.EPOLLIN) | writes)

        self._register(accepted, handle)
        if reply is _line:
            self._epoll.modify(accepted, select.EPOLLIN | select.EPOLLOUT)

    def close(self) -> None:
        """Close all sockets. May be called again."""
        self._resources.close()


def _nothing(_: bytes) -> bytes:
    return b""


def _line(_: bytes) -> bytes:
    return _LINE


def _answer(receiver: socket.socket, reply: Callable[[bytes], bytes], _: int) -> None:
    try:
        data, sender = receiver.recvfrom(_SIZE)
        if answer := reply(data):
            receiver.sendto(answer, sender)
    except OSError:  # the answer is refused, for example because there is no route to the sender
        return


class KernelPort(TunPort):
    """A port on a TUN or TAP whose other side is the kernel with services."""

    def __init__(self, device: TunDevice, services: KernelServices, *, link_type: int | None = None) -> None:
        super().__init__(device, link_type=link_type)
        self._services = services
        self._poll = select.poll()
        self._poll.register(device.fd, select.POLLIN)
        self._poll.register(services, select.POLLIN)

    def read(self) -> list[TimedBytes]:
        """Serve what has arrived, and return the packets in the kernel's queue."""
        self._services.serve()
        return super().read()

    def wait(self, deadline: int) -> bool:
        """Serve and wait for a packet until a monotonic instant."""
        while True:
            self._services.serve()
            remaining = max(0, deadline - self.clock.monotonic_ns()) / 1e6
            ready = [descriptor for descriptor, _ in self._poll.poll(remaining)]
            if not ready or ready != [self._services.fileno()]:
                return bool(ready)

    def close(self) -> None:
        """Close the services and the device's descriptor."""
        self._services.close()
        super().close()
