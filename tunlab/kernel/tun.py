"""TUN and TAP devices: /dev/net/tun opened inside a namespace, datagrams read and written, one each call.

Source: Documentation/networking/tuntap.rst, <linux/if_tun.h> (the numbers are those of the asm-generic encoding),
drivers/net/tun.c for which call fails how.
Rule for editors: a device belongs to the namespace in which /dev/net/tun was *opened*, whatever comes later.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_interface
from types import TracebackType
from typing import Any, Literal, Self

from tunlab.errors import KernelError
from tunlab.kernel.addressing import check_ifname
from tunlab.kernel.netns import Netns
from tunlab.kernel.refusal import TUN_NODE, refusal, refusing, tun_node_refusal
from tunlab.kernel.rtnl import Rtnl
from tunlab.kernel.tables import Address, Link

Mode = Literal["tun", "tap"]

_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER, _TUNSETGROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
_TUNGETFEATURES, _TUNSETOFFLOAD, _TUNGETIFF = 0x800454CF, 0x400454D0, 0x800454D2
_TUNSETCARRIER = 0x400454E2
_SIOCGIFINDEX = 0x8933  # <linux/sockios.h>

IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR, IFF_TUN_EXCL = 1, 2, 0x100, 0x1000, 0x4000, 0x8000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN, TUN_F_UFO, TUN_F_USO4, TUN_F_USO6 = 1, 2, 4, 8, 16, 32, 64

_IFREQ = struct.Struct("16sH22x")

# The largest datagram (65,535) with a virtio header (10), packet information (4), an Ethernet header (14) and a VLAN
# tag (4) before it: a shorter read would cut it silently. Also the largest super-segment.
LARGEST_READ = 65535 + 10 + 4 + 14 + 4


class TunDevice:
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
        """Make a device in `netns`; it is down and has no address: `configure`.

        ifname              up to 15 octets; "tun%d" lets the kernel number it
        packet_information  four octets before each datagram: flags and protocol (IFF_NO_PI not set)
        multi_queue         more than one descriptor may be attached, `add_queue`
        persist             the device stays when the descriptor is closed, and goes with its namespace. Closing one
                            that does not persist takes the kernel 20 ms
        owner, group        a user, a group who may attach without CAP_NET_ADMIN, by number
        vnet_hdr            a virtio_net_hdr of 10 octets before each datagram, for offloads
        exclusive           fail (EBUSY) if there is one of that name; else a persistent one is attached to

        Raises PrivilegeError for CAP_NET_ADMIN and for /dev/net/tun, KernelError otherwise.
        """
        operation = f"create the {mode.upper()} {ifname}"
        flags = _flags(mode, packet_information, multi_queue, vnet_hdr)
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
        flags = _flags(mode, packet_information, multi_queue, vnet_hdr)
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
            errno.ENODEV: ("there is no such device in the namespace", "create it first, with persist=True"),
        }

        def inside() -> tuple[io.FileIO, str, int, socket.socket]:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE) as rtnetlink:
                if must_exist:  # TUNSETIFF would make it
                    _index_of(rtnetlink, ifname)
                file = _open_node()
                try:
                    request = bytearray(_IFREQ.pack(ifname.encode(), flags))
                    fcntl.ioctl(file, _TUNSETIFF, request)
                    name = request[:16].split(b"\0")[0]
                    return file, name.decode(), _index_of(rtnetlink, name.decode()), rtnetlink.dup()
                except BaseException:
                    file.close()
                    raise

        with refusing(operation, needs="CAP_NET_ADMIN", reasons=reasons, netns=str(netns), ifname=ifname):
            file, name, index, rtnetlink = netns.call(inside)
        return cls(netns, file, Rtnl(netns, rtnetlink), name, index, flags & ~IFF_TUN_EXCL)

    def add_queue(self) -> Self:
        """Another descriptor of a multi-queue device; datagrams spread over the queues by flow."""
        return self._attach(self.netns, self.ifname, self._flags, f"add a queue to {self.ifname}", must_exist=True)
