"""Waiting for IPv6 addresses to become usable.

The kernel adds the local route of an IPv6 address in a work queue, some milliseconds after the address was added or the
link went up, even without duplicate address detection. Until then it drops packets to this address.
Source: addrconf_dad_work() and __ipv6_ifa_notify() in net/ipv6/addrconf.c; rtnetlink(7), RTMGRP_IPV6_ROUTE.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterable

from tunlab.errors import KernelError
from tunlab.kernel.netlink.constants import RTMGRP_IPV6_ROUTE
from tunlab.kernel.network.link_events import discard_events
from tunlab.kernel.network.rtnl import Rtnl

_RT_TABLE_LOCAL = 255


def wait_for_addresses(rtnl: Rtnl, ifindex: int, changed: Iterable[str], timeout: float = 5.0) -> None:
    """Wait until the kernel accepts packets to every IPv6 address of an interface.

    Args:
        changed: The addresses that were added. Without an IPv6 address among them there is nothing to wait for, nor if
            the link is not running.

    Raises KernelError (ETIMEDOUT) after `timeout` seconds.
    """
    if not any(":" in each for each in changed) or not _addresses_without_route(rtnl, ifindex):
        return
    deadline = time.monotonic() + timeout
    with rtnl.netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_IPV6_ROUTE))
        events.setblocking(False)
        poll = select.poll()
        poll.register(events, select.POLLIN)
        while missing := _addresses_without_route(rtnl, ifindex):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                reason = f"{missing[0]} is not usable after {timeout:g} s"
                remedy = "look for another device of the namespace that has this address"
                raise KernelError(errno.ETIMEDOUT, "wait for IPv6 addresses", reason=reason, remedy=remedy)
            discard_events(events)


def _addresses_without_route(rtnl: Rtnl, ifindex: int) -> list[str]:
    link = rtnl.link(ifindex)
    if not (link.up and link.carrier):
        return []
    addresses = [each.address for each in rtnl.addresses(ifindex) if each.family == socket.AF_INET6]
    local = (
        {route.dst.partition("/")[0] for route in rtnl.routes(_RT_TABLE_LOCAL, socket.AF_INET6)} if addresses else set()
    )
    return [each for each in addresses if each not in local]
