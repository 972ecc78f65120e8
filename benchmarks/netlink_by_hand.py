"""The fastest way to create a namespace with a TUN device: system calls and netlink messages, without any checks.

The result is the same as that of `Tun.create()`, except that the only sysctl set is disable_ipv6.
Source: netlink(7), rtnetlink(7), <linux/if_link.h>, <linux/if_addr.h>, <linux/if_tun.h>.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading

from tunlab.kernel.libc import CLONE_NEWNET, unshare
from tunlab.kernel.namespace.sysctl import write as write_sysctls

_TUNSETIFF, _TUNSETPERSIST, _IFF_TUN_NO_PI = 0x400454CA, 0x400454CB, 0x1001
_SIOCGIFINDEX = 0x8933
_RTM_NEWLINK, _RTM_NEWADDR = 16, 20
_REQUEST_ACK, _CREATE_EXCLUSIVE = 0x5, 0x600
_IFLA_MTU, _IFLA_TXQLEN, _IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 4, 13, 1, 2, 4
_IFF_UP = 1

_HEADER, _LINK, _ADDRESS = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH4s")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_ACK | flags, 0, 0) + body


def _link_up(index: int, *attributes: bytes) -> bytes:
    return _message(_RTM_NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + b"".join(attributes))


def _word(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(8, kind, value.to_bytes(4, "little" if struct.pack("=H", 1)[0] else "big"))


def _make() -> list[int]:
    unshare(CLONE_NEWNET)
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sysctl = os.open("/proc/sys/net/ipv6/conf/all/disable_ipv6", os.O_WRONLY | os.O_CLOEXEC)
        os.write(sysctl, b"1")
        os.close(sysctl)
    except OSError as error:
        if error.errno != errno.EROFS:  # /proc/sys is read-only in a container without privileges.
            raise
        write_sysctls([("net.ipv6.conf.all.disable_ipv6", 1)])
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE) as netlink:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN_NO_PI))
        fcntl.ioctl(tun, _TUNSETPERSIST, 1)
        answer = fcntl.ioctl(netlink, _SIOCGIFINDEX, struct.pack("16s24x", b"tun0"))
        (index,) = struct.unpack_from("=i", answer, 16)
        ours, broadcast = bytes((10, 1, 2, 1)), bytes((10, 1, 2, 255))
        address = b"".join(
            _ATTRIBUTE.pack(8, kind, value)
            for kind, value in ((_IFA_LOCAL, ours), (_IFA_ADDRESS, ours), (_IFA_BROADCAST, broadcast))
        )
        messages = (
            _link_up(1),
            _message(_RTM_NEWADDR, _CREATE_EXCLUSIVE, _ADDRESS.pack(socket.AF_INET, 24, 0, 0, index) + address),
            _link_up(index, _word(_IFLA_MTU, 1500), _word(_IFLA_TXQLEN, 10_000)),
        )
        netlink.send(b"".join(messages))
        for _ in messages:
            reply = netlink.recv(4096)
            (error,) = struct.unpack_from("=i", reply, _HEADER.size)
            if error:
                raise OSError(-error, os.strerror(-error))
    return [namespace, tun]


def namespace_by_hand() -> None:
    """Create a namespace with a TUN device in a temporary thread, and remove it.

    Raises:
        OSError: The kernel refused an operation.
    """
    descriptors: list[int] = []
    errors: list[BaseException] = []

    def inside() -> None:
        try:
            descriptors.extend(_make())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    for descriptor in descriptors:
        os.close(descriptor)
    if errors:
        raise errors[0]
