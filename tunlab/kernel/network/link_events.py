"""Changes of links: waiting for a link's state, and events of every change.

When the carrier of an interface returns (a veth whose other end goes up, a persistent TUN that a program attaches to),
the interface silently drops packets until the kernel's link watch has run, up to a second later (net/core/
link_watch.c). After that, `Link.running` is True.
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

_MAX_DATAGRAM = 1 << 16


def wait_for_link(rtnl: Rtnl, ifindex: int, condition: Callable[[Link], bool], timeout: float) -> bool:
    """Wait until `condition` is true for a link; return False if it does not within `timeout` seconds.

    Raises KernelError (ENODEV) if the link does not exist.
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
            discard_events(events)
    return True


def wait_until_running(rtnl: Rtnl, ifindex: int, timeout: float = 5.0) -> bool:
    """Wait until a link that is up has a carrier and transmits; return False after `timeout` seconds."""
    return wait_for_link(rtnl, ifindex, lambda link: link.running, timeout)


class LinkEvent(msgspec.Struct, frozen=True):
    """A new, changed or deleted link.

    Attributes:
        where: The namespace's name, as given to LinkEvents.
        kind: The change.
        link: The link's state after the change; its last state if deleted.
        time: The time of reading, in nanoseconds since the epoch.
    """

    where: str
    kind: Literal["new", "changed", "deleted"]
    link: Link
    time: int


class LinkEvents(Closeable):
    """The link changes in several namespaces since this object was created."""

    def __init__(self, namespaces: Mapping[str, Netns]) -> None:
        """Subscribe to link changes; the keys of `namespaces` are the names in events. Raises KernelError."""
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
        """Return the descriptors for poll(2); when one is readable, call `read`."""
        return list(self._sockets)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for an event; return False if none came within `timeout` seconds. None waits without limit."""
        return bool(self._poll.poll(None if timeout is None else timeout * 1000))

    def read(self) -> list[LinkEvent]:
        """Return the changes since the last call, in order within each namespace.

        Events that change no field of `Link` except counters are left out.
        """
        events = []
        for where, opened in self._sockets.values():
            for data in _received(opened):
                for deleted, link in _links_in(data):
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
        """Close the sockets."""
        self._resources.close()


def _state(link: Link) -> Link:
    """Return the link with its counters set to 0, so that links compare equal if only counters differ."""
    return msgspec.structs.replace(link, **dict.fromkeys(COUNTERS, 0))


def _links_in(data: bytes) -> list[tuple[bool, Link]]:
    """Return the links of a datagram of RTMGRP_LINK, each with True if it was deleted."""
    message_class, found, offset = message_classes()["ifinfmsg"], [], 0
    while offset + NLMSG_HEADER_SIZE <= len(data):
        size, kind = struct.unpack_from("=IH", data, offset)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            message = message_class(data[offset : offset + size])
            message.decode()
            found.append((kind == RTM_DELLINK, link_from_message(message)))
        offset += size + 3 & ~3
    return found


def _received(opened: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield opened.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # ENOBUFS: events were lost. Later events show the current state.
                raise


def discard_events(events: socket.socket) -> None:
    """Read and discard all events of a non-blocking socket, also if some were lost (ENOBUFS): the caller asks again."""
    while True:
        try:
            events.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
