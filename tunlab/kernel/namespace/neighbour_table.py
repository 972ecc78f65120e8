"""The table of neighbours, of which there is one for the whole machine, and room in it.

Source: arp(7), gc_thresh3: 1,024 entries by default, of all namespaces together. Those of a namespace that has ended
count until the kernel has taken it apart, which on a busy machine it does late. Where the table is full a kernel sends
nothing to a peer that it has not sent to before, and says so only in its log, and in the reason of the drop
(NEIGH_CREATEFAIL): a test sees an echo that is not answered.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count

from tunlab.kernel.netlink.constants import NLMSG_HEADER_SIZE, RTM_GETNEIGHTBL
from tunlab.kernel.netlink.netlink_socket import NLM_F_DUMP, NetlinkSocket, pack_message, unpack_attributes

_NDTA_THRESH3, _NDTA_CONFIG = 4, 5  # <linux/neighbour.h>, of RTM_GETNEIGHTBL
_ENTRIES = 4  # where struct ndt_config has them: behind two lengths of 16 bits

_EACH = 16  # namespaces from look to look, which takes as long as a fiftieth of making one
_PATIENCE = 5.0  # seconds at most
_TICK = 0.01
_made = count()
_in_vain = [0.0]  # when waiting was of no use: who has a full table of living neighbours is not kept waiting again


def read_usage() -> tuple[int, int]:
    """How many entries the machine's table of IPv4 neighbours has, and how many it can have. Raises KernelError."""
    with closing(NetlinkSocket(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE))) as netlink:
        # The header is struct ndtmsg: a family, and three octets of padding.
        request = pack_message(RTM_GETNEIGHTBL, NLM_F_DUMP, bytes((socket.AF_INET, 0, 0, 0)))
        for reply in netlink.exchange(request, "ask for the table of neighbours"):
            table = unpack_attributes(reply[NLMSG_HEADER_SIZE + 4 :])
            if _NDTA_CONFIG in table and _NDTA_THRESH3 in table:
                entries = table[_NDTA_CONFIG][_ENTRIES : _ENTRIES + 4]
                return int.from_bytes(entries, sys.byteorder), int.from_bytes(table[_NDTA_THRESH3], sys.byteorder)
    return 0, 0


def wait_for_free_entries(look: Callable[[], tuple[int, int]] = read_usage) -> None:
    """For whoever makes a namespace: while the table is half full, wait for those that have ended to be taken apart.

    Looks at every sixteenth call, and waits five seconds at most; after a wait in vain, none for a minute.
    """
    if next(_made) % _EACH or time.monotonic() < _in_vain[0]:
        return
    deadline = time.monotonic() + _PATIENCE
    with suppress(OSError):  # who may not look makes the namespace all the same
        while (table := look())[0] > table[1] // 2:
            if time.monotonic() > deadline:
                _in_vain[0] = time.monotonic() + 60
                return
            select.select([], [], [], _TICK)  # no event tells of it
