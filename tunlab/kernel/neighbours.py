"""Making room in the table of neighbours, of which there is one for the whole machine.

Source: arp(7), gc_thresh3: 1,024 entries by default, of all namespaces together, and none is given up within the first
five seconds of its life; a switch with 33 hosts that all speak to each other has more.
"""

from __future__ import annotations

import errno

from tunlab.errors import KernelError
from tunlab.kernel.netlink import NLM_F_ACK, NLM_F_DUMP, message
from tunlab.kernel.rtnetlink import (
    NDMSG,
    NLMSG_HEADER_SIZE,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
)
from tunlab.kernel.rtnl import Rtnl

# Packets wait for one that is incomplete: its end would be reported as theirs.
_KEPT = NUD_INCOMPLETE | NUD_NOARP | NUD_PERMANENT


def forget_neighbours(rtnl: Rtnl) -> int:
    """Delete what a namespace has learned of its neighbours; it asks anew. Returns how many there were."""
    forgotten = 0
    for found in rtnl.exchange(message(RTM_GETNEIGH, NLM_F_DUMP, NDMSG.pack(0, 0, 0, 0, 0)), "list the neighbours"):
        if NDMSG.unpack_from(found, NLMSG_HEADER_SIZE)[2] & _KEPT:
            continue
        try:
            rtnl.exchange(message(RTM_DELNEIGH, NLM_F_ACK, found[NLMSG_HEADER_SIZE:]), "forget a neighbour")
        except KernelError as error:
            if error.errno != errno.ENOENT:  # gone by itself meanwhile
                raise
        else:
            forgotten += 1
    return forgotten
