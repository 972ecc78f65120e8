"""Sysctls of a network namespace: what tunlab sets in each new one, and why; reading and writing any of them.

Every function works on the namespace of the calling thread: /proc/sys/net follows the thread that opens it.
Source: Documentation/networking/ip-sysctl.rst; the defaults of a new namespace are those of devinet_init_net() and
its like: `net.ipv4.conf.*` and `ip_forward` are copies of the host's first namespace, so that they must be set.
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
    # The host's value; Docker's hosts have 1, and then a packet for somebody else comes back forwarded or redirected.
    ("net.ipv4.ip_forward", "0"),
    # The host's value, and the greater of `all` and the device's counts; with 1 or 2 a packet from an unlikely source
    # vanishes without a counter that says so.
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    # "1 0", nobody: with it an ICMP socket (SOCK_DGRAM) is refused even to root.
    ("net.ipv4.ping_group_range", "0 2147483647"),
    # No ICMP error is rate-limited, neither per destination (1 a second) nor in all (icmp_msgs_per_sec, which before
    # Linux 6.13 is the host's and cannot be set in here): a test sends many packets that each deserve an answer.
    ("net.ipv4.icmp_ratemask", "0"),
    # Answers to segments outside the window, 1 in 500 ms by default: the second challenge ACK of a test would not come.
    ("net.ipv4.tcp_invalid_ratelimit", "0"),
    # A server on port 80 needs CAP_NET_BIND_SERVICE else, which a container with the least rights does not have.
    ("net.ipv4.ip_unprivileged_port_start", "0"),
)

# Without this a device that comes up solicits routers, and the first packet that a test reads is not its own.
# `all` sets `default` and every device as well (addrconf_disable_ipv6()).
WITHOUT_IPV6 = (("net.ipv6.conf.all.disable_ipv6", "1"),)

# IPv6 that speaks only when spoken to, but for the MLD reports, which no sysctl ends.
WITH_IPV6 = (
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    # accept_ra also decides whether routers are solicited. lo has been there before `default` changed, and asks nobody.
    ("net.ipv6.conf.default.accept_ra", "0"),
    # No neighbour solicitation for an address of our own: it is usable at once.
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.dad_transmits", "0"),
    # As icmp_ratemask above.
    ("net.ipv6.icmp.ratelimit", "0"),
)

_NAME = re.compile(r"[A-Za-z0-9_][\w%+@:-]*(?:[./][\w%+@:-]+)+", re.ASCII)


def sysctl_path(name: str) -> str:
    """The file of a sysctl, as sysctl(8) finds it: "net.ipv4.ip_forward", or with slashes where a name has a dot.

    Raises KernelError: EINVAL for what cannot be a name, EPERM for one that is not below "net": all others are the
    whole machine's, whichever namespace they are written in.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        error = OSError(errno.EINVAL, "")
        raise kernel_error(error, f"sysctl {name!r}", reason='a sysctl is named as in "net.ipv4.ip_forward"')
    separator = name[next(i for i, c in enumerate(name) if c in "./")]
    path = name.replace(".", "/") if separator == "." else name
    if not path.startswith("net/"):
        reason, remedy = "it belongs to the machine, not to a network namespace", "name one that begins with net."
        raise KernelError(errno.EPERM, f"sysctl {name}", reason=reason, remedy=remedy)
    return f"/proc/sys/{path}"


def read(name: str) -> str:
    """The value of a sysctl, without the newline. Raises KernelError; ENOENT if there is none of that name."""
    path = sysctl_path(name)
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError as error:
        raise _error(error, f"sysctl {name}") from None


def write(values: Iterable[tuple[str, str | int]]) -> None:
    """Write sysctls in order; raises KernelError at the first that is refused.

    Where /proc/sys is read-only, as in a container without --privileged, the calling thread gets a mount namespace
    of its own in which it is not: for a throw-away thread only.
    """
    for name, value in values:
        path = sysctl_path(name)
        if not isinstance(value, str | int):
            remedy = 'give text or a number, as {"net.ipv4.ip_forward": "1"}'
            raise KernelError(errno.EINVAL, f"sysctl {name}", reason=f"{value!r} is no value", remedy=remedy)
        try:
            try:
                _put(path, str(value))
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                try:
                    _make_writable()
                except OSError:
                    raise error from None  # what the caller can do something about
                _put(path, str(value))
        except OSError as error:
            raise _error(error, f"sysctl {name}={value}") from None


def write_defaults(*, ipv6: bool) -> None:
    """Write the values of this file into the new namespace that the calling thread is in."""
    for name, value in DEFAULTS + (WITH_IPV6 if ipv6 else WITHOUT_IPV6):
        try:
            write([(name, value)])
        except OSError as error:
            if error.errno == errno.ENOENT and not (ipv6 and name.startswith("net.ipv6.")):
                continue  # nothing to be set in a kernel without it: IPv6 not built in, or the limit not invented yet
            if error.errno == errno.EINVAL and name == "net.ipv4.ping_group_range":
                # A user namespace that maps one group takes a range of mapped ones only.
                write([(name, f"{os.getegid()} {os.getegid()}")])
                continue
            raise


def _put(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())  # one write: the kernel reads a value from the first only
    finally:
        os.close(fd)


def _make_writable() -> None:
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    try:
        # A runtime masks /proc/sys by a read-only bind mount on it.
        libc.mount("none", "/proc/sys", "", libc.MS_REMOUNT | libc.MS_BIND)
    except OSError:
        # No mount point of its own, or locked in a user namespace: a new proc is writable, where one may be mounted.
        libc.mount("proc", "/proc", "proc", 0)


def _error(error: OSError, operation: str) -> OSError:
    nothing = "there is no such sysctl in this kernel", "look for its name under /proc/sys"
    read_only = (
        "/proc/sys is read-only here and may not be mounted anew",
        "start the container with --security-opt systempaths=unconfined or --privileged",
    )
    invalid = "the kernel takes no such value for it", "see Documentation/networking/ip-sysctl.rst"
    reasons = {errno.ENOENT: nothing, errno.EROFS: read_only, errno.EINVAL: invalid}
    return kernel_error(error, operation, needs="CAP_NET_ADMIN", reasons=reasons)
