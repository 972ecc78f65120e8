"""TUN and TAP devices: /dev/net/tun opened inside a namespace, datagrams read and written, one each call.

Source: Documentation/networking/tuntap.rst; drivers/net/tun.c for which call fails how.
Rule for editors: a device belongs to the namespace in which /dev/net/tun was *opened*, whatever comes later.
"""

from __future__ import annotations

import errno
import fcntl
import io
import select
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal, Self

from tunlab.errors import KernelError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.tun_ioctl import (
    IFF_TAP,
    IFF_TUN,
    IFF_TUN_EXCL,
    IFF_VNET_HDR,
    TUNSETCARRIER,
    TUNSETGROUP,
    TUNSETOFFLOAD,
    TUNSETOWNER,
    TUNSETPERSIST,
    attach_interface,
    interface_flags,
    interface_index,
    open_tun_node,
)
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.models import Address, Link
from tunlab.kernel.network.neighbours import reserve_neighbour
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import kernel_error, translate_os_errors
from tunlab.kernel.validation import check_ifname, check_mtu

Buffer = bytes | bytearray | memoryview
Mode = Literal["tun", "tap"]

# The largest datagram (65,535) with a virtio header (10), packet information (4), an Ethernet header (14) and a VLAN
# tag (4) before it: a shorter read would cut it silently. Also the largest super-segment.
MAX_READ_SIZE = 65535 + 10 + 4 + 14 + 4


class TunDevice(Closeable):
    """A TUN or TAP device, or one queue of it: a descriptor and what is known of it."""

    __slots__ = ("_buffer", "_file", "_flags", "_poll", "_read", "_rtnl", "ifindex", "ifname", "netns")

    ifname: str
    """The kernel's name for it, "tun0" where "tun%d" was asked for; not followed through a renaming."""
    ifindex: int
    """Its index in the namespace."""
    netns: Netns
    """Where it was made. The device does not keep it open."""

    def __init__(self, netns: Netns, file: io.FileIO, rtnl: Rtnl, ifname: str, ifindex: int, flags: int) -> None:
        """For the constructors below."""
        self.netns, self.ifname, self.ifindex = netns, ifname, ifindex
        self._file, self._rtnl, self._flags = file, rtnl, flags
        self._read = file.read
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)
        self._buffer: bytearray | None = None

    # ---- made and attached -----------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        netns: Netns,
        ifname: str = "tun0",
        *,
        mode: Mode = "tun",
        packet_information: bool = False,
        multi_queue: bool = False,
        persist: bool = True,
        owner: int | None = None,
        group: int | None = None,
        vnet_hdr: bool = False,
        exclusive: bool = False,
    ) -> Self:
        """Create a device in `netns`. It is down and has no address: call `configure`.

        Args:
            ifname: Up to 15 bytes; "tun%d" lets the kernel choose the number.
            mode: "tun" for IP packets, "tap" for Ethernet frames.
            packet_information: Put four bytes, flags and protocol, before each packet (IFF_NO_PI not set).
            multi_queue: Allow several descriptors; `add_queue` opens the others.
            persist: Keep the device until its namespace is gone; closing one that does not persist takes 20 ms.
            owner, group: UID of a user and GID of a group that may attach without CAP_NET_ADMIN.
            vnet_hdr: Put a virtio_net_hdr of 10 bytes before each packet, for offloads.
            exclusive: Fail with EBUSY if the name exists; otherwise attach to a persistent device of that name.

        Raises:
            PrivilegeError: CAP_NET_ADMIN or /dev/net/tun is missing.
            KernelError: The kernel refuses the device.
        """
        operation = f"create the {mode.upper()} {ifname}"
        flags = interface_flags(mode, packet_information, multi_queue, vnet_hdr)
        device = cls._attach(netns, ifname, flags | (IFF_TUN_EXCL if exclusive else 0), operation)
        try:
            if persist:
                device.set_persist(True)
            if owner is not None:
                device.set_owner(owner)
            if group is not None:
                device.set_group(group)
        except BaseException:
            device.close()
            raise
        return device

    @classmethod
    def attach(
        cls,
        netns: Netns,
        ifname: str,
        *,
        mode: Mode = "tun",
        packet_information: bool = False,
        multi_queue: bool = False,
        vnet_hdr: bool = False,
    ) -> Self:
        """Attach to a device that is there, persistent or with queues.

        Raises KernelError: ENODEV if there is none, EBUSY if somebody else is attached, EINVAL if it was made
        otherwise (TAP, multi-queue). PrivilegeError without CAP_NET_ADMIN, except for its owner and group.
        """
        operation = f"attach to the {mode.upper()} {ifname}"
        flags = interface_flags(mode, packet_information, multi_queue, vnet_hdr)
        return cls._attach(netns, ifname, flags, operation, must_exist=True)

    @classmethod
    def _attach(cls, netns: Netns, ifname: str, flags: int, operation: str, *, must_exist: bool = False) -> Self:
        check_ifname(ifname, operation)
        reasons = {
            errno.EBUSY: ("another program is attached to it, or it must not be there yet", "close it there first"),
            errno.EINVAL: (
                "there is a device of that name that is none of this kind (TUN or TAP, multi-queue, hardware)",
                "attach with the flags it was made with, or take another name",
            ),
            errno.EEXIST: ("there is a device of that name already", "take another name"),
            errno.ENODEV: (
                "there is no such device in the namespace",
                "it was deleted, or never made: create it, and with persist=True if it shall outlive its descriptor",
            ),
        }

        def inside() -> tuple[io.FileIO, str, int, socket.socket]:
            with ExitStack() as opened:
                rtnetlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
                opened.enter_context(rtnetlink)
                if must_exist:  # TUNSETIFF would make it
                    interface_index(rtnetlink, ifname)
                file = opened.enter_context(open_tun_node())
                name = attach_interface(file, ifname, flags)
                index = interface_index(rtnetlink, name)
                opened.pop_all()
            return file, name, index, rtnetlink

        with translate_os_errors(operation, needs="CAP_NET_ADMIN", reasons=reasons, netns=str(netns), ifname=ifname):
            file, name, index, rtnetlink = netns.call(inside)
        return cls(netns, file, Rtnl(netns, rtnetlink), name, index, flags & ~IFF_TUN_EXCL)

    def add_queue(self) -> Self:
        """Another descriptor of a multi-queue device; datagrams spread over the queues by flow."""
        return self._attach(self.netns, self.ifname, self._flags, f"add a queue to {self.ifname}", must_exist=True)

    def close(self) -> None:
        """Close the descriptor. May be repeated. A device that does not persist ends with it, in 20 ms."""
        self._file.close()
        self._rtnl.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file.closed

    def __repr__(self) -> str:
        return f"<TunDevice {self.ifname} in {self.netns}{' closed' if self.closed else ''}>"

    @property
    def fd(self) -> int:
        """The descriptor, non-blocking, for epoll and for programs of your own. Raises ValueError when closed."""
        return self._file.fileno()

    def fileno(self) -> int:
        """As `fd`."""
        return self._file.fileno()

    # ---- configured ------------------------------------------------------------------------------------------------

    def configure(
        self,
        addresses: Sequence[str] = (),
        *,
        mtu: int | None = None,
        txqueuelen: int | None = 10_000,
        up: bool = True,
    ) -> None:
        """Set `addresses` ("10.1.2.1/24"), MTU and queue length, and bring the device up, in few messages.

        Args:
            mtu: In bytes; None keeps the kernel's 1,500.
            txqueuelen: Packets that wait for a reader before the kernel drops them (`link.tx_dropped`). Its default
                of 500 overflows during one scheduling pause; 10,000 held 200,000 packets per second.

        Raises KernelError (EINVAL for an invalid MTU, before anything is changed).
        """
        if mtu is not None:
            check_mtu(mtu, f"set the MTU of {self.ifname}", ifname=self.ifname)
        for cidr in addresses:
            self._rtnl.add_address(self.ifindex, cidr)
        self._rtnl.set_link(self.ifindex, mtu=mtu, txqueuelen=txqueuelen, up=up)
        if up and not self._flags & IFF_TAP:  # a full table of the machine's would keep what is sent from the reader
            reserve_neighbour(self._rtnl, self.ifindex)

    @property
    def rtnl(self) -> Rtnl:
        """The device's rtnetlink socket, in its namespace: for routes, and for what has no method here."""
        return self._rtnl

    @property
    def link(self) -> Link:
        """The device as the kernel has it now. Raises KernelError (ENODEV) when it was deleted."""
        return self._rtnl.link(self.ifindex)

    @property
    def mtu(self) -> int:
        """The MTU in octets."""
        return self.link.mtu

    @mtu.setter
    def mtu(self, octets: int) -> None:
        mtu = check_mtu(octets, f"set the MTU of {self.ifname}", ifname=self.ifname)
        self._rtnl.set_link(self.ifindex, mtu=mtu)

    @property
    def hardware_address(self) -> str:
        """A TAP's Ethernet address, "02:00:00:00:00:01"; "" for a TUN, which has none."""
        return self.link.hardware_address

    @hardware_address.setter
    def hardware_address(self, address: str) -> None:
        self._rtnl.set_link(self.ifindex, hardware_address=address)

    @property
    def addresses(self) -> list[Address]:
        """The device's addresses."""
        return self._rtnl.addresses(self.ifindex)

    def add_address(self, cidr: str, *, peer: str = "") -> None:
        """Add an address, "10.1.2.1/24" or "fd00::1/64"."""
        self._rtnl.add_address(self.ifindex, cidr, peer=peer)

    def set_address(self, cidr: str) -> None:
        """Make `cidr` the only address of its family: "10.1.2.1/24"."""
        self._rtnl.set_address(self.ifindex, cidr)

    def up(self) -> None:
        """Set the device up."""
        self._rtnl.set_link(self.ifindex, up=True)

    def down(self) -> None:
        """Set the device down: what waits in its queue is lost."""
        self._rtnl.set_link(self.ifindex, up=False)

    def delete(self) -> None:
        """Remove the device from its namespace, as the end of that would; costs 20 ms. May be repeated."""
        try:
            self._rtnl.delete_link(self.ifindex)
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise

    def set_carrier(self, carrier: bool) -> None:
        """Put the cable in, or pull it out: up without a carrier."""
        self._ioctl("set the carrier", TUNSETCARRIER, struct.pack("i", carrier))

    def set_persist(self, persist: bool) -> None:
        """Whether the device stays when its descriptors are closed."""
        self._ioctl("set persistence", TUNSETPERSIST, int(persist))

    def set_owner(self, uid: int) -> None:
        """Let a user attach without CAP_NET_ADMIN; the device node's mode must let him too."""
        self._ioctl("set the owner", TUNSETOWNER, uid)

    def set_group(self, gid: int) -> None:
        """Let a group attach without CAP_NET_ADMIN."""
        self._ioctl("set the group", TUNSETGROUP, gid)

    def set_offload(self, offload: int) -> None:
        """Choose what the kernel may leave to the reader, TUN_F_*: unfinished checksums, super-segments.

        Raises KernelError (EINVAL) without vnet_hdr: the kernel would accept it, and then hand over super-segments
        with nothing before them to say so.
        """
        if offload and not self._flags & IFF_VNET_HDR:
            reason = "without a virtio header nothing would tell a super-segment from a datagram"
            remedy = "create the device with vnet_hdr=True"
            operation = f"set the offload of {self.ifname}"
            raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy, ifname=self.ifname)
        self._ioctl("set the offload", TUNSETOFFLOAD, offload)

    def _ioctl(self, verb: str, request: int, argument: int | bytes) -> None:
        with translate_os_errors(f"{verb} of {self.ifname}", needs="CAP_NET_ADMIN", reasons=_GONE, ifname=self.ifname):
            fcntl.ioctl(self._file, request, argument)

    # ---- datagrams -------------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """The next datagram that the kernel has sent out through the device, whole; None if there is none yet.

        With what was asked for before it: virtio header, packet information, in a TAP the Ethernet header.
        Raises KernelError (EBADFD) when the device is gone.
        """
        try:
            return self._read(MAX_READ_SIZE)
        except OSError as error:
            raise self._error(error, "read from") from None

    def read_all(self, limit: int | None = None) -> list[bytes]:
        """Every datagram that waits, in order; at most `limit` of them."""
        datagrams: list[bytes] = []
        append, read = datagrams.append, self._read
        try:
            if limit is None:
                while (datagram := read(MAX_READ_SIZE)) is not None:
                    append(datagram)
            else:
                for _ in range(limit):
                    if (datagram := read(MAX_READ_SIZE)) is None:
                        break
                    append(datagram)
        except OSError as error:
            raise self._error(error, "read from") from None
        return datagrams

    def discard_all(self) -> tuple[int, int]:
        """Read away every datagram that waits; returns how many they were and their octets."""
        if self._buffer is None:
            self._buffer = bytearray(MAX_READ_SIZE)
        buffer, readinto, datagrams, octets = self._buffer, self._file.readinto, 0, 0
        try:
            while (size := readinto(buffer)) is not None:
                datagrams += 1
                octets += size
        except OSError as error:
            raise self._error(error, "read from") from None
        return datagrams, octets

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a datagram can be read, for `timeout` seconds or for ever; False if none came.

        Raises KernelError (EBADFD) when the device is gone.
        """
        self._file.fileno()  # ValueError when closed: the number may be somebody else's by now
        for _, event in self._poll.poll(None if timeout is None else timeout * 1000):
            if event & select.POLLIN:
                return True
            raise self._error(OSError(errno.EBADFD, ""), "wait for")
        return False

    def write(self, datagram: Buffer) -> None:
        """Hand the kernel one whole datagram, as received on the device.

        Raises KernelError: EIO while the link is down, EINVAL for no octets, and without packet information for a
        first nibble that is neither 4 nor 6.
        """
        try:
            written = self._file.write(datagram)
        except OSError as error:
            raise self._error(error, "write to", len(memoryview(datagram))) from None
        if written is None:
            raise self._error(OSError(errno.EAGAIN, "its send buffer is full"), "write to")

    def _error(self, error: OSError, verb: str, size: int = -1) -> KernelError:
        reasons = dict(_GONE)
        reasons[errno.EIO] = ("the link is down", "set it up first")
        if size == 0:
            reasons[errno.EINVAL] = ("there is nothing to write", "give a whole datagram")
        elif size > 0 and self._flags & IFF_TUN:
            reasons[errno.EINVAL] = _NO_VERSION
        elif size > 0:
            reasons[errno.EINVAL] = ("the kernel takes no less than an Ethernet header", "give a whole frame")
        return kernel_error(error, f"{verb} {self.ifname}", reasons=reasons, netns=str(self.netns), ifname=self.ifname)


_GONE = {errno.EBADFD: ("the device is gone: it was deleted, or its namespace was", "create it anew")}
_NO_VERSION = (
    "the kernel takes from a TUN only what has 4 or 6 in its first nibble, whole headers before it where asked for",
    "to put such octets before the device's reader, send them with a PacketSocket",
)
