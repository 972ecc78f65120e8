"""Neighbour entries that do not use up the machine's neighbour table.

Source: arp(7), gc_thresh3: 1,024 entries by default for all namespaces together, and the kernel frees no entry in its
first five seconds; a switch with 33 hosts that all talk to each other needs more. <linux/neighbour.h> for states and
flags; neigh_add() in net/core/neighbour.c for the entries that the limit does not count.
"""

from __future__ import annotations

import errno
import socket

from tunlab.errors import KernelError
from tunlab.kernel.netlink.constants import (
    NDA_DST,
    NDMSG,
    NLMSG_HEADER_SIZE,
    NTF_EXT_LEARNED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
)
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    pack_attribute,
    pack_message,
)
from tunlab.kernel.network.rtnl import Rtnl

# Neighbour entries in these states are kept. Packets wait for an incomplete entry and would fail if it were deleted.
_KEPT = NUD_INCOMPLETE | NUD_NOARP | NUD_PERMANENT


def flush_neighbours(rtnl: Rtnl) -> int:
    """Delete the neighbour entries that the kernel has learned, and return their number."""
    deleted = 0
    for found in rtnl.exchange(
        pack_message(RTM_GETNEIGH, NLM_F_DUMP, NDMSG.pack(0, 0, 0, 0, 0)), "list the neighbours"
    ):
        if NDMSG.unpack_from(found, NLMSG_HEADER_SIZE)[2] & _KEPT:
            continue
        try:
            rtnl.exchange(pack_message(RTM_DELNEIGH, NLM_F_ACK, found[NLMSG_HEADER_SIZE:]), "delete a neighbour")
        except KernelError as error:
            if error.errno != errno.ENOENT:  # ENOENT: the kernel has deleted the entry meanwhile.
                raise
        else:
            deleted += 1
    return deleted


def reserve_neighbour(rtnl: Rtnl, ifindex: int) -> None:
    """Add the only IPv4 neighbour of a point-to-point interface, 0.0.0.0, as an entry that gc_thresh3 does not count.

    Packets then leave this interface even if the table is full. The kernel deletes the entry when the link goes down.
    Raises KernelError.
    """
    header = NDMSG.pack(socket.AF_INET, ifindex, NUD_NOARP, NTF_EXT_LEARNED, 0)
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    rtnl.exchange(
        pack_message(RTM_NEWNEIGH, flags, header, [pack_attribute(NDA_DST, bytes(4))]), "reserve the neighbour 0.0.0.0"
    )
