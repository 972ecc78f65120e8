"""Links that change: waiting for one to become what it was told to be, and hearing of all that happens to them.

The kernel takes carrier changes up in its own time.

A device whose carrier comes back (a veth when its other end goes up, a persistent TUN when it is attached to) drops
what is sent on it until the kernel's link watch has run, up to a second later, and says so nowhere: net/core/
link_watch.c. `running` is the sign that it has.
Source: rtnetlink(7), RTMGRP_LINK.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Literal

import msgspec

from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.constants import NLMSG_HEADER_SIZE, RTM_DELLINK, RTM_NEWLINK, RTMGRP_LINK
from tunlab.kernel.network.models import COUNTERS, Link, link_from_message
from tunlab.kernel.network.pyroute2_messages import message_classes
from tunlab.kernel.network.rtnl import Rtnl

_LARGEST = 1 << 16


def wait_for_link(rtnl: Rtnl, ifindex: int, condition: Callable[[Link], bool], timeout: float) -> bool:
    """Wait until `condition` holds for a link, for `timeout` seconds; False if it did not come to that.

    Raises KernelError (ENODEV) when there is no such link any more.
    """
    deadline = time.monotonic() + timeout
    with rtnl.netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_LINK))
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


class LinkEvent(msgspec.Struct, frozen=True):
    """A link that is new, has changed or is gone.

    where   the name that its namespace was given
    link    as it is now; as it was last, if it is gone
    time    nanoseconds since the epoch, taken when it was read
    """

    where: str
    kind: Literal["new", "changed", "deleted"]
    link: Link
    time: int


class LinkEvents(Closeable):
    """The changes of links in several namespaces, from its making on: every one that the kernel tells of."""

    def __init__(self, namespaces: Mapping[str, Netns]) -> None:
        """Listen in each; raises KernelError."""
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._known: dict[tuple[str, int], Link] = {}
        self._poll = select.poll()
        self._resources = ExitStack()
        with ExitStack() as undo:
            for where, netns in namespaces.items():
                events = undo.enter_context(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
                events.bind((0, RTMGRP_LINK))
                events.setblocking(False)
                self._sockets[events.fileno()] = where, events
                self._poll.register(events, select.POLLIN)
                with Rtnl(netns) as rtnl:
                    self._known |= {(where, link.index): link for link in rtnl.links()}
            self._resources = undo.pop_all()

    def filenos(self) -> list[int]:
        """For poll(2): when one can be read, `read`."""
        return list(self._sockets)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something can be taken, for `timeout` seconds or for ever; False if nothing came."""
        return bool(self._poll.poll(None if timeout is None else timeout * 1000))

    def read(self) -> list[LinkEvent]:
        """What has changed since, in order within each namespace. What changed nothing that a Link has is left out."""
        events = []
        for where, opened in self._sockets.values():
            for octets in _received(opened):
                for deleted, link in _links_in(octets):
                    before = self._known.pop((where, link.index), None)
                    kind: Literal["new", "changed", "deleted"] = "changed" if before is not None else "new"
                    if deleted:
                        kind = "deleted"
                    else:
                        self._known[where, link.index] = link
                    if deleted or before is None or _state(before) != _state(link):
                        events.append(LinkEvent(where, kind, link, time.time_ns()))
        return events

    def close(self) -> None:
        """Stop listening."""
        self._resources.close()


def _state(link: Link) -> Link:
    """The link without what counts by itself."""
    return msgspec.structs.replace(link, **dict.fromkeys(COUNTERS, 0))


def _links_in(octets: bytes) -> list[tuple[bool, Link]]:
    """The links that a message of the group tells of, each with whether it is gone."""
    message_class, found, offset = message_classes()["ifinfmsg"], [], 0
    while offset + NLMSG_HEADER_SIZE <= len(octets):
        size, kind = struct.unpack_from("=IH", octets, offset)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            news = message_class(octets[offset : offset + size])
            news.decode()
            found.append((kind == RTM_DELLINK, link_from_message(news)))
        offset += size + 3 & ~3
    return found


def _received(opened: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield opened.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # some were lost: those after them say how it is
                raise


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
