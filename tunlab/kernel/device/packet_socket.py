"""Packet sockets: send arbitrary bytes on an interface, and receive its packets in both directions.

Source: packet(7), <linux/if_packet.h>, socket(7) for SO_TIMESTAMPNS.
The socket is opened with protocol 0 and then bound, because a socket opened with a protocol receives from every
interface of the namespace until it is bound.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from tunlab.errors import KernelError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace import guardian
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import kernel_error, translate_os_errors

# from <linux/if_ether.h>
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD

# from <linux/if_packet.h>
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_OUTGOING = 4
_TP_STATUS_CSUMNOTREADY, _TP_STATUS_VLAN_VALID, _TP_STATUS_VLAN_TPID_VALID = 0x08, 0x10, 0x40
# struct tpacket_auxdata: status, length, captured length, MAC offset, network offset, VLAN tag, VLAN EtherType
_AUXDATA = struct.Struct("=IIIHHHH")
_ETH_P_8021Q = 0x8100

# From <asm-generic/socket.h>. The numbers differ on alpha, mips, parisc and sparc, which tunlab does not support.
_SO_RCVBUFFORCE, SO_TIMESTAMPNS, _SO_MARK = 33, 35, 36
_TIMESPEC = struct.Struct("@ll")

# The maximum size of a read is larger than any packet with its headers, including BIG TCP segments of 192 KiB.
MAX_RECEIVE_SIZE = 256 * 1024
# The size of the receive buffer in bytes, which includes the kernel's overhead of about 1 KiB per packet.
_RECEIVE_BUFFER = 16 * 1024 * 1024


class ReceivedPacket(msgspec.Struct, frozen=True, kw_only=True):
    """A packet received from a packet socket.

    Attributes:
        data: The bytes from the link header; from the IP header on a TUN or without link headers.
        time: The kernel's time stamp in nanoseconds since the epoch.
        outgoing: True if the kernel sent the packet out of the interface (on a TUN, to the reader).
        packet_type: PACKET_HOST 0, _BROADCAST 1, _MULTICAST 2, _OTHERHOST 3, _OUTGOING 4.
        protocol: The kernel's EtherType for it, 0x0800 for IPv4, in host byte order.
        hardware_type: ARPHRD_*; a TUN has ARPHRD_NONE, and its packets start with the IP header.
        checksum_ready: False if checksum offloading left the transport checksum incomplete.
    """

    data: bytes
    time: int
    outgoing: bool
    packet_type: int
    protocol: int
    hardware_type: int
    checksum_ready: bool


class PacketSocket(Closeable):
    """An AF_PACKET socket bound to one interface; for one thread at a time.

    It receives every packet on the interface since it was opened, except those that it sent itself.
    """

    __slots__ = ("_buffer", "_dropped", "_poll", "_socket", "ifname", "netns")

    ifname: str
    netns: Netns

    def __init__(
        self, netns: Netns, ifname: str, *, link_header: bool = True, receive: bool = True, mark: int = 0
    ) -> None:
        """Open a packet socket on an interface.

        Args:
            netns: The namespace.
            ifname: The interface.
            link_header: Include link headers (SOCK_RAW), as the Ethernet header of a TAP or veth. With False
                (SOCK_DGRAM) the kernel removes and adds them. A TUN has no link header in either case.
            receive: Receive packets; False for a socket that only sends.
            mark: Mark of the packets that it sends, for firewall rules (SO_MARK).

        Raises:
            PrivilegeError: CAP_NET_RAW is missing.
            KernelError: The interface does not exist (ENODEV).
        """
        self.netns, self.ifname = netns, ifname
        self._dropped = 0
        self._buffer = bytearray(MAX_RECEIVE_SIZE) if receive else bytearray()
        opened = netns.socket(socket.AF_PACKET, socket.SOCK_RAW if link_header else socket.SOCK_DGRAM, 0)
        try:
            absent = {errno.ENODEV: (f"the namespace has no interface {ifname!r}", "check the name, or create it")}
            with translate_os_errors(
                f"bind a packet socket to {ifname}", reasons=absent, netns=str(netns), ifname=ifname
            ):
                opened.setblocking(False)
                enable_timestamps(opened)
                if mark:
                    opened.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
                if receive:
                    enlarge_receive_buffer(opened)
                opened.bind((ifname, ETH_P_ALL if receive else 0))
                # Binding to an interface that is down leaves ENETDOWN pending for the next call. Reading SO_ERROR
                # clears it.
                opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BaseException:
            opened.close()
            raise
        self._socket = opened
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._socket.close()

    def close_later(self) -> None:
        """Have the guardian process close the socket, because the kernel takes 10 ms or more. May be called again."""
        if not self.closed:
            guardian.close_in_guardian(self._socket.detach())

    @property
    def closed(self) -> bool:
        """True if closed."""
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        """Return the non-blocking descriptor; -1 if closed."""
        return self._socket.fileno()

    def __repr__(self) -> str:
        return f"<PacketSocket on {self.ifname} of {self.netns}{' closed' if self.closed else ''}>"

    def send(self, data: bytes | bytearray | memoryview, protocol: int | None = None) -> None:
        """Send bytes out of the interface unchanged, even if they are malformed. On a TUN its reader receives them.

        Args:
            data: The packet, with its link header if the socket has link headers.
            protocol: The EtherType for the kernel; by default 0x86DD if the first nibble is 6, else 0x0800.

        Raises:
            KernelError: ENETDOWN if the link is down, EMSGSIZE above the MTU, EINVAL for no bytes, or for fewer than
                the link header.
        """
        if protocol is None:
            protocol = ETH_P_IPV6 if len(data) and data[0] >> 4 == 6 else ETH_P_IP
        if not len(data):
            reason, remedy = "there are 0 bytes to send", "send at least one byte"
            raise KernelError(errno.EINVAL, f"send on {self.ifname}", reason=reason, remedy=remedy)
        address = self.ifname, protocol
        try:
            try:
                self._socket.sendto(data, address)
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                # The error of the first send meant that the link had gone down earlier, so send again.
                self._socket.sendto(data, address)
        except OSError as error:
            raise self._error(error, "send on") from None

    def recv(self) -> ReceivedPacket | None:
        """Return the next packet; None if none is waiting. Raises KernelError (ENETDOWN) once if the link went down."""
        buffer = self._buffer
        try:
            size, ancillary, _, address = self._socket.recvmsg_into([buffer], 128)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._error(error, "receive on") from None
        raw = self._socket.type == socket.SOCK_RAW
        return parse_received(bytes(memoryview(buffer)[:size]), ancillary, address, link_header=raw)

    def recv_all(self, limit: int | None = None) -> list[ReceivedPacket]:
        """Return the waiting packets in order, at most `limit`."""
        packets: list[ReceivedPacket] = []
        while (limit is None or len(packets) < limit) and (packet := self.recv()) is not None:
            packets.append(packet)
        return packets

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a packet; return False if none came within `timeout` seconds. None waits without limit.

        The result is also True if an error is pending, which `recv` then raises.
        """
        if self.closed:
            raise ValueError("the packet socket is closed. Use it inside its with block.")
        return bool(self._poll.poll(None if timeout is None else timeout * 1000))

    @property
    def dropped(self) -> int:
        """The number of packets lost because this socket's buffer was full (PACKET_STATISTICS)."""
        self._dropped += read_drops(self._socket)
        return self._dropped

    def _error(self, error: OSError, verb: str) -> KernelError:
        reasons = {
            errno.ENETDOWN: ("the link is down", "set it up first"),
            errno.ENXIO: ("the interface was deleted", "open a socket on an existing interface"),
            errno.ENODEV: ("the interface was deleted", "open a socket on an existing interface"),
            errno.EMSGSIZE: ("the packet is longer than the interface's MTU", "send fewer bytes, or raise the MTU"),
            errno.EINVAL: ("the packet is shorter than the interface's link header", "include the link header"),
        }
        return kernel_error(error, f"{verb} {self.ifname}", reasons=reasons, netns=str(self.netns), ifname=self.ifname)


def enable_timestamps(opened: socket.socket) -> None:
    """Enable time stamps and checksum status (PACKET_AUXDATA) on a packet socket."""
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)


def enlarge_receive_buffer(opened: socket.socket) -> None:
    """Enlarge a packet socket's receive buffer, as far as the user namespace allows."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:  # In a user namespace, the host's net.core.rmem_max limits the buffer.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def read_drops(opened: socket.socket) -> int:
    """Return the number of packets lost to a full buffer since the last call."""
    answer = opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    return int.from_bytes(answer[4:8], sys.byteorder)  # Reading PACKET_STATISTICS resets the counter.


def receive_time(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """Return the time stamp of a packet (SO_TIMESTAMPNS), in nanoseconds since the epoch; 0 if it has none."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


def parse_received(
    data: bytes, ancillary: Iterable[tuple[int, int, bytes]], address: tuple[Any, ...], *, link_header: bool
) -> ReceivedPacket:
    """Decode the results of recvmsg(2); `address` is the sockaddr_ll."""
    status = 0
    for level, kind, value in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, *_, tag, tag_type = _AUXDATA.unpack(value)
            if status & _TP_STATUS_VLAN_VALID and link_header:
                # The kernel removes a VLAN tag (IEEE 802.1Q section 9) from the frame. Insert it again.
                known = tag_type if status & _TP_STATUS_VLAN_TPID_VALID else _ETH_P_8021Q
                data = data[:12] + struct.pack(">HH", known, tag) + data[12:]
    _, protocol, packet_type, hardware_type, *_ = address
    return ReceivedPacket(
        data=data,
        time=receive_time(ancillary),
        outgoing=packet_type == _PACKET_OUTGOING,
        packet_type=packet_type,
        protocol=protocol,
        hardware_type=hardware_type,
        checksum_ready=not status & _TP_STATUS_CSUMNOTREADY,
    )
