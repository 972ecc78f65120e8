"""A port on one end of a pair of SOCK_SEQPACKET sockets, whose other end a program has in place of a TUN's descriptor.

The pair keeps the boundaries of packets, as a TUN does, and needs no privileges. It differs from a TUN in this: when
the program closes its end, the rest can be read before the end of file; TUN ioctls fail; about 280 small packets fill
it. This end never waits for room: it drops a packet that does not fit, and counts it, as a TUN does.

Source: unix(7) for SOCK_SEQPACKET; socket(7) for SO_TIMESTAMPNS.
"""

from __future__ import annotations

import errno
import select
import socket

from tunlab.errors import DeviceError
from tunlab.kernel.device.packet_socket import SO_TIMESTAMPNS, receive_time
from tunlab.traffic.deadlines import MACHINE_CLOCK
from tunlab.traffic.ports.life import READ_LIMIT, Life, wait_for_packet
from tunlab.traffic.ports.port import TimedBytes

_MAX_SIZE = 65536 + 64
_BUFFER = 4 * 1024 * 1024  # send buffer in bytes; the kernel counts a small packet as about 800 bytes


class PairPort:
    """A port on our end of a socket pair.

    Attributes:
        dropped: Number of packets that the program did not read in time.
    """

    clock = MACHINE_CLOCK
    netns = None

    def __init__(self, opened: socket.socket, name: str, life: Life, link_type: int | None = None) -> None:
        """Use our end of the pair. `life` tells if the program at the other end has ended."""
        self.name, self.link_type, self.dropped = name, link_type, 0
        self._socket, self._life, self._has_ended = opened, life, False
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)
        self._poll.register(life, select.POLLIN)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._socket.fileno() < 0

    def write(self, data: bytes) -> None:
        """Send a packet to the program. Raises DeviceError if the program has ended or closed its descriptor."""
        self._life.check()
        if not data:
            return  # the program would take an empty message for the end of file
        try:
            self._socket.send(data)
        except BlockingIOError:
            self.dropped += 1
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise
            self._life.wait_for_end(1.0)  # a program that exits closes its descriptor before the exit is visible
            problem, remedy = "has closed its descriptor", "let the program read packets until the test ends"
            raise DeviceError(self.name, problem, remedy=remedy, output=self._life.last_lines()) from None

    def read(self) -> list[TimedBytes]:
        """Return the packets that have arrived, at most READ_LIMIT."""
        packets: list[TimedBytes] = []
        while len(packets) < READ_LIMIT and not self._has_ended:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_MAX_SIZE, 128)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data, ancillary = b"", []
            if data:
                packets.append(TimedBytes(receive_time(ancillary) or self.clock.time_ns(), data))
            elif self._hung_up():  # otherwise the program sent an empty message, which is ignored
                self._has_ended = True
                self._poll.unregister(self._socket)
        return packets

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def wait(self, deadline: int) -> bool:
        """Wait for a packet until a monotonic instant. Raises DeviceError if the program ends."""
        return wait_for_packet(self._poll, self._life, deadline)

    def close(self) -> None:
        """Close our end; the program reads the end of file."""
        self._socket.close()
