"""The kernel's neighbour table, which all namespaces of the machine share, and the wait for free entries.

Source: arp(7), gc_thresh3: 1,024 entries by default. The entries of a closed namespace count until the kernel has
removed it, which a busy machine does late. If the table is full, the kernel sends nothing to new peers and reports it
only in its log and as a drop reason (NEIGH_CREATEFAIL); a test would see an echo request without a reply.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from tunlab.kernel.netlink.constants import NLMSG_HEADER_SIZE, RTM_GETNEIGHTBL
from tunlab.kernel.netlink.netlink_socket import NLM_F_DUMP, NetlinkSocket, pack_message, unpack_attributes

_NDTA_THRESH3, _NDTA_CONFIG = 4, 5  # attributes of RTM_GETNEIGHTBL, from <linux/neighbour.h>
_ENTRIES = 4  # the offset of ndtc_entries in struct ndt_config

# Only every 16th new namespace reads the table. A read takes 2 % of the time that creating a namespace takes.
_CHECK_EVERY = 16
_MAX_WAIT = 5.0  # seconds to wait for free entries
_POLL_INTERVAL = 0.01
_calls = count()
_no_wait_until = [0.0]  # the time until which calls do not wait: a minute after a wait that timed out


def read_usage() -> tuple[int, int]:
    """Return the number of IPv4 neighbour entries on this machine, and the maximum. Raises KernelError."""
    with NetlinkSocket(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as netlink:
        # The request's fixed part is struct ndtmsg: the family and three bytes of padding.
        request = pack_message(RTM_GETNEIGHTBL, NLM_F_DUMP, bytes((socket.AF_INET, 0, 0, 0)))
        for reply in netlink.exchange(request, "read the size of the neighbour table"):
            table = unpack_attributes(reply[NLMSG_HEADER_SIZE + 4 :])
            if _NDTA_CONFIG in table and _NDTA_THRESH3 in table:
                entries = table[_NDTA_CONFIG][_ENTRIES : _ENTRIES + 4]
                return int.from_bytes(entries, sys.byteorder), int.from_bytes(table[_NDTA_THRESH3], sys.byteorder)
    return 0, 0


def wait_for_free_entries(read: Callable[[], tuple[int, int]] = read_usage) -> None:
    """Wait until less than half of the neighbour table is in use; call this before creating a namespace.

    Only every 16th call checks the table. The wait ends after 5 seconds at most; after a timeout, no call waits for a
    minute.
    """
    if next(_calls) % _CHECK_EVERY or time.monotonic() < _no_wait_until[0]:
        return
    deadline = time.monotonic() + _MAX_WAIT
    with suppress(OSError):  # If the table cannot be read, go on without waiting.
        while (table := read())[0] > table[1] // 2:
            if time.monotonic() > deadline:
                _no_wait_until[0] = time.monotonic() + 60
                return
            # Poll, because the kernel sends no event when entries become free.
            select.select([], [], [], _POLL_INTERVAL)
