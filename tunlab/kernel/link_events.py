"""Waiting for a link to become what it was told to be: the kernel takes carrier changes up in its own time.

A device whose carrier comes back (a veth when its other end goes up, a persistent TUN when it is attached to) drops
what is sent on it until the kernel's link watch has run, up to a second later, and says so nowhere: net/core/
link_watch.c. `running` is the sign that it has.
Source: rtnetlink(7), RTMGRP_LINK.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable

from tunlab.kernel.rtnl import Rtnl
from tunlab.kernel.tables import Link

_RTMGRP_LINK = 1


def wait_for_link(rtnl: Rtnl, ifindex: int, condition: Callable[[Link], bool], timeout: float) -> bool:
    """Wait until `condition` holds for a link, for `timeout` seconds; False if it did not come to that.

    Raises KernelError (ENODEV) when there is no such link any more.
    """
    deadline = time.monotonic() + timeout
    with rtnl.netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, _RTMGRP_LINK))
        events.setblocking(False)
        poll = select.poll()
        poll.register(events, select.POLLIN)
        while not condition(rtnl.link(ifindex)):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return condition(rtnl.link(ifindex))
            _drain(events)
    return True


def wait_until_running(rtnl: Rtnl, ifindex: int, timeout: float = 5.0) -> bool:
    """Wait until a link that is up has its carrier and transmits; False after `timeout` seconds."""
    return wait_for_link(rtnl, ifindex, lambda link: link.running, timeout)


def _drain(events: socket.socket) -> None:
    # What an event says is not read: the link is asked anew, which also serves where events were lost (ENOBUFS).
    while True:
        try:
            events.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
