"""The counters of a namespace's nf_tables firewall: rules with a counter, and chains with the policy drop.

Source: <linux/netfilter/nf_tables.h>. `nft list ruleset` shows the same counters.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import msgspec

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink import nf_tables as nf
from tunlab.kernel.netlink.constants import NETLINK_NETFILTER
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NetlinkSocket,
    iter_attributes,
    pack_message,
    unpack_attributes,
)

_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HEADER = 20  # length of nlmsghdr and nfgenmsg in bytes


class RuleCounter(msgspec.Struct, frozen=True):
    """A rule with a counter, or a base chain with the policy drop.

    Attributes:
        chain: Family, table and chain, as "inet filter input".
        position: The rule's position in the chain, from 1; 0 for the chain's policy.
        packets: How many packets reached the rule; None if the chain does not count them.
        verdict: "drop", "reject", or "" for any other.
    """

    chain: str
    position: int
    packets: int | None
    verdict: str


def read_rule_counters(netns: Netns) -> list[RuleCounter]:
    """Return every rule with a counter and every chain with the policy drop. Raises KernelError."""
    with NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)) as netlink:
        return [*_chains(netlink), *_rules(netlink)]


def _dump(netlink: NetlinkSocket, command: int, objects: str) -> Iterator[tuple[str, dict[int, bytes]]]:
    request = pack_message(command, NLM_F_DUMP | NLM_F_ACK, struct.pack("!BBH", 0, 0, 0))
    for reply in netlink.exchange(request, f"list the {objects} of nf_tables"):
        yield _FAMILIES.get(reply[16], str(reply[16])), unpack_attributes(reply[_HEADER:])


def _chains(netlink: NetlinkSocket) -> Iterator[RuleCounter]:
    for family, chain in _dump(netlink, nf.NFT_MSG_GETCHAIN, "chains"):
        # Only base chains have a policy, and not all of them count packets.
        if nf.NFTA_CHAIN_POLICY in chain and _number(chain[nf.NFTA_CHAIN_POLICY]) == nf.NF_DROP:
            counters = unpack_attributes(chain.get(nf.NFTA_CHAIN_COUNTERS, b""))
            count = counters.get(nf.NFTA_COUNTER_PACKETS)
            packets = None if count is None else _number(count)
            name = f"{family} {_text(chain[nf.NFTA_CHAIN_TABLE])} {_text(chain[nf.NFTA_CHAIN_NAME])}"
            yield RuleCounter(name, 0, packets, "drop")


def _rules(netlink: NetlinkSocket) -> Iterator[RuleCounter]:
    positions: dict[str, int] = {}
    for family, rule in _dump(netlink, nf.NFT_MSG_GETRULE, "rules"):
        chain = f"{family} {_text(rule[nf.NFTA_RULE_TABLE])} {_text(rule[nf.NFTA_RULE_CHAIN])}"
        positions[chain] = positions.get(chain, 0) + 1
        packets, verdict = None, ""
        for _, element in iter_attributes(rule.get(nf.NFTA_RULE_EXPRESSIONS, b"")):
            expression = unpack_attributes(element)
            name = _text(expression[nf.NFTA_EXPR_NAME])
            data = unpack_attributes(expression.get(nf.NFTA_EXPR_DATA, b""))
            if name == "counter":
                packets = _number(data[nf.NFTA_COUNTER_PACKETS])
            elif name == "reject":
                verdict = "reject"
            elif name == "immediate":
                value = unpack_attributes(data.get(nf.NFTA_IMMEDIATE_DATA, b""))
                code = unpack_attributes(value.get(nf.NFTA_DATA_VERDICT, b"")).get(nf.NFTA_VERDICT_CODE)
                verdict = "drop" if code is not None and _number(code) == nf.NF_DROP else verdict
        if packets is not None:
            yield RuleCounter(chain, positions[chain], packets, verdict)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
