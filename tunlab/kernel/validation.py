"""Checks of names, addresses and MTUs before the kernel sees them, so that errors name the value.

Source: dev_valid_name() in the kernel's net/core/dev.c; RFC 791 section 3.2 for the minimum MTU, the TUN driver for
the maximum.
"""

from __future__ import annotations

import errno
import ipaddress
import re

from tunlab.errors import KernelError

InterfaceAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# tunlab.topology.values.units has the same limits, but importing it would load a TOML parser.
MIN_MTU, MAX_MTU = 68, 65_535

_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def check_ifname(ifname: str, operation: str) -> str:
    """Return `ifname` if the kernel accepts it: 1 to 15 bytes, no white space, "/" or ":", not "." or "..".

    Raises:
        KernelError: EINVAL for an invalid name; the message begins with `operation`.
    """
    encoded = ifname.encode() if isinstance(ifname, str) else b""
    if not isinstance(ifname, str):
        reason = f"the interface name {ifname!r} is not text"
    elif not encoded:
        reason = "the interface name is empty"
    elif len(encoded) > 15:
        reason = f"the interface name {ifname!r} has {len(encoded)} bytes; the maximum is 15"
    elif ifname in (".", ".."):
        reason = f"{ifname!r} is not an interface name"
    elif bad := [c for c in encoded.decode("latin-1") if c in "/:\0" or c.isspace()]:
        reason = f"the interface name {ifname!r} contains {bad[0]!r}"
    else:
        return ifname
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy='give a name such as "tun0"', ifname=ifname)


def check_mtu(mtu: int, operation: str, *, ifname: str = "") -> int:
    """Return `mtu` if a TUN accepts it: 68 to 65,535 bytes. Raises KernelError (EINVAL)."""
    if type(mtu) is int and MIN_MTU <= mtu <= MAX_MTU:
        return mtu
    remedy = f"give {MIN_MTU} to {MAX_MTU} bytes"
    raise KernelError(errno.EINVAL, operation, reason=f"the MTU {mtu!r} is not valid", remedy=remedy, ifname=ifname)


def parse_interface(text: str, operation: str) -> InterfaceAddress:
    """Parse an address with a prefix length, as "10.1.2.1/24". Raises KernelError (EINVAL)."""
    try:
        if "/" in str(text):
            return ipaddress.ip_interface(text)
        reason = f"{text!r} has no prefix length"
    except ValueError:
        reason = f"{text!r} is not an address with a prefix length"
    example = "fd00::1/64" if ":" in str(text) else "10.1.2.1/24"
    remedy = f'give an address as "{example}"; the prefix length is at most {128 if ":" in str(text) else 32}'
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy)


def parse_address(text: str, operation: str) -> IPAddress:
    """Parse an address without a prefix length, as "10.1.2.2". Raises KernelError (EINVAL)."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        remedy = 'give an address without a prefix length, as "10.1.2.2" or "fd00::2"'
        raise KernelError(errno.EINVAL, operation, reason=str(error), remedy=remedy) from None


def parse_network(text: str, operation: str) -> IPNetwork:
    """Parse a destination: a network, as "192.0.2.0/24", or an address. Raises KernelError (EINVAL)."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        remedy = 'give a network or an address, as "192.0.2.0/24", "192.0.2.7" or "default"'
        raise KernelError(errno.EINVAL, operation, reason=str(error), remedy=remedy) from None


def check_hardware_address(text: str, operation: str) -> str:
    """Return `text` if it is an Ethernet address, as "02:00:00:00:00:01". Raises KernelError (EINVAL)."""
    if _HARDWARE_ADDRESS.fullmatch(text):
        return text
    reason = f"{text!r} is not an Ethernet address"
    raise KernelError(errno.EINVAL, operation, reason=reason, remedy='give six bytes, as "02:00:00:00:00:01"')
