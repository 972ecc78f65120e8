"""Translation of OSError into KernelError, or into a PrivilegeError that names the missing capability.

A missing capability is read from the thread's own capabilities (capabilities(7)), never guessed from the error number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tunlab.errors import KernelError, PrivilegeError

TUN_DEVICE_NODE = "/dev/net/tun"

# The capabilities that the kernel layer needs, with their numbers in <linux/capability.h>.
CAPABILITIES = {"CAP_KILL": 5, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_SETFCAP": 31}

_AS_ROOT = "run as root, "
_CONTAINER = f"in a container with --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW --device {TUN_DEVICE_NODE}"
PRIVILEGE_REMEDY = f"{_AS_ROOT}{_CONTAINER}, or in a user namespace: `python -m tunlab.kernel.namespace.userns PROGRAM`"
ROOT_REMEDY = f"{_AS_ROOT}or {_CONTAINER}"
"""Advice for operations that a user namespace does not allow: entering and pinning namespaces of the machine itself."""

# Explanations of error numbers whose standard text is misleading: (reason, remedy) by error number.
Reasons = Mapping[int, tuple[str, str]]

SOCKET_REASONS: Reasons = {
    errno.ENOBUFS: (
        "the interface's queue or the machine's neighbour table is full",
        "send slower, take unused labs down, or raise the sysctl net.ipv4.neigh.default.gc_thresh3",
    ),
    errno.ENETUNREACH: (
        "there is no route to the destination",
        "give an address in the interface's network, or add a route",
    ),
    errno.EMSGSIZE: ("the datagram is too long", "send fewer bytes, or raise the interface's MTU"),
    errno.EADDRINUSE: ("another socket uses this address and port", "close that socket, or use another port"),
    errno.EADDRNOTAVAIL: (
        "no interface of this namespace has this address",
        "give the address of an interface, or add this one to an interface first",
    ),
    errno.ECONNREFUSED: ("nothing listens on this address and port", "start the server, or check address and port"),
    errno.EACCES: (
        "the destination is a broadcast address, or the port is reserved for root",
        "set SO_BROADCAST on the socket, or use a port from 1024",
    ),
}
"""Explanations for bind(2), connect(2), send(2) and listen(2) on IPv4 sockets: ip(7), udp(7), tcp(7), arp(7)."""


def effective_capabilities() -> int:
    """Return the calling thread's effective capabilities as a mask, bit n for capability n (proc_pid_status(5))."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line[7:], 16) for line in status.splitlines() if line.startswith("CapEff:"))


def has_capability(capability: str) -> bool:
    """Return True if the calling thread has `capability` ("CAP_NET_ADMIN") in its user namespace."""
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
    """Return the KernelError or PrivilegeError for an OSError of the kernel.

    Args:
        error: The system's error.
        operation: The refused operation, as "set tun0 up".
        needs: The capability that the operation needs; reported for EPERM and EACCES.
        reason: The kernel's own message, or "".
        reasons: Explanations of error numbers, which take precedence.
        grant: The advice if the capability is missing.
        netns: The namespace of the operation.
        ifname: The interface of the operation.
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
                f"{needs} is present, so a seccomp filter, a security module or the owner of the namespace forbids it"
            )
        else:
            reason = f"{needs} is missing"
            if os.geteuid() == 0:
                reason = f"you are root, but {needs} is missing"
                grant = "run " + grant.removeprefix(_AS_ROOT).removeprefix("or ")
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
    """Raise the result of `kernel_error` for an OSError in the block; the arguments are the same."""
    try:
        yield
    except OSError as error:
        if isinstance(error, KernelError):
            raise
        raise kernel_error(
            error, operation, needs=needs, reasons=reasons, grant=grant, netns=netns, ifname=ifname
        ) from None
