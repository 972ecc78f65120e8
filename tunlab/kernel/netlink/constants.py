"""Netlink constants and structures by the kernel's names, from <linux/netlink.h> and <linux/rtnetlink.h>."""

from __future__ import annotations

import struct

NETLINK_NETFILTER = 12

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_GETRULE = 34
RTM_GETNEIGHTBL = 66
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38

RTMGRP_LINK = 1
RTMGRP_IPV6_ROUTE = 0x400

TC_H_ROOT = 0xFFFFFFFF
NUD_INCOMPLETE, NUD_NOARP, NUD_PERMANENT = 0x01, 0x40, 0x80
NTF_EXT_LEARNED = 0x10
NDA_DST = 1
RTPROT_STATIC = 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 253, 254, 255

NLMSG_HEADER_SIZE = 16
IFINFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
NDMSG = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, ifindex, state, flags, type
TCMSG = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
