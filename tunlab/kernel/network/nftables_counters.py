"""What a firewall in a namespace has counted: each rule that has a counter, and the chains that drop by policy.

Source: <linux/netfilter/nf_tables.h>; nft(8) shows the same with `nft list ruleset`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import msgspec

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_DUMP, NetlinkSocket, pack_message

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10 << 8
_GETCHAIN, _GETRULE = _SUBSYSTEM | 4, _SUBSYSTEM | 7
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HEADER = 20  # nlmsghdr and nfgenmsg
_NF_DROP = 0


class RuleCounter(msgspec.Struct, frozen=True):
    """A rule with a counter, or a base chain whose policy is drop.

    chain      "inet filter input"
    position   the rule's, from 1; 0 for the chain's policy
    packets    how many it met; None where that was not counted
    verdict    "drop", "reject", or "" for what neither drops nor rejects
    """

    chain: str
    position: int
    packets: int | None
    verdict: str


def read_rule_counters(netns: Netns) -> list[RuleCounter]:
    """The rules with a counter, and the chains with the policy drop, as they stand. Raises KernelError."""
    netlink = NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER))
    try:
        return [*_chains(netlink), *_rules(netlink)]
    finally:
        netlink.close()


def _dump(netlink: NetlinkSocket, command: int, what: str) -> Iterator[tuple[str, dict[int, bytes]]]:
    request = pack_message(command, NLM_F_DUMP | NLM_F_ACK, struct.pack("!BBH", 0, 0, 0))
    for reply in netlink.exchange(request, f"list the {what} of nf_tables"):
        yield _FAMILIES.get(reply[16], str(reply[16])), dict(_attributes(reply[_HEADER:]))


def _chains(netlink: NetlinkSocket) -> Iterator[RuleCounter]:
    for family, chain in _dump(netlink, _GETCHAIN, "chains"):
        # NFTA_CHAIN_POLICY is there for a base chain alone; NFTA_CHAIN_COUNTERS where it counts.
        if 5 in chain and _number(chain[5]) == _NF_DROP:
            counted = dict(_attributes(chain[8])) if 8 in chain else {}
            packets = _number(counted[2]) if 2 in counted else None
            yield RuleCounter(f"{family} {_text(chain[1])} {_text(chain[3])}", 0, packets, "drop")


def _rules(netlink: NetlinkSocket) -> Iterator[RuleCounter]:
    positions: dict[str, int] = {}
    for family, rule in _dump(netlink, _GETRULE, "rules"):
        chain = f"{family} {_text(rule[1])} {_text(rule[2])}"
        positions[chain] = positions.get(chain, 0) + 1
        packets, verdict = None, ""
        for _, element in _attributes(rule.get(4, b"")):
            expression = dict(_attributes(element))
            name, data = _text(expression[1]), dict(_attributes(expression.get(2, b"")))
            if name == "counter":
                packets = _number(data[2])
            elif name == "reject":
                verdict = "reject"
            elif name == "immediate" and 2 in (value := dict(_attributes(data.get(2, b"")))):
                code = dict(_attributes(value[2])).get(1)
                verdict = "drop" if code is not None and _number(code) == _NF_DROP else verdict
        if packets is not None:
            yield RuleCounter(chain, positions[chain], packets, verdict)


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(octets):
        length, kind = struct.unpack_from("=HH", octets, place)
        yield kind & 0x3FFF, octets[place + 4 : place + length]
        place += max(length + 3 & ~3, 4)


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode(errors="replace")


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")
