"""Packet sockets: octets put on a device exactly as they are, and what passes the device in both directions.

Source: packet(7), <linux/if_packet.h>, socket(7) for SO_TIMESTAMPNS.
Rule for editors: open with protocol 0 and bind afterwards. A socket opened with a protocol receives from every device
of the namespace until it is bound.
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
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import kernel_error, translate_os_errors

# <linux/if_ether.h>
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD

# <linux/if_packet.h>
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_OUTGOING = 4
_TP_STATUS_CSUMNOTREADY, _TP_STATUS_VLAN_VALID, _TP_STATUS_VLAN_TPID_VALID = 0x08, 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")  # status, length, captured length, mac, net, VLAN tag, VLAN's Ethernet type
_ETH_P_8021Q = 0x8100

# <asm-generic/socket.h>; alpha, mips, parisc and sparc have others, and no TUN test bench.
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_TIMESPEC = struct.Struct("@ll")

# Larger than any datagram with its headers, and than a super-segment of BIG TCP up to 192 KiB.
MAX_RECEIVE_SIZE = 256 * 1024
# What waits for a reader, counted with the kernel's own overhead of a kilobyte or so a packet.
_RECEIVE_BUFFER = 16 * 1024 * 1024


class ReceivedPacket(msgspec.Struct, frozen=True, kw_only=True):
    """What passed the device.

    data            from the link header on; on a TUN, and without the link header, from the IP header on
    time            nanoseconds since 1970, taken by the kernel
    outgoing        sent by the kernel out of the device (on a TUN: to its descriptor's reader)
    packet_type     PACKET_HOST 0, _BROADCAST 1, _MULTICAST 2, _OTHERHOST 3, _OUTGOING 4
    protocol        as the kernel has it, 0x0800 for IPv4; in host order
    checksum_ready  False where the transport checksum is left for the device to finish, and must not be judged
    """

    data: bytes
    time: int
    outgoing: bool
    packet_type: int
    protocol: int
    checksum_ready: bool


class PacketSocket(Closeable):
    """An AF_PACKET socket bound to one device; for one thread at a time.

    It sees what passes from its opening on, but for what it sends itself.
    """

    __slots__ = ("_buffer", "_dropped", "_poll", "_socket", "ifname", "netns")

    ifname: str
    netns: Netns

    def __init__(self, netns: Netns, ifname: str, *, link_header: bool = True, receive: bool = True) -> None:
        """Open one on the device `ifname` of `netns`.

        link_header  with the link header as it is (SOCK_RAW): on a TAP or a veth the Ethernet header is in the octets,
                     both ways; a TUN has none (ARPHRD_NONE), and its octets begin with the datagram either way.
                     False (SOCK_DGRAM): the kernel takes an Ethernet header off, and puts one on
        receive      False for a socket that only sends: nothing is copied to it

        Raises PrivilegeError without CAP_NET_RAW, KernelError (ENODEV) if there is no such device.
        """
        self.netns, self.ifname = netns, ifname
        self._dropped = 0
        self._buffer = bytearray(MAX_RECEIVE_SIZE) if receive else bytearray()
        opened = netns.socket(socket.AF_PACKET, socket.SOCK_RAW if link_header else socket.SOCK_DGRAM, 0)
        try:
            absent = {errno.ENODEV: ("there is no such device in the namespace", "")}
            with translate_os_errors(
                f"bind a packet socket to {ifname}", reasons=absent, netns=str(netns), ifname=ifname
            ):
                opened.setblocking(False)
                enable_timestamps(opened)
                if receive:
                    enlarge_receive_buffer(opened)
                opened.bind((ifname, ETH_P_ALL if receive else 0))
                # A link that is down leaves ENETDOWN to be raised by whatever comes next, even when it is up by then.
                opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BaseException:
            opened.close()
            raise
        self._socket = opened
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def close(self) -> None:
        """Close the socket. May be repeated."""
        self._socket.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        """The descriptor, non-blocking; -1 when closed."""
        return self._socket.fileno()

    def __repr__(self) -> str:
        return f"<PacketSocket on {self.ifname} of {self.netns}{' closed' if self.closed else ''}>"

    def send(self, octets: bytes | bytearray | memoryview, protocol: int | None = None) -> None:
        """Send octets out of the device, exactly as they are: malformed, short, of a version there is none.

        On a TUN they arrive at its descriptor's reader. `protocol` is what the kernel files them under, 0x0800; by
        default what their version nibble says, and IPv4 where it says nothing known.

        Raises KernelError: ENETDOWN while the link is down, EMSGSIZE over the MTU, EINVAL for too few octets on a
        device with link headers.
        """
        if protocol is None:
            protocol = ETH_P_IPV6 if len(octets) and octets[0] >> 4 == 6 else ETH_P_IP
        if not len(octets):
            reason, remedy = "that is no octet at all", "send at least one"
            raise KernelError(errno.EINVAL, f"send on {self.ifname}", reason=reason, remedy=remedy)
        address = self.ifname, protocol
        try:
            try:
                self._socket.sendto(octets, address)
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                self._socket.sendto(octets, address)  # the first told of a link that went down, perhaps long ago
        except OSError as error:
            raise self._error(error, "send on") from None

    def recv(self) -> ReceivedPacket | None:
        """The next packet that passed; None if there is none yet. Raises KernelError (ENETDOWN) when the link goes."""
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
        """Every packet that waits, in order; at most `limit` of them."""
        packets: list[ReceivedPacket] = []
        while (limit is None or len(packets) < limit) and (packet := self.recv()) is not None:
            packets.append(packet)
        return packets

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a packet can be received, for `timeout` seconds or for ever; False if none came.

        True as well when an error waits: `recv` raises it.
        """
        if self.closed:
            raise ValueError("the socket is closed")
        return bool(self._poll.poll(None if timeout is None else timeout * 1000))

    @property
    def dropped(self) -> int:
        """How many packets were lost so far because this socket's buffer was full (PACKET_STATISTICS)."""
        self._dropped += read_drops(self._socket)
        return self._dropped

    def _error(self, error: OSError, verb: str) -> KernelError:
        reasons = {
            errno.ENETDOWN: ("the link is down", "set it up first"),
            errno.ENXIO: ("the device is gone", "open a new socket on a device that is there"),
            errno.ENODEV: ("the device is gone", "open a new socket on a device that is there"),
            errno.EMSGSIZE: ("that is longer than the device's MTU allows", "send less, or raise the MTU"),
            errno.EINVAL: ("that is shorter than the device's link header", "send the link header too"),
        }
        return kernel_error(error, f"{verb} {self.ifname}", reasons=reasons, netns=str(self.netns), ifname=self.ifname)


def enable_timestamps(opened: socket.socket) -> None:
    """Have a packet socket tell with each packet when it passed, and what is unfinished about it."""
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)


def enlarge_receive_buffer(opened: socket.socket) -> None:
    """Give a packet socket room for what waits to be read; less of it in a user namespace."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:  # in a user namespace: up to the host's net.core.rmem_max
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def read_drops(opened: socket.socket) -> int:
    """How many packets a socket's full buffer has cost since this was asked last."""
    answer = opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    return int.from_bytes(answer[4:8], sys.byteorder)  # reading sets the kernel's count to 0


def parse_received(
    octets: bytes, ancillary: Iterable[tuple[int, int, bytes]], address: tuple[Any, ...], *, link_header: bool
) -> ReceivedPacket:
    """What recvmsg(2) gave, read; `address` is its sockaddr_ll."""
    time, status = 0, 0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            time = seconds * 1_000_000_000 + nanoseconds
        elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, *_, tag, tag_type = _AUXDATA.unpack(data)
            if status & _TP_STATUS_VLAN_VALID and link_header:
                # The kernel has taken the tag out on the way in (IEEE 802.1Q section 9): put it back.
                known = tag_type if status & _TP_STATUS_VLAN_TPID_VALID else _ETH_P_8021Q
                octets = octets[:12] + struct.pack(">HH", known, tag) + octets[12:]
    _, protocol, packet_type, *_ = address
    return ReceivedPacket(
        data=octets,
        time=time,
        outgoing=packet_type == _PACKET_OUTGOING,
        packet_type=packet_type,
        protocol=protocol,
        checksum_ready=not status & _TP_STATUS_CSUMNOTREADY,
    )
