"""A route lookup by the kernel itself: where it would send a packet, or why it would refuse one.

Source: rtnetlink(7) for RTM_GETROUTE. For a packet that arrives on an interface, inet_rtm_getroute() in
net/ipv4/route.c runs the same code as for a real one: local delivery, forwarding, source validation.
"""

from __future__ import annotations

import errno
import socket
import struct

import msgspec

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink import constants as nl
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NetlinkSocket,
    pack_attribute,
    pack_message,
    unpack_attributes,
)
from tunlab.kernel.network.models import ROUTE_TYPES
from tunlab.kernel.network.request_attributes import address_family
from tunlab.kernel.validation import parse_address

_RTMSG = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY = 1, 2, 3, 4, 5


class RouteLookup(msgspec.Struct, frozen=True):
    """The kernel's answer to a route lookup.

    Attributes:
        type: "local", "unicast", "broadcast", …; "" if the lookup failed.
        via: The next hop, or "".
        ifindex: The outgoing interface, or 0.
        error: The error's name, or "". "EXDEV": rp_filter rejects the source. "EINVAL": the source is invalid; from
            Linux 6.13 on also for rp_filter.
    """

    type: str
    via: str = ""
    ifindex: int = 0
    error: str = ""


def lookup_route(netns: Netns, dst: str, *, src: str = "", ifindex: int = 0) -> RouteLookup:
    """Return the route of a packet to `dst`.

    Args:
        netns: The namespace whose routes are used.
        dst: The destination address.
        src: The source address, or "".
        ifindex: The interface that the packet arrives on; 0 for a packet that the namespace itself sends.

    Raises:
        KernelError: The socket cannot be opened, or an address cannot be parsed.
    """
    operation = f"look up the route to {dst}"
    to = parse_address(dst, operation)
    bits = to.max_prefixlen
    attributes = [pack_attribute(_RTA_DST, to.packed)]
    if src:
        attributes.append(pack_attribute(_RTA_SRC, parse_address(src, operation).packed))
    if ifindex:
        attributes.append(pack_attribute(_RTA_IIF, struct.pack("=I", ifindex)))
    fields = _RTMSG.pack(address_family(to.version), bits, bits if src else 0, 0, 0, 0, 0, 0, 0)
    request = pack_message(nl.RTM_GETROUTE, NLM_F_ACK, fields, attributes)
    with NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as netlink:
        try:
            (reply,) = netlink.exchange(request, operation)
        except KernelError as error:
            return RouteLookup("", error=errno.errorcode.get(error.errno or 0, str(error.errno)))
    kind = _RTMSG.unpack_from(reply, nl.NLMSG_HEADER_SIZE)[7]
    found = unpack_attributes(reply[nl.NLMSG_HEADER_SIZE + _RTMSG.size :])
    via = socket.inet_ntop(address_family(to.version), found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else ""
    (out,) = struct.unpack("=I", found.get(_RTA_OIF, bytes(4)))
    return RouteLookup(ROUTE_TYPES[kind] if kind < len(ROUTE_TYPES) else str(kind), via, out)
