"""Source NAT on a router, by nf_tables.

Source: <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>. The messages are those of
    table inet tunlab {
        chain postrouting { type nat hook postrouting priority 100; oifname "eth1" masquerade }
    }
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.constants import NETLINK_NETFILTER
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_CREATE, NetlinkSocket, pack_attribute, pack_message
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.kernel.validation import check_ifname

_NFNL_SUBSYS_NFTABLES = 10
_NFNL_MSG_BATCH_BEGIN, _NFNL_MSG_BATCH_END = 16, 17
_NEWTABLE, _NEWCHAIN, _NEWRULE = (_NFNL_SUBSYS_NFTABLES << 8 | command for command in (0, 3, 6))
_NFPROTO_UNSPEC, _NFPROTO_INET = 0, 1
_NF_INET_POST_ROUTING = 4
_PRIORITY_SOURCE_NAT = 100

_TABLE = "tunlab"
_VALUE, _LIST_ELEMENT = 1, 1  # NFTA_DATA_VALUE, NFTA_LIST_ELEM
_REGISTER = 1
_META_OIFNAME = 7
_EQUAL = 0


def masquerade(netns: Netns, ifname: str) -> None:
    """Rewrite the source of every packet forwarded out of `ifname` to that interface's address.

    Raises:
        PrivilegeError: CAP_NET_ADMIN is missing.
        KernelError: The kernel lacks nf_tables (EPROTONOSUPPORT) or its NAT modules (ENOENT), among others.
    """
    operation = f"masquerade behind {ifname}"
    name = check_ifname(ifname, operation).encode().ljust(16, b"\0")
    reasons = {
        errno.EPROTONOSUPPORT: (
            "the kernel has no nf_tables",
            "load it with modprobe nf_tables, or remove the nat key of this router",
        ),
        errno.ENOENT: (
            "the kernel's nf_tables has no NAT",
            "load its modules with modprobe nft_masq",
        ),
    }
    with translate_os_errors(operation, needs="CAP_NET_ADMIN", reasons=reasons, netns=str(netns), ifname=ifname):
        opened = netns.call(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    expressions = [_meta(_META_OIFNAME), _compare(name), _expression("masq")]
    with NetlinkSocket(opened) as netlink:
        messages = [
            pack_message(_NFNL_MSG_BATCH_BEGIN, 0, _nfgenmsg(_NFPROTO_UNSPEC, _NFNL_SUBSYS_NFTABLES)),
            _request(_NEWTABLE, pack_attribute(1, _TABLE)),
            _chain("postrouting", "nat", _NF_INET_POST_ROUTING, _PRIORITY_SOURCE_NAT),
            _rule("postrouting", expressions),
            pack_message(_NFNL_MSG_BATCH_END, 0, _nfgenmsg(_NFPROTO_UNSPEC, _NFNL_SUBSYS_NFTABLES)),
        ]
        netlink.exchange_batch(messages, operation)


def _request(command: int, *attributes: bytes) -> bytes:
    return pack_message(command, NLM_F_CREATE | NLM_F_ACK, _nfgenmsg(_NFPROTO_INET, 0), attributes)


def _nfgenmsg(family: int, resource: int) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _chain(name: str, kind: str, hook: int, priority: int) -> bytes:
    hook_attributes = [pack_attribute(1, _be32(hook)), pack_attribute(2, _be32(priority))]
    return _request(
        _NEWCHAIN,
        pack_attribute(1, _TABLE),
        pack_attribute(3, name),
        pack_attribute(4, hook_attributes),
        pack_attribute(7, kind),
    )


def _rule(chain: str, expressions: Sequence[bytes]) -> bytes:
    elements = [pack_attribute(_LIST_ELEMENT, [expression]) for expression in expressions]
    return _request(_NEWRULE, pack_attribute(1, _TABLE), pack_attribute(2, chain), pack_attribute(4, elements))


def _expression(name: str, *data: bytes) -> bytes:
    return pack_attribute(1, name) + (pack_attribute(2, data) if data else b"")


def _meta(key: int) -> bytes:
    return _expression("meta", pack_attribute(1, _be32(_REGISTER)), pack_attribute(2, _be32(key)))


def _compare(value: bytes) -> bytes:
    data = pack_attribute(3, [pack_attribute(_VALUE, value)])
    return _expression("cmp", pack_attribute(1, _be32(_REGISTER)), pack_attribute(2, _be32(_EQUAL)), data)


def _be32(number: int) -> bytes:
    return number.to_bytes(4, "big")
