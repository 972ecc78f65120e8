"""The counters of a namespace's nf_tables firewall: rules with a counter, and chains with the policy drop.

Source: <linux/netfilter/nf_tables.h>. `nft list ruleset` shows the same counters.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import msgspec

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.constants import NETLINK_NETFILTER
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NetlinkSocket,
    iter_attributes,
    pack_message,
    unpack_attributes,
)

_SUBSYSTEM = 10 << 8
_GETCHAIN, _GETRULE = _SUBSYSTEM | 4, _SUBSYSTEM | 7
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HEADER = 20  # nlmsghdr and nfgenmsg
_NF_DROP = 0


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
    for family, chain in _dump(netlink, _GETCHAIN, "chains"):
        # NFTA_CHAIN_POLICY is present for base chains only, NFTA_CHAIN_COUNTERS only if the chain counts.
        if 5 in chain and _number(chain[5]) == _NF_DROP:
            counters = unpack_attributes(chain[8]) if 8 in chain else {}
            packets = _number(counters[2]) if 2 in counters else None
            yield RuleCounter(f"{family} {_text(chain[1])} {_text(chain[3])}", 0, packets, "drop")


def _rules(netlink: NetlinkSocket) -> Iterator[RuleCounter]:
    positions: dict[str, int] = {}
    for family, rule in _dump(netlink, _GETRULE, "rules"):
        chain = f"{family} {_text(rule[1])} {_text(rule[2])}"
        positions[chain] = positions.get(chain, 0) + 1
        packets, verdict = None, ""
        for _, element in iter_attributes(rule.get(4, b"")):
            expression = unpack_attributes(element)
            name, data = _text(expression[1]), unpack_attributes(expression.get(2, b""))
            if name == "counter":
                packets = _number(data[2])
            elif name == "reject":
                verdict = "reject"
            elif name == "immediate" and 2 in (value := unpack_attributes(data.get(2, b""))):
                code = unpack_attributes(value[2]).get(1)
                verdict = "drop" if code is not None and _number(code) == _NF_DROP else verdict
        if packets is not None:
            yield RuleCounter(chain, positions[chain], packets, verdict)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
