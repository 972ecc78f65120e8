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
from tunlab.kernel.netlink import nf_tables as nf
from tunlab.kernel.netlink.constants import NETLINK_NETFILTER
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_CREATE, NetlinkSocket, pack_attribute, pack_message
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.kernel.validation import check_ifname

_PRIORITY_SOURCE_NAT = 100
_TABLE = "tunlab"


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
    expressions = [_meta(nf.NFT_META_OIFNAME), _compare(name), _expression("masq")]
    with NetlinkSocket(opened) as netlink:
        messages = [
            pack_message(nf.NFNL_MSG_BATCH_BEGIN, 0, _nfgenmsg(nf.NFPROTO_UNSPEC, nf.NFNL_SUBSYS_NFTABLES)),
            _request(nf.NFT_MSG_NEWTABLE, pack_attribute(nf.NFTA_TABLE_NAME, _TABLE)),
            _chain("postrouting", "nat", nf.NF_INET_POST_ROUTING, _PRIORITY_SOURCE_NAT),
            _rule("postrouting", expressions),
            pack_message(nf.NFNL_MSG_BATCH_END, 0, _nfgenmsg(nf.NFPROTO_UNSPEC, nf.NFNL_SUBSYS_NFTABLES)),
        ]
        netlink.exchange_batch(messages, operation)


def _request(command: int, *attributes: bytes) -> bytes:
    return pack_message(command, NLM_F_CREATE | NLM_F_ACK, _nfgenmsg(nf.NFPROTO_INET, 0), attributes)


def _nfgenmsg(family: int, resource: int) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _chain(name: str, kind: str, hook: int, priority: int) -> bytes:
    hook_attributes = [
        pack_attribute(nf.NFTA_HOOK_HOOKNUM, _be32(hook)),
        pack_attribute(nf.NFTA_HOOK_PRIORITY, _be32(priority)),
    ]
    return _request(
        nf.NFT_MSG_NEWCHAIN,
        pack_attribute(nf.NFTA_CHAIN_TABLE, _TABLE),
        pack_attribute(nf.NFTA_CHAIN_NAME, name),
        pack_attribute(nf.NFTA_CHAIN_HOOK, hook_attributes),
        pack_attribute(nf.NFTA_CHAIN_TYPE, kind),
    )


def _rule(chain: str, expressions: Sequence[bytes]) -> bytes:
    elements = [pack_attribute(nf.NFTA_LIST_ELEM, [expression]) for expression in expressions]
    return _request(
        nf.NFT_MSG_NEWRULE,
        pack_attribute(nf.NFTA_RULE_TABLE, _TABLE),
        pack_attribute(nf.NFTA_RULE_CHAIN, chain),
        pack_attribute(nf.NFTA_RULE_EXPRESSIONS, elements),
    )


def _expression(name: str, *data: bytes) -> bytes:
    return pack_attribute(nf.NFTA_EXPR_NAME, name) + (pack_attribute(nf.NFTA_EXPR_DATA, data) if data else b"")


def _meta(key: int) -> bytes:
    return _expression(
        "meta", pack_attribute(nf.NFTA_META_DREG, _be32(nf.NFT_REG_1)), pack_attribute(nf.NFTA_META_KEY, _be32(key))
    )


def _compare(value: bytes) -> bytes:
    return _expression(
        "cmp",
        pack_attribute(nf.NFTA_CMP_SREG, _be32(nf.NFT_REG_1)),
        pack_attribute(nf.NFTA_CMP_OP, _be32(nf.NFT_CMP_EQ)),
        pack_attribute(nf.NFTA_CMP_DATA, [pack_attribute(nf.NFTA_DATA_VALUE, value)]),
    )


def _be32(number: int) -> bytes:
    return number.to_bytes(4, "big")
