"""Source NAT on a router, and silence on a device that another program holds, by nf_tables.

Source: <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>. The messages are those of
    table inet tunlab {
        chain postrouting { type nat hook postrouting priority 100; oifname "eth1" masquerade }
    }
    table netdev tunlab {
        chain ingress { type filter hook ingress device "tun0" priority -500; policy drop; }
        chain egress { type filter hook egress device "tun0" priority -500; policy drop; meta mark 1 accept }
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
_PRIORITY_BEFORE_ALL = -500
_TABLE = "tunlab"


def masquerade(netns: Netns, ifname: str) -> None:
    """Rewrite the source of every packet forwarded out of `ifname` to that interface's address.

    Raises:
        PrivilegeError: CAP_NET_ADMIN is missing.
        KernelError: The kernel lacks nf_tables (EPROTONOSUPPORT) or its NAT modules (ENOENT), among others.
    """
    operation = f"masquerade behind {ifname}"
    name = check_ifname(ifname, operation).encode().ljust(16, b"\0")
    absent = "the kernel's nf_tables has no NAT", "load its modules with modprobe nft_masq"
    messages = [
        _request(nf.NFT_MSG_NEWTABLE, pack_attribute(nf.NFTA_TABLE_NAME, _TABLE)),
        _chain("postrouting", "nat", nf.NF_INET_POST_ROUTING, _PRIORITY_SOURCE_NAT),
        _rule("postrouting", [_meta(nf.NFT_META_OIFNAME), _compare(name), _expression("masq")]),
    ]
    _load(netns, ifname, messages, operation, absent)


def silence(netns: Netns, ifname: str, mark: int) -> None:
    """Keep the namespace's own IP silent on a device, whatever addresses it has.

    IP does not see what is received on the device, and only packets with this mark are sent on it. Packet sockets
    receive both, because they come before the drop on receipt.

    Raises:
        PrivilegeError: CAP_NET_ADMIN is missing.
        KernelError: The kernel lacks nf_tables (EPROTONOSUPPORT) or its egress hook (EOPNOTSUPP, before Linux 5.16).
    """
    operation = f"silence the namespace's IP on {ifname}"
    check_ifname(ifname, operation)
    absent = "the kernel's nf_tables has no netdev family", "enable CONFIG_NF_TABLES_NETDEV in the kernel"
    rule = [_meta(nf.NFT_META_MARK), _compare(struct.pack("=I", mark)), _accept()]
    family = nf.NFPROTO_NETDEV
    messages = [
        _request(nf.NFT_MSG_NEWTABLE, pack_attribute(nf.NFTA_TABLE_NAME, _TABLE), family=family),
        _chain("ingress", "filter", nf.NF_NETDEV_INGRESS, _PRIORITY_BEFORE_ALL, drop_on=ifname),
        _chain("egress", "filter", nf.NF_NETDEV_EGRESS, _PRIORITY_BEFORE_ALL, drop_on=ifname),
        _rule("egress", rule, family=family),
    ]
    _load(netns, ifname, messages, operation, absent)


def _load(netns: Netns, ifname: str, messages: Sequence[bytes], operation: str, absent: tuple[str, str]) -> None:
    no_nf_tables = "the kernel has no nf_tables", "load it with modprobe nf_tables"
    reasons = {errno.EPROTONOSUPPORT: no_nf_tables, errno.ENOENT: absent, errno.EOPNOTSUPP: absent}
    edge = _nfgenmsg(nf.NFPROTO_UNSPEC, nf.NFNL_SUBSYS_NFTABLES)
    with translate_os_errors(operation, needs="CAP_NET_ADMIN", reasons=reasons, netns=str(netns), ifname=ifname):
        opened = netns.call(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with NetlinkSocket(opened) as netlink:
        begin, end = (pack_message(kind, 0, edge) for kind in (nf.NFNL_MSG_BATCH_BEGIN, nf.NFNL_MSG_BATCH_END))
        netlink.exchange_batch([begin, *messages, end], operation)


def _request(command: int, *attributes: bytes, family: int = nf.NFPROTO_INET) -> bytes:
    return pack_message(command, NLM_F_CREATE | NLM_F_ACK, _nfgenmsg(family, 0), attributes)


def _nfgenmsg(family: int, resource: int) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _chain(name: str, kind: str, hook: int, priority: int, *, drop_on: str = "") -> bytes:
    """Return the request for a chain; one on a device, `drop_on`, drops packets that no rule accepts."""
    hook_attributes = [
        pack_attribute(nf.NFTA_HOOK_HOOKNUM, _be32(hook)),
        pack_attribute(nf.NFTA_HOOK_PRIORITY, _be32(priority & 0xFFFF_FFFF)),
    ]
    policy, family = [], nf.NFPROTO_INET
    if drop_on:
        hook_attributes.append(pack_attribute(nf.NFTA_HOOK_DEV, drop_on))
        policy, family = [pack_attribute(nf.NFTA_CHAIN_POLICY, _be32(nf.NF_DROP))], nf.NFPROTO_NETDEV
    return _request(
        nf.NFT_MSG_NEWCHAIN,
        pack_attribute(nf.NFTA_CHAIN_TABLE, _TABLE),
        pack_attribute(nf.NFTA_CHAIN_NAME, name),
        pack_attribute(nf.NFTA_CHAIN_HOOK, hook_attributes),
        pack_attribute(nf.NFTA_CHAIN_TYPE, kind),
        *policy,
        family=family,
    )


def _rule(chain: str, expressions: Sequence[bytes], *, family: int = nf.NFPROTO_INET) -> bytes:
    elements = [pack_attribute(nf.NFTA_LIST_ELEM, [expression]) for expression in expressions]
    return _request(
        nf.NFT_MSG_NEWRULE,
        pack_attribute(nf.NFTA_RULE_TABLE, _TABLE),
        pack_attribute(nf.NFTA_RULE_CHAIN, chain),
        pack_attribute(nf.NFTA_RULE_EXPRESSIONS, elements),
        family=family,
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


def _accept() -> bytes:
    verdict = pack_attribute(nf.NFTA_DATA_VERDICT, [pack_attribute(nf.NFTA_VERDICT_CODE, _be32(nf.NF_ACCEPT))])
    return _expression(
        "immediate",
        pack_attribute(nf.NFTA_IMMEDIATE_DREG, _be32(nf.NFT_REG_VERDICT)),
        pack_attribute(nf.NFTA_IMMEDIATE_DATA, [verdict]),
    )


def _be32(number: int) -> bytes:
    return number.to_bytes(4, "big")
