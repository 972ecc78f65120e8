"""Sysctls of a network namespace: tunlab's defaults for new namespaces, reading and writing.

Every function works on the namespace of the calling thread: /proc/sys/net follows the thread that opens it.
Source: Documentation/networking/ip-sysctl.rst. devinet_init_net() copies `net.ipv4.conf.*` and `ip_forward` from the
host's first namespace into each new one, so tunlab must set them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

from tunlab.errors import KernelError
from tunlab.kernel import libc
from tunlab.kernel.os_errors import kernel_error

# The sysctls are written in this order. A write takes 7 to 15 µs, for disable_ipv6 40 µs (measured on Linux 6.18).
DEFAULTS = (
    # A new namespace copies ip_forward from the host. Docker sets it to 1, and the kernel would then forward or
    # redirect a packet for another host.
    ("net.ipv4.ip_forward", "0"),
    # A new namespace copies rp_filter from the host, and the kernel uses the greater of `all` and the interface's own
    # value. With 1 or 2, it drops a packet from an unexpected source without counting it.
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    # The kernel's default "1 0" forbids ICMP sockets (SOCK_DGRAM) to every user, including root.
    ("net.ipv4.ping_group_range", "0 2147483647"),
    # Disable the rate limits of ICMP errors, both per destination (1 per second) and in total (icmp_msgs_per_sec, which
    # before Linux 6.13 is the host's). A test sends many packets that each cause an error.
    ("net.ipv4.icmp_ratemask", "0"),
    # Disable the rate limit of ACKs for segments outside the window (1 per 500 ms), so that a test receives every
    # challenge ACK.
    ("net.ipv4.tcp_invalid_ratelimit", "0"),
    # By default, port 80 needs CAP_NET_BIND_SERVICE, which a container with minimal capabilities lacks.
    ("net.ipv4.ip_unprivileged_port_start", "0"),
)

# With IPv6, an interface that comes up sends router solicitations, which a test would read before its own packets.
# `all` also sets `default` and every interface (addrconf_disable_ipv6()).
WITHOUT_IPV6 = (("net.ipv6.conf.all.disable_ipv6", "1"),)

# Enable IPv6 without unsolicited packets, except MLD reports, which no sysctl disables.
WITH_IPV6 = (
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    # Without accept_ra, the kernel sends no router solicitations.
    ("net.ipv6.conf.default.accept_ra", "0"),
    # Disable duplicate address detection, so that an address is usable at once.
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    # Disable the rate limits of ICMPv6 errors, like those of ICMP above.
    ("net.ipv6.icmp.ratelimit", "0"),
    ("net.ipv6.icmp.ratemask", "255"),  # the types that the host's icmp_msgs_per_sec limits; 255 is never sent
)

_NAME = re.compile(r"[A-Za-z0-9_][\w%+@:-]*(?:[./][\w%+@:-]+)+", re.ASCII)


def sysctl_path(name: str) -> str:
    """Return the path of a sysctl's file.

    As in sysctl(8), dots separate the parts of the name, or slashes if a part contains a dot.

    Raises:
        KernelError: EINVAL for an invalid name; EPERM for a name outside "net", because all others belong to the
            whole machine.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        error = OSError(errno.EINVAL, "")
        reason, remedy = f"{name!r} is not a sysctl name", 'give a name such as "net.ipv4.ip_forward"'
        raise kernel_error(error, "find a sysctl", reasons={errno.EINVAL: (reason, remedy)})
    separator = name[next(i for i, c in enumerate(name) if c in "./")]
    path = name.replace(".", "/") if separator == "." else name
    if not path.startswith("net/"):
        reason = "the sysctl belongs to the machine, not to a namespace"
        remedy = 'give a sysctl that begins with "net."'
        raise KernelError(errno.EPERM, f"sysctl {name}", reason=reason, remedy=remedy)
    return f"/proc/sys/{path}"


def read(name: str) -> str:
    """Return the value of a sysctl without the newline. Raises KernelError, ENOENT if there is no such sysctl."""
    path = sysctl_path(name)
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError as error:
        raise _error(error, f"sysctl {name}") from None


def write(values: Iterable[tuple[str, str | int]]) -> None:
    """Write sysctls in order; raise KernelError at the first that is refused.

    If /proc/sys is read-only, as in a container without --privileged, the calling thread moves into a mount namespace
    where it is writable, so call this in a short-lived thread.
    """
    for name, value in values:
        path = sysctl_path(name)
        if not isinstance(value, str | int):
            reason = f"the value {value!r} is neither text nor a number"
            remedy = 'give values as in {"net.ipv4.ip_forward": "1"}'
            raise KernelError(errno.EINVAL, f"sysctl {name}", reason=reason, remedy=remedy)
        try:
            try:
                _put(path, str(value))
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                try:
                    _make_writable()
                except OSError:
                    # Raise the error of the write, because the caller cannot act on the error of the mount.
                    raise error from None
                _put(path, str(value))
        except OSError as error:
            raise _error(error, f"sysctl {name}={value}") from None


def write_defaults(*, ipv6: bool) -> None:
    """Set tunlab's defaults in the calling thread's namespace, which must be new."""
    for name, value in DEFAULTS + (WITH_IPV6 if ipv6 else WITHOUT_IPV6):
        try:
            write([(name, value)])
        except OSError as error:
            if error.errno == errno.ENOENT and not (ipv6 and name.startswith("net.ipv6.")):
                continue  # The kernel has no IPv6, or is older than this sysctl.
            if error.errno == errno.EINVAL and name == "net.ipv4.ping_group_range":
                # A user namespace accepts only groups that it maps. The user namespace of tunlab maps only one group.
                write([(name, f"{os.getegid()} {os.getegid()}")])
                continue
            raise


def _put(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())  # Write once, because the kernel takes the value from the first write only.
    finally:
        os.close(fd)


def _make_writable() -> None:
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    try:
        # Container runtimes make /proc/sys read-only by a bind mount. Remount it writable.
        libc.mount("none", "/proc/sys", "", libc.MS_REMOUNT | libc.MS_BIND)
    except OSError:
        # The remount fails if /proc/sys is not a mount point, or if a user namespace locks the mount. A newly mounted
        # proc is writable, if mounting one is allowed.
        libc.mount("proc", "/proc", "proc", 0)


def _error(error: OSError, operation: str) -> OSError:
    absent = "this kernel has no such sysctl", "look for its name under /proc/sys"
    read_only = (
        "/proc/sys is read-only and cannot be remounted",
        "start the container with --security-opt systempaths=unconfined or --privileged",
    )
    invalid = "the kernel rejects this value", "see Documentation/networking/ip-sysctl.rst for the valid ones"
    reasons = {errno.ENOENT: absent, errno.EROFS: read_only, errno.EINVAL: invalid}
    return kernel_error(error, operation, needs="CAP_NET_ADMIN", reasons=reasons)
