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

# In order. Each write costs 7 to 15 µs, disable_ipv6 40 (measured on 6.18).
DEFAULTS = (
    # Copied from the host. Docker sets 1, and then a packet for another host is forwarded or redirected.
    ("net.ipv4.ip_forward", "0"),
    # Copied from the host; the kernel uses the greater of `all` and the interface's own. With 1 or 2 a packet from an
    # unexpected source is dropped without a counter.
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    # The default "1 0" refuses ICMP sockets (SOCK_DGRAM) to everyone, root included.
    ("net.ipv4.ping_group_range", "0 2147483647"),
    # No rate limit for ICMP errors, neither per destination (1 per second) nor in total (icmp_msgs_per_sec, which is
    # the host's before Linux 6.13): a test sends many packets that each cause one.
    ("net.ipv4.icmp_ratemask", "0"),
    # No rate limit for ACKs of segments outside the window (1 per 500 ms), or a test's second challenge ACK is missing.
    ("net.ipv4.tcp_invalid_ratelimit", "0"),
    # Otherwise port 80 needs CAP_NET_BIND_SERVICE, which a container with minimal capabilities lacks.
    ("net.ipv4.ip_unprivileged_port_start", "0"),
)

# With IPv6, an interface that comes up sends router solicitations, which a test would read before its own packets.
# `all` also sets `default` and every interface (addrconf_disable_ipv6()).
WITHOUT_IPV6 = (("net.ipv6.conf.all.disable_ipv6", "1"),)

# IPv6 without unsolicited packets, except MLD reports, which no sysctl disables.
WITH_IPV6 = (
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    # Without accept_ra no router is solicited.
    ("net.ipv6.conf.default.accept_ra", "0"),
    # No duplicate address detection: an address is usable at once.
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    # As icmp_ratemask above.
    ("net.ipv6.icmp.ratelimit", "0"),
)

_NAME = re.compile(r"[A-Za-z0-9_][\w%+@:-]*(?:[./][\w%+@:-]+)+", re.ASCII)


def sysctl_path(name: str) -> str:
    """Return the file of a sysctl by the rules of sysctl(8): "net.ipv4.ip_forward", or slashes if a name has a dot.

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
        reason, remedy = "it belongs to the machine, not to a namespace", 'give a sysctl that begins with "net."'
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
                    raise error from None  # the error that the caller can act on
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
                continue  # a kernel without IPv6, or one older than this sysctl
            if error.errno == errno.EINVAL and name == "net.ipv4.ping_group_range":
                # A user namespace accepts only mapped groups, and ours maps one.
                write([(name, f"{os.getegid()} {os.getegid()}")])
                continue
            raise


def _put(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())  # the kernel takes a value from the first write only
    finally:
        os.close(fd)


def _make_writable() -> None:
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    try:
        # Container runtimes make /proc/sys read-only by a bind mount.
        libc.mount("none", "/proc/sys", "", libc.MS_REMOUNT | libc.MS_BIND)
    except OSError:
        # Not a mount point, or locked by a user namespace: a new proc is writable, if mounting one is allowed.
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
