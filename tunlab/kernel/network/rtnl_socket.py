"""A rtnetlink socket of one namespace, and the encoding of its requests."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_REQUEST,
    NetlinkSocket,
)
from tunlab.kernel.network.pyroute2_messages import message_classes


class RtnlSocket(Closeable):
    """A rtnetlink socket of one namespace, usable in any thread, by one thread at a time."""

    __slots__ = ("_netlink", "netns")

    def __init__(self, netns: Netns, opened: socket.socket | None = None) -> None:
        """Open a socket in `netns`, or use one opened there (SOCK_DGRAM, NETLINK_ROUTE)."""
        self.netns = netns
        if opened is None:
            opened = netns.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
        self._netlink = NetlinkSocket(opened)

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._netlink.close()

    @property
    def closed(self) -> bool:
        """True if closed."""
        return self._netlink.fileno() < 0

    def __repr__(self) -> str:
        return f"<Rtnl of {self.netns}{' closed' if self.closed else ''}>"

    def exchange(self, message: bytes, operation: str) -> list[bytes]:
        """Send a packed message and return the replies, as `NetlinkSocket.exchange` does."""
        return self._netlink.exchange(message, operation)

    def _ask(
        self,
        kind: str,
        command: int,
        flags: int,
        operation: str,
        *,
        fields: Mapping[str, int] | None = None,
        attributes: Sequence[tuple[str, Any]] = (),
        ifname: str = "",
    ) -> list[Any]:
        message_class = message_classes()[kind]
        request = message_class()
        request.update(fields or {})
        request["attrs"] = list(attributes)
        request["header"].update(type=command, flags=NLM_F_REQUEST | flags)
        request.encode()
        replies = []
        for data in self._netlink.exchange(request.data, operation, ifname=ifname):
            reply = message_class(data)
            reply.decode()
            replies.append(reply)
        return replies
