"""TUN and TAP devices: creation in a namespace, configuration, and reading and writing one packet per call.

Source: Documentation/networking/tuntap.rst; drivers/net/tun.c for the errors.
A device belongs to the namespace in which /dev/net/tun was *opened*.
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
    DELETED,
    IFF_TAP,
    IFF_TUN_EXCL,
    IFF_VNET_HDR,
    TUNSETCARRIER,
    TUNSETGROUP,
    TUNSETOFFLOAD,
    TUNSETOWNER,
    TUNSETPERSIST,
    attach_errors,
    attach_interface,
    group_id,
    interface_flags,
    interface_index,
    open_tun_node,
    packet_errors,
    user_id,
)
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.address_events import wait_for_addresses
from tunlab.kernel.network.models import Address, Link
from tunlab.kernel.network.neighbours import reserve_neighbour
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import kernel_error, translate_os_errors
from tunlab.kernel.validation import check_ifname, check_mtu

Buffer = bytes | bytearray | memoryview
Mode = Literal["tun", "tap"]

# The maximum read: a datagram of 65,535 bytes with virtio header (10), packet information (4), Ethernet header (14) and
# VLAN tag (4). A shorter read would truncate silently. Segments of segmentation offloading are not larger.
MAX_READ_SIZE = 65535 + 10 + 4 + 14 + 4


class TunDevice(Closeable):
    """A TUN or TAP device in a network namespace, or one queue of it."""

    __slots__ = ("_buffer", "_file", "_flags", "_poll", "_read", "_rtnl", "ifindex", "ifname", "netns")

    ifname: str
    """The name given by the kernel, "tun0" for "tun%d". It is not updated if the device is renamed."""
    ifindex: int
    """Its index in the namespace."""
    netns: Netns
    """Its namespace, which the device does not keep open."""

    def __init__(self, netns: Netns, file: io.FileIO, rtnl: Rtnl, ifname: str, ifindex: int, flags: int) -> None:
        """Wrap an attached descriptor; use `create` or `attach` instead."""
        self.netns, self.ifname, self.ifindex = netns, ifname, ifindex
        self._file, self._rtnl, self._flags = file, rtnl, flags
        self._read = file.read
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)
        self._buffer: bytearray | None = None

    # ---- creating and attaching to a device -------------------------------------------------------------------------

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
        owner: int | str | None = None,
        group: int | str | None = None,
        vnet_hdr: bool = False,
        exclusive: bool = False,
    ) -> Self:
        """Create a device in `netns`. It is down and has no address: call `configure`.

        Args:
            netns: The namespace.
            ifname: Up to 15 bytes; "tun%d" lets the kernel choose the number.
            mode: "tun" for IP packets, "tap" for Ethernet frames.
            packet_information: Put four bytes, flags and protocol, before each packet (IFF_NO_PI not set).
            multi_queue: Allow several descriptors; `add_queue` opens the others.
            persist: Keep the device until its namespace is gone; closing one that does not persist takes 20 ms.
            owner: Id or name of a user who may attach without CAP_NET_ADMIN.
            group: Id or name of a group that may attach without CAP_NET_ADMIN.
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
            if owner is not None:
                device.set_owner(owner)
            if group is not None:
                device.set_group(group)
            if persist:
                device.set_persist(True)
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
        """Attach to an existing device that persists or has several queues; the arguments are those of `create`.

        Raises:
            KernelError: ENODEV if there is no such device, EBUSY if a program is attached to it, EINVAL if it was
                created with other options.
            PrivilegeError: CAP_NET_ADMIN is missing, and this user is neither its owner nor in its group.
        """
        operation = f"attach to the {mode.upper()} {ifname}"
        flags = interface_flags(mode, packet_information, multi_queue, vnet_hdr)
        return cls._attach(netns, ifname, flags, operation, must_exist=True)

    @classmethod
    def _attach(cls, netns: Netns, ifname: str, flags: int, operation: str, *, must_exist: bool = False) -> Self:
        check_ifname(ifname, operation)

        def open_inside() -> tuple[io.FileIO, str, int, socket.socket]:
            with ExitStack() as opened:
                rtnetlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
                opened.enter_context(rtnetlink)
                if must_exist:  # Look for the device first, because TUNSETIFF would create it.
                    interface_index(rtnetlink, ifname)
                file = opened.enter_context(open_tun_node())
                name = attach_interface(file, ifname, flags)
                index = interface_index(rtnetlink, name)
                opened.pop_all()
            return file, name, index, rtnetlink

        with translate_os_errors(
            operation, needs="CAP_NET_ADMIN", reasons=attach_errors(ifname), netns=str(netns), ifname=ifname
        ):
            file, name, index, rtnetlink = netns.call(open_inside)
        return cls(netns, file, Rtnl(netns, rtnetlink), name, index, flags & ~IFF_TUN_EXCL)

    def add_queue(self) -> Self:
        """Attach another queue of a multi-queue device. The kernel distributes packets over the queues by flow."""
        return self._attach(self.netns, self.ifname, self._flags, f"add a queue to {self.ifname}", must_exist=True)

    def close(self) -> None:
        """Close the descriptor. A device that does not persist is deleted, which takes 20 ms. May be called again."""
        self._file.close()
        self._rtnl.close()

    @property
    def closed(self) -> bool:
        """True if closed."""
        return self._file.closed

    def __repr__(self) -> str:
        return f"<TunDevice {self.ifname} in {self.netns}{' closed' if self.closed else ''}>"

    @property
    def fd(self) -> int:
        """The non-blocking descriptor, for epoll or for another program. Raises ValueError if closed."""
        return self._file.fileno()

    def fileno(self) -> int:
        """Return the descriptor, as `fd` does."""
        return self._file.fileno()

    # ---- configuring a device ---------------------------------------------------------------------------------------

    def configure(
        self,
        addresses: Sequence[str] = (),
        *,
        mtu: int | None = None,
        txqueuelen: int | None = 10_000,
        up: bool = True,
    ) -> None:
        """Set `addresses` ("10.1.2.1/24"), MTU and queue length, and bring the device up.

        Args:
            mtu: In bytes; None keeps the kernel's 1,500.
            txqueuelen: Packets that wait for a reader before the kernel drops them (`link.tx_dropped`). The
                kernel's default of 500 overflows whenever the reader pauses; 10,000 was enough for 200,000 packets/s.
            up: Bring the device up.

        Raises:
            KernelError: EINVAL for an invalid MTU, before anything is changed, among others.
        """
        if mtu is not None:
            check_mtu(mtu, f"set the MTU of {self.ifname}", ifname=self.ifname)
        for cidr in addresses:
            self._rtnl.add_address(self.ifindex, cidr)
        self._rtnl.set_link(self.ifindex, mtu=mtu, txqueuelen=txqueuelen, up=up)
        if up:
            wait_for_addresses(self._rtnl, self.ifindex, addresses)
        if up and not self._flags & IFF_TAP:
            # Without a reserved neighbour entry, a full neighbour table would block the device.
            reserve_neighbour(self._rtnl, self.ifindex)

    @property
    def rtnl(self) -> Rtnl:
        """The rtnetlink socket of the device's namespace, for routes and everything else without a method here."""
        return self._rtnl

    @property
    def link(self) -> Link:
        """The device's current state. Raises KernelError (ENODEV) if it was deleted."""
        return self._rtnl.link(self.ifindex)

    @property
    def mtu(self) -> int:
        """The MTU in bytes."""
        return self.link.mtu

    @mtu.setter
    def mtu(self, value: int) -> None:
        mtu = check_mtu(value, f"set the MTU of {self.ifname}", ifname=self.ifname)
        self._rtnl.set_link(self.ifindex, mtu=mtu)

    @property
    def hardware_address(self) -> str:
        """The Ethernet address of a TAP, as "02:00:00:00:00:01"; "" for a TUN."""
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
        wait_for_addresses(self._rtnl, self.ifindex, [cidr])

    def set_address(self, cidr: str) -> None:
        """Make `cidr` the only address of its family: "10.1.2.1/24"."""
        self._rtnl.set_address(self.ifindex, cidr)
        wait_for_addresses(self._rtnl, self.ifindex, [cidr])

    def up(self) -> None:
        """Set the device up."""
        self._rtnl.set_link(self.ifindex, up=True)
        wait_for_addresses(self._rtnl, self.ifindex, [each.address for each in self.addresses])

    def down(self) -> None:
        """Set the device down, which discards its queue."""
        self._rtnl.set_link(self.ifindex, up=False)

    def delete(self) -> None:
        """Delete the device before its namespace ends; takes 20 ms. May be called again."""
        try:
            self._rtnl.delete_link(self.ifindex)
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise

    def set_carrier(self, carrier: bool) -> None:
        """Turn the carrier on or off, like plugging a cable in or pulling it out."""
        self._ioctl("set the carrier", TUNSETCARRIER, struct.pack("i", carrier))

    def set_persist(self, persist: bool) -> None:
        """Set persistence: True keeps the device when its descriptors are closed, False deletes it then."""
        self._ioctl("set persistence", TUNSETPERSIST, int(persist))

    def set_owner(self, owner: int | str) -> None:
        """Let a user attach without CAP_NET_ADMIN. The mode of /dev/net/tun must allow it as well."""
        self._ioctl("set the owner", TUNSETOWNER, user_id(owner, f"set the owner of {self.ifname}"))

    def set_group(self, group: int | str) -> None:
        """Let a group attach without CAP_NET_ADMIN. The mode of /dev/net/tun must allow it as well."""
        self._ioctl("set the group", TUNSETGROUP, group_id(group, f"set the group of {self.ifname}"))

    def set_offload(self, offload: int) -> None:
        """Set which offloads the reader accepts (TUN_F_*), so that the kernel leaves checksums or segmentation to it.

        Raises KernelError (EINVAL) for a device without vnet_hdr. The kernel would accept it, but the reader could not
        tell an unsegmented packet from others.
        """
        if offload and not self._flags & IFF_VNET_HDR:
            reason = "offloading needs a virtio header before each packet"
            remedy = "create the device with vnet_hdr=True"
            operation = f"set the offload of {self.ifname}"
            raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy, ifname=self.ifname)
        self._ioctl("set the offload", TUNSETOFFLOAD, offload)

    def _ioctl(self, verb: str, request: int, argument: int | bytes) -> None:
        with translate_os_errors(
            f"{verb} of {self.ifname}", needs="CAP_NET_ADMIN", reasons=DELETED, ifname=self.ifname
        ):
            fcntl.ioctl(self._file, request, argument)

    # ---- reading and writing packets --------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """Return the next packet that the kernel sent; None if none is waiting.

        The result includes the virtio header and packet information if enabled, and a TAP's Ethernet header. Raises
        KernelError (EBADFD) if the device was deleted.
        """
        try:
            return self._read(MAX_READ_SIZE)
        except OSError as error:
            raise self._error(error, "read from") from None

    def read_all(self, limit: int | None = None) -> list[bytes]:
        """Return the waiting packets in order, at most `limit`."""
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
        """Read and discard the waiting packets; return their number and their bytes in total."""
        if self._buffer is None:
            self._buffer = bytearray(MAX_READ_SIZE)
        buffer, readinto, packets, total = self._buffer, self._file.readinto, 0, 0
        try:
            while (size := readinto(buffer)) is not None:
                packets += 1
                total += size
        except OSError as error:
            raise self._error(error, "read from") from None
        return packets, total

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a packet; return False if none came within `timeout` seconds. None waits without limit.

        Raises KernelError (EBADFD) if the device was deleted.
        """
        # Call fileno(), which raises ValueError if the device is closed: poll would not notice that.
        self._file.fileno()
        for _, event in self._poll.poll(None if timeout is None else timeout * 1000):
            if event & select.POLLIN:
                return True
            raise self._error(OSError(errno.EBADFD, ""), "wait for")
        return False

    def write(self, datagram: Buffer) -> None:
        """Write one packet, which the kernel handles as received on the device.

        Raises:
            KernelError: EIO if the link is down; EINVAL for 0 bytes, for a frame without an Ethernet header on a TAP,
                and for a first nibble other than 4 and 6 on a TUN without packet information.
        """
        try:
            written = self._file.write(datagram)
        except OSError as error:
            raise self._error(error, "write to", len(memoryview(datagram))) from None
        if written is None:
            raise self._error(OSError(errno.EAGAIN, "its send buffer is full"), "write to")

    def _error(self, error: OSError, verb: str, size: int = -1) -> KernelError:
        reasons = packet_errors(size, self._flags)
        return kernel_error(error, f"{verb} {self.ifname}", reasons=reasons, netns=str(self.netns), ifname=self.ifname)
