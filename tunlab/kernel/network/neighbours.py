"""Room in the table of neighbours, of which there is one for the whole machine: made, and done without.

Source: arp(7), gc_thresh3: 1,024 entries by default, of all namespaces together, and none is given up within the first
five seconds of its life; a switch with 33 hosts that all speak to each other has more. <linux/neighbour.h> for the
states and flags; net/core/neighbour.c, neigh_add(), for which entries the limit leaves out.
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

# Packets wait for one that is incomplete: its end would be reported as theirs.
_KEPT = NUD_INCOMPLETE | NUD_NOARP | NUD_PERMANENT


def flush_neighbours(rtnl: Rtnl) -> int:
    """Delete what a namespace has learned of its neighbours; it asks anew. Returns how many there were."""
    forgotten = 0
    for found in rtnl.exchange(
        pack_message(RTM_GETNEIGH, NLM_F_DUMP, NDMSG.pack(0, 0, 0, 0, 0)), "list the neighbours"
    ):
        if NDMSG.unpack_from(found, NLMSG_HEADER_SIZE)[2] & _KEPT:
            continue
        try:
            rtnl.exchange(pack_message(RTM_DELNEIGH, NLM_F_ACK, found[NLMSG_HEADER_SIZE:]), "forget a neighbour")
        except KernelError as error:
            if error.errno != errno.ENOENT:  # gone by itself meanwhile
                raise
        else:
            forgotten += 1
    return forgotten


def reserve_neighbour(rtnl: Rtnl, ifindex: int) -> None:
    """Enter the one IPv4 neighbour that a point-to-point device has, 0.0.0.0, as one that the limit does not count.

    A full table then keeps no datagram from leaving by this device. The kernel drops the entry when the link goes down.
    Raises KernelError.
    """
    header = NDMSG.pack(socket.AF_INET, ifindex, NUD_NOARP, NTF_EXT_LEARNED, 0)
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    rtnl.exchange(
        pack_message(RTM_NEWNEIGH, flags, header, [pack_attribute(NDA_DST, bytes(4))]), "enter the device's neighbour"
    )
