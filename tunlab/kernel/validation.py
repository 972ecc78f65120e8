"""Names and addresses as people write them, checked before the kernel is asked.

Source: dev_valid_name() in the kernel's net/core/dev.c for names; the `ipaddress` module for addresses; RFC 791
section 3.2 for the least MTU, and what the TUN driver takes for the largest.
"""

from __future__ import annotations

import errno
import ipaddress
import re

from tunlab.errors import KernelError

InterfaceAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MIN_MTU, MAX_MTU = 68, 65_535
"""As tunlab.topology has them, which would bring a TOML parser along."""

_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def check_ifname(ifname: str, operation: str) -> str:
    """`ifname` if a device may be called so: 1 to 15 octets, no white space, no "/" or ":", not "." or "..".

    Raises KernelError (EINVAL).
    """
    octets = ifname.encode() if isinstance(ifname, str) else b""
    if not isinstance(ifname, str):
        reason = f"{ifname!r} is no text"
    elif not octets:
        reason = "a device needs a name"
    elif len(octets) > 15:
        reason = f"the name {ifname!r} has {len(octets)} octets and the kernel takes 15 at most"
    elif ifname in (".", ".."):
        reason = f"a device cannot be called {ifname!r}"
    elif bad := [c for c in octets.decode("latin-1") if c in "/:\0" or c.isspace()]:
        reason = f"a device's name cannot contain {bad[0]!r}, as {ifname!r} does"
    else:
        return ifname
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy='give one like "tun0"', ifname=ifname)


def check_mtu(mtu: int, operation: str, *, ifname: str = "") -> int:
    """`mtu` if a TUN can have it, 68 to 65,535 octets. Raises KernelError (EINVAL)."""
    if type(mtu) is int and MIN_MTU <= mtu <= MAX_MTU:
        return mtu
    remedy = f"give a number of octets from {MIN_MTU} to {MAX_MTU}"
    raise KernelError(errno.EINVAL, operation, reason=f"{mtu!r} is no MTU", remedy=remedy, ifname=ifname)


def parse_interface(text: str, operation: str) -> InterfaceAddress:
    """An address and the prefix length of its network, "10.1.2.1/24". Raises KernelError (EINVAL)."""
    try:
        if "/" in str(text):
            return ipaddress.ip_interface(text)
        reason = f"{text!r} has no prefix length"
    except ValueError as error:
        reason = str(error)
    remedy = 'give the address and the prefix length of its network, as "10.1.2.1/24"'
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy)


def parse_address(text: str, operation: str) -> IPAddress:
    """An address alone, "10.1.2.2". Raises KernelError (EINVAL)."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        remedy = 'give one like "10.1.2.2" or "fd00::2", without a prefix length'
        raise KernelError(errno.EINVAL, operation, reason=str(error), remedy=remedy) from None


def parse_network(text: str, operation: str) -> IPNetwork:
    """A destination, "192.0.2.0/24" or one address. Raises KernelError (EINVAL), also where host bits are set."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        remedy = 'give one like "192.0.2.0/24", "192.0.2.7" or "default"'
        raise KernelError(errno.EINVAL, operation, reason=str(error), remedy=remedy) from None


def check_hardware_address(text: str, operation: str) -> str:
    """`text` if it is an Ethernet address, "02:00:00:00:00:01". Raises KernelError (EINVAL)."""
    if _HARDWARE_ADDRESS.fullmatch(text):
        return text
    reason = f"{text!r} is no hardware address"
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy='give six octets, as "02:00:00:00:00:01"')
