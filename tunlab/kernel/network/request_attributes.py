"""The fields and attributes of rtnetlink requests, from checked arguments.

Source: <linux/if_link.h>, <linux/rtnetlink.h>. pyroute2 uses the kernel's names.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from tunlab.errors import KernelError
from tunlab.kernel.network.models import ROUTE_TYPES
from tunlab.kernel.validation import (
    check_hardware_address,
    check_ifname,
    check_mtu,
    parse_address,
    parse_interface,
    parse_network,
)

Attributes = list[tuple[str, Any]]

_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200  # from <linux/if_addr.h>


def address_family(version: int) -> int:
    """Return the address family (socket.AF_*) of an IP version, 4 or 6."""
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def link_attributes(
    operation: str,
    *,
    ifname: str | None = None,
    mtu: int | None = None,
    txqueuelen: int | None = None,
    hardware_address: str | None = None,
    master: int | None = None,
) -> Attributes:
    """Return the attributes of an ifinfmsg for the given properties. Raises KernelError (EINVAL) for an invalid one."""
    if ifname is not None:
        check_ifname(ifname, operation)
    if hardware_address is not None:
        check_hardware_address(hardware_address, operation)
    if mtu is not None and not (isinstance(mtu, int) and 0 <= mtu < 1 << 32):
        check_mtu(mtu, operation)  # The kernel checks values of 32 bits, because the maximum depends on the device.
    attributes = (
        ("IFLA_IFNAME", ifname),
        ("IFLA_MTU", mtu),
        ("IFLA_TXQLEN", txqueuelen),
        ("IFLA_ADDRESS", hardware_address),
        ("IFLA_MASTER", master),
    )
    return [(name, value) for name, value in attributes if value is not None]


def address_request(
    ifindex: int, cidr: str, peer: str, operation: str, *, nodad: bool, prefix_route: bool
) -> tuple[dict[str, int], Attributes]:
    """Return the fields and attributes of an ifaddrmsg. Raises KernelError (EINVAL)."""
    interface = parse_interface(cidr, operation)
    local = str(interface.ip)
    far = str(parse_address(peer, operation)) if peer else local
    attributes: Attributes = [("IFA_LOCAL", local), ("IFA_ADDRESS", far)]
    options = _IFA_F_NODAD if nodad and interface.version == 6 else 0
    options |= 0 if prefix_route else _IFA_F_NOPREFIXROUTE
    if options:
        attributes.append(("IFA_FLAGS", options))
    fields = {"family": address_family(interface.version), "prefixlen": interface.network.prefixlen, "index": ifindex}
    return fields, attributes


def route_request(
    dst: str, operation: str, via: str | None, ifindex: int | None, metric: int | None, table: int, route_type: str
) -> tuple[dict[str, int], Attributes]:
    """Return the fields and attributes of a rtmsg that identify a route. Raises KernelError (EINVAL)."""
    hop = None if via is None else parse_address(via, operation)
    if dst == "default":
        dst = "::/0" if hop is not None and hop.version == 6 else "0.0.0.0/0"
    network = parse_network(dst, operation)
    if route_type not in ROUTE_TYPES:
        raise KernelError(
            errno.EINVAL,
            operation,
            reason=f"the route type {route_type!r} does not exist",
            remedy=f"give one of {', '.join(ROUTE_TYPES[1:])}",
        )
    fields = {
        "family": address_family(network.version),
        "dst_len": network.prefixlen,
        "table": table if table < 256 else 0,  # The field `table` has 8 bits; RTA_TABLE has the whole number.
        "type": ROUTE_TYPES.index(route_type),
    }
    attributes: Attributes = [("RTA_TABLE", table)]
    if network.prefixlen:
        attributes.append(("RTA_DST", str(network.network_address)))
    if hop is not None:
        attributes.append(("RTA_GATEWAY", str(hop)))
    if ifindex is not None:
        attributes.append(("RTA_OIF", ifindex))
    if metric is not None:
        attributes.append(("RTA_PRIORITY", metric))
    return fields, attributes
