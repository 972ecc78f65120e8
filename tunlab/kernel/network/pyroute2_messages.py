"""The message classes of pyroute2, which encode and decode rtnetlink messages.

This is the only module that imports pyroute2, and only for the first message, because the import takes 0.1 to 0.3 s.
pyroute2's IPRoute is not used: it starts an event loop (5 ms), and its link("add", kind="tun") forks.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def message_classes() -> dict[str, Any]:
    """Return the message classes by name: "ifinfmsg", "ifaddrmsg", "rtmsg", …"""
    from pyroute2.netlink.rtnl.fibmsg import fibmsg
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg
    from pyroute2.netlink.rtnl.tcmsg import tcmsg

    return {kind.__name__: kind for kind in (fibmsg, ifaddrmsg, ifinfmsg, ndmsg, rtmsg, tcmsg)}
