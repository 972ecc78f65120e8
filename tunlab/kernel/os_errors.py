"""Where an OSError of this floor becomes a KernelError, or a PrivilegeError that names what is missing.

Source: capabilities(7) for what needs what.
Rule for editors: what is missing is read from the thread's own capabilities, never guessed from the error number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tunlab.errors import KernelError, PrivilegeError

TUN_DEVICE_NODE = "/dev/net/tun"

# <linux/capability.h>: the ones this floor asks for.
CAPABILITIES = {"CAP_KILL": 5, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_SETFCAP": 31}

_AS_ROOT = "run as root, "
_CONTAINER = f"in a container with --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW --device {TUN_DEVICE_NODE}"
PRIVILEGE_REMEDY = (
    f"{_AS_ROOT}{_CONTAINER}, or in a user namespace of your own: python -m tunlab.kernel.namespace.userns PROGRAM"
)
ROOT_REMEDY = f"{_AS_ROOT}or {_CONTAINER}"
"""For what belongs to the machine's own user namespace: a namespace that root made, a name for one."""

# What an errno means here, where the kernel's own word for it misleads: errno -> (reason, remedy).
Reasons = Mapping[int, tuple[str, str]]

SOCKET_REASONS: Reasons = {
    errno.ENOBUFS: (
        "there is no room for it: in the device's queue, or for a peer in the machine's one table of neighbours",
        "send slower; take labs down that are not in use, or raise the sysctl net.ipv4.neigh.default.gc_thresh3",
    ),
    errno.ENETUNREACH: ("no route leads there", "give an address of the device's network, or add a route"),
    errno.EMSGSIZE: ("that is longer than one datagram can be here", "send less, or raise the device's MTU"),
    errno.EADDRINUSE: ("another socket has that address and port", "close that one, or take another port"),
    errno.EADDRNOTAVAIL: (
        "no device of this namespace has that address",
        "give an address that one has, or add it to the device first",
    ),
    errno.ECONNREFUSED: ("nobody listens there", "start what should listen, or check the address and the port"),
    errno.EACCES: (
        "it is a broadcast address, or a port that is kept for root",
        "set SO_BROADCAST on the socket for the one, take a port from 1024 on for the other",
    ),
}
"""Of bind(2), connect(2), send(2) and listen(2) on IPv4 sockets: ip(7), udp(7), tcp(7), arp(7)."""


def effective_capabilities() -> int:
    """The calling thread's effective capabilities, a mask with bit n for capability n (proc_pid_status(5))."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line[7:], 16) for line in status.splitlines() if line.startswith("CapEff:"))


def has_capability(capability: str) -> bool:
    """Whether the calling thread has `capability` ("CAP_NET_ADMIN") in effect, in its own user namespace."""
    return bool(effective_capabilities() >> CAPABILITIES[capability] & 1)


def kernel_error(
    error: OSError,
    operation: str,
    *,
    needs: str = "",
    reason: str = "",
    reasons: Reasons | None = None,
    grant: str = PRIVILEGE_REMEDY,
    netns: str = "",
    ifname: str = "",
) -> KernelError:
    """The tunlab error for `error`, raised while the kernel was asked for `operation`.

    needs     the capability the operation needs ("CAP_NET_ADMIN"), blamed for EPERM and EACCES only
    reason    the kernel's own sentence, where it gave one
    reasons   what certain error numbers mean here
    grant     the remedy where what the operation needs is not granted
    """
    if isinstance(error, KernelError):
        return error
    code = error.errno or 0
    if reasons and code in reasons:
        known, remedy = reasons[code]
        return KernelError(code, operation, reason=known, remedy=remedy, netns=netns, ifname=ifname)
    if needs and code in (errno.EPERM, errno.EACCES):
        if has_capability(needs):
            reason = reason or (
                f"{needs} is in effect here, so a seccomp filter, a security module or a namespace"
                " that belongs to another user namespace stands in the way"
            )
        else:
            reason = f"{needs} is missing"
            if os.geteuid() == 0:
                grant = "you are root, but without it: run " + grant.removeprefix(_AS_ROOT).removeprefix("or ")
        return PrivilegeError(code, operation, missing=needs, reason=reason, remedy=grant, netns=netns, ifname=ifname)
    reason = reason or error.strerror or str(error)
    return KernelError(code, operation, reason=reason, netns=netns, ifname=ifname)


@contextmanager
def translate_os_errors(
    operation: str,
    *,
    needs: str = "",
    reasons: Reasons | None = None,
    grant: str = PRIVILEGE_REMEDY,
    netns: str = "",
    ifname: str = "",
) -> Iterator[None]:
    """Turn an OSError of the block into its tunlab error; the arguments are those of `kernel_error`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, KernelError):
            raise
        raise kernel_error(
            error, operation, needs=needs, reasons=reasons, grant=grant, netns=netns, ifname=ifname
        ) from None
