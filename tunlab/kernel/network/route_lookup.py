"""Which way the kernel would send a packet, or whether it would take it: asked of the kernel itself.

Source: rtnetlink(7) for RTM_GETROUTE; inet_rtm_getroute() in net/ipv4/route.c, which for a packet that comes in runs
what it would run for the packet: local, forwarded, refused for its source.
"""

from __future__ import annotations

import errno
import socket
import struct

import msgspec

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink import constants as nl
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NetlinkSocket, pack_attribute, pack_message
from tunlab.kernel.network.models import ROUTE_TYPES
from tunlab.kernel.network.request_attributes import address_family
from tunlab.kernel.validation import parse_address

_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY = 1, 2, 3, 4, 5
_ATTRIBUTE = struct.Struct("=HH")


class RouteLookup(msgspec.Struct, frozen=True):
    """The kernel's answer.

    type      "local", "unicast", "broadcast", …; "" where it refuses
    via       the next hop, "" for none
    ifindex   of the device it leaves by; 0 for none
    error     the error's name, "" for none: "EXDEV" where rp_filter refuses the source, and "EINVAL" where it cannot
              be at all; from Linux 6.13 on "EINVAL" for both
    """

    type: str
    via: str = ""
    ifindex: int = 0
    error: str = ""


def lookup_route(netns: Netns, dst: str, *, src: str = "", ifindex: int = 0) -> RouteLookup:
    """Where a packet to `dst` goes; one from `src` that comes in by the device `ifindex`, where that is given.

    Raises KernelError where the kernel cannot be asked.
    """
    operation = f"ask for the way to {dst}"
    to = parse_address(dst, operation)
    bits = to.max_prefixlen
    attributes = [pack_attribute(_RTA_DST, to.packed)]
    if src:
        attributes.append(pack_attribute(_RTA_SRC, parse_address(src, operation).packed))
    if ifindex:
        attributes.append(pack_attribute(_RTA_IIF, struct.pack("=I", ifindex)))
    fields = _RTMSG.pack(address_family(to.version), bits, bits if src else 0, 0, 0, 0, 0, 0, 0)
    netlink = NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE))
    try:
        (reply,) = netlink.exchange(pack_message(nl.RTM_GETROUTE, NLM_F_ACK, fields, attributes), operation)
    except KernelError as error:
        return RouteLookup("", error=errno.errorcode.get(error.errno or 0, str(error.errno)))
    finally:
        netlink.close()
    kind = _RTMSG.unpack_from(reply, nl.NLMSG_HEADER_SIZE)[7]
    found = _attributes(reply, nl.NLMSG_HEADER_SIZE + _RTMSG.size)
    via = socket.inet_ntop(address_family(to.version), found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else ""
    (out,) = struct.unpack("=I", found.get(_RTA_OIF, bytes(4)))
    return RouteLookup(ROUTE_TYPES[kind] if kind < len(ROUTE_TYPES) else str(kind), via, out)


def _attributes(octets: bytes, place: int) -> dict[int, bytes]:
    found = {}
    while place + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, place)
        found[kind] = octets[place + _ATTRIBUTE.size : place + length]
        place += max(length + 3 & ~3, _ATTRIBUTE.size)
    return found
