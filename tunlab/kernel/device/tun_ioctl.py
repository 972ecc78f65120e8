"""The TUN driver's device node and ioctls, used by tunlab.kernel.device.tun.

Source: Documentation/networking/tuntap.rst, <linux/if_tun.h>; the numbers are those of the asm-generic encoding.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import io
import os
import pwd
import socket
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.os_errors import TUN_DEVICE_NODE, Reasons, translate_os_errors

_TUNSETIFF, TUNSETPERSIST, TUNSETOWNER, TUNSETGROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
_TUNGETFEATURES, TUNSETOFFLOAD = 0x800454CF, 0x400454D0
TUNSETCARRIER = 0x400454E2
_SIOCGIFINDEX = 0x8933  # from <linux/sockios.h>

IFF_NAPI = 0x10
IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR, IFF_TUN_EXCL = 1, 2, 0x100, 0x1000, 0x4000, 0x8000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN, TUN_F_UFO, TUN_F_USO4, TUN_F_USO6 = 1, 2, 4, 8, 16, 32, 64

_IFREQ = struct.Struct("16sH22x")
_OVERFLOW_UID = 65_534  # the user id that the kernel shows for an unmapped user (user_namespaces(7))

_MAX_ID = 2**32 - 2  # 2**32 - 1 is -1, which the kernel refuses (uid_valid() in include/linux/uidgid.h).

_LOAD_DRIVER = f"load the driver (`modprobe tun`), or pass --device {TUN_DEVICE_NODE} to the container"


def open_tun_node() -> io.FileIO:
    """Open /dev/net/tun non-blocking, for the calling thread's namespace. Raises PrivilegeError."""
    try:
        # FileIO is 1 µs faster than os.read if the queue is empty: its read() returns None instead of raising
        # BlockingIOError. Its readinto() is the fastest way to read. FileIO adds O_RDWR | O_CLOEXEC to the flags.
        return io.FileIO(TUN_DEVICE_NODE, "r+", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
    except OSError as error:
        raise tun_node_error(error) from None


def attach_interface(node: io.FileIO, ifname: str, flags: int) -> str:
    """Create a device or attach to one (TUNSETIFF), and return its name. Raises OSError."""
    request = bytearray(_IFREQ.pack(ifname.encode(), flags))
    fcntl.ioctl(node, _TUNSETIFF, request)
    return request[:16].split(b"\0")[0].decode()


def attach_errors(ifname: str) -> Reasons:
    """Return a reason and advice for each error number that `attach_interface` may raise."""
    return {
        errno.EBUSY: (
            f"another program is attached to {ifname}, or exclusive=True and it exists",
            "close it in the other program, or use another name",
        ),
        errno.EINVAL: (
            f"{ifname} exists and was created with other options (mode, multi_queue), or is not a TUN or TAP",
            "attach with the same options, or use another name",
        ),
        errno.EEXIST: (f"{ifname} exists already", "use another name"),
        errno.ENODEV: (
            f"the namespace has no device {ifname}",
            "create it, with persist=True if it is to outlive its descriptor",
        ),
    }


DELETED: Reasons = {errno.EBADFD: ("the device or its namespace was deleted", "create it again")}


def packet_errors(size: int, flags: int) -> Reasons:
    """Return the explanations of errors of a read (`size` -1), or of the write of so many bytes to a device."""
    reasons = {**DELETED, errno.EIO: ("the link is down", "set it up first")}
    if size == 0:
        reasons[errno.EINVAL] = ("there are 0 bytes to write", "give a whole packet")
    elif size > 0 and flags & IFF_TUN:
        reasons[errno.EINVAL] = (
            "the first nibble of the packet must be 4 or 6, after the virtio header and packet information if enabled",
            "send other bytes to the device's reader with a PacketSocket",
        )
    elif size > 0:
        reasons[errno.EINVAL] = (f"the frame has {size} bytes and needs an Ethernet header", "give a whole frame")
    return reasons


def interface_index(any_socket: socket.socket, ifname: str) -> int:
    """Return the index of an interface in the socket's namespace. Raises OSError (ENODEV)."""
    request = bytearray(_IFREQ.pack(ifname.encode(), 0))
    fcntl.ioctl(any_socket, _SIOCGIFINDEX, request)
    index: int
    (index,) = struct.unpack_from("=i", request, 16)
    return index


def interface_flags(mode: str, packet_information: bool, multi_queue: bool, vnet_hdr: bool) -> int:
    """Return the IFF_* flags for TUNSETIFF. Raises KernelError (EINVAL) for an unknown mode."""
    kinds = {"tun": IFF_TUN, "tap": IFF_TAP}
    if mode not in kinds:
        reason, remedy = f"the mode {mode!r} does not exist", 'give "tun" or "tap"'
        raise KernelError(errno.EINVAL, "create a device", reason=reason, remedy=remedy)
    flags = kinds[mode]
    flags |= 0 if packet_information else IFF_NO_PI
    flags |= IFF_MULTI_QUEUE if multi_queue else 0
    return flags | (IFF_VNET_HDR if vnet_hdr else 0)


def tun_features() -> int:
    """Return the features of the TUN driver as IFF_* flags (TUNGETFEATURES). Raises PrivilegeError."""
    with open_tun_node() as file, translate_os_errors("read the TUN driver's features"):
        answer = bytearray(4)
        fcntl.ioctl(file, _TUNGETFEATURES, answer)
        return int.from_bytes(answer, sys.byteorder)


def tun_node_error(error: OSError) -> KernelError:
    """Return the tunlab error for a failed open of /dev/net/tun."""
    code, operation = error.errno or 0, f"open {TUN_DEVICE_NODE}"
    if code == errno.ENOENT:
        reason, remedy = f"{TUN_DEVICE_NODE} does not exist", _LOAD_DRIVER
    elif code in (errno.ENODEV, errno.ENXIO):
        reason, remedy = f"{TUN_DEVICE_NODE} has no driver behind it", _LOAD_DRIVER
    elif code in (errno.EACCES, errno.EPERM):
        node = os.stat(TUN_DEVICE_NODE)  # noqa: PTH116
        mode = stat.S_IMODE(node.st_mode)
        if code == errno.EPERM:
            reason = f"a device cgroup forbids {TUN_DEVICE_NODE} to this process"
            remedy = f"pass --device {TUN_DEVICE_NODE} to the container"
        else:
            owner = f"owner {node.st_uid}:{node.st_gid}"
            if node.st_uid == _OVERFLOW_UID:  # The kernel shows uid 65534 if the user namespace does not map the owner.
                owner = "an owner outside this user namespace"
            reason = f"{TUN_DEVICE_NODE} has mode {mode:04o}, {owner}, and you are uid {os.geteuid()}"
            remedy = f"run as root, or run `chmod 0666 {TUN_DEVICE_NODE}` as root once (CAP_NET_ADMIN is still needed)"
    else:
        return KernelError(code, operation, reason=error.strerror or "")
    return PrivilegeError(code, operation, missing=TUN_DEVICE_NODE, reason=reason, remedy=remedy)


def user_id(user: int | str, operation: str) -> int:
    """Return the argument of TUNSETOWNER for a user's name or id. Raises KernelError (EINVAL) for another value."""
    return _account_id(user, operation, "user", lambda name: pwd.getpwnam(name).pw_uid)


def group_id(group: int | str, operation: str) -> int:
    """Return the argument of TUNSETGROUP for a group's name or id. Raises KernelError (EINVAL) for another value."""
    return _account_id(group, operation, "group", lambda name: grp.getgrnam(name).gr_gid)


def _account_id(account: int | str, operation: str, kind: str, find: Callable[[str], int]) -> int:
    reason, number = f"{account!r} is not the id of a {kind}", account
    if isinstance(account, str):
        reason = f"this machine has no {kind} {account!r}"
        with suppress(KeyError, ValueError):  # ValueError: the name has a NUL.
            number = find(account)
    if type(number) is int and 0 <= number <= _MAX_ID:
        return number if number < 1 << 31 else number - (1 << 32)  # fcntl.ioctl takes a signed int.
    remedy = f"give the name of a {kind}, or a number from 0 to {_MAX_ID}"
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy)
