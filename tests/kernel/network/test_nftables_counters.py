"""The counters of a firewall that the test builds from netlink messages."""

import socket
import struct

import pytest

from tunlab.kernel.netlink import nf_tables as nf
from tunlab.kernel.netlink.constants import NETLINK_NETFILTER
from tunlab.kernel.netlink.netlink_socket import NLM_F_ACK, NLM_F_CREATE, NetlinkSocket, pack_attribute, pack_message
from tunlab.kernel.network.nftables_counters import RuleCounter, read_rule_counters

NLM_F_APPEND = 0x800  # From <linux/netlink.h>. Without this flag, each rule would be inserted before the others.


@pytest.fixture
def firewall(netns):
    """Return a function that adds an input chain: rule 1 counts and drops ICMP, rule 2 counts the rest."""

    def add_firewall(policy=nf.NF_ACCEPT):
        is_icmp = [
            expression("meta", (nf.NFTA_META_DREG, nf.NFT_REG_1), (nf.NFTA_META_KEY, nf.NFT_META_L4PROTO)),
            expression(
                "cmp",
                (nf.NFTA_CMP_SREG, nf.NFT_REG_1),
                (nf.NFTA_CMP_OP, nf.NFT_CMP_EQ),
                (nf.NFTA_CMP_DATA, [pack_attribute(nf.NFTA_DATA_VALUE, bytes([socket.IPPROTO_ICMP]))]),
            ),
        ]
        count = expression("counter", (nf.NFTA_COUNTER_BYTES, bytes(8)), (nf.NFTA_COUNTER_PACKETS, bytes(8)))
        verdict = pack_attribute(nf.NFTA_DATA_VERDICT, [attribute(nf.NFTA_VERDICT_CODE, nf.NF_DROP)])
        drop = expression(
            "immediate", (nf.NFTA_IMMEDIATE_DREG, nf.NFT_REG_VERDICT), (nf.NFTA_IMMEDIATE_DATA, [verdict])
        )
        hook = [attribute(nf.NFTA_HOOK_HOOKNUM, nf.NF_INET_LOCAL_IN), attribute(nf.NFTA_HOOK_PRIORITY, 0)]
        chain = [
            attribute(nf.NFTA_CHAIN_TABLE, "tunlab"),
            attribute(nf.NFTA_CHAIN_NAME, "input"),
            attribute(nf.NFTA_CHAIN_HOOK, hook),
            attribute(nf.NFTA_CHAIN_POLICY, policy),
            attribute(nf.NFTA_CHAIN_TYPE, "filter"),
        ]
        nfnetlink = struct.pack("!BBH", nf.NFPROTO_UNSPEC, 0, nf.NFNL_SUBSYS_NFTABLES)
        batch = [
            pack_message(nf.NFNL_MSG_BATCH_BEGIN, 0, nfnetlink),
            request(nf.NFT_MSG_NEWTABLE, attribute(nf.NFTA_TABLE_NAME, "tunlab")),
            request(nf.NFT_MSG_NEWCHAIN, *chain),
            rule(*is_icmp, count, drop),
            rule(count),
            pack_message(nf.NFNL_MSG_BATCH_END, 0, nfnetlink),
        ]
        with NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)) as netlink:
            netlink.exchange_batch(batch, "add a firewall")

    return add_firewall


def attribute(kind, value):
    """Return a packed attribute; nf_tables has numbers in network byte order."""
    return pack_attribute(kind, struct.pack("!I", value) if isinstance(value, int) else value)


def expression(name, *data):
    packed = [attribute(*each) for each in data]
    return pack_attribute(nf.NFTA_EXPR_NAME, name) + pack_attribute(nf.NFTA_EXPR_DATA, packed)


def rule(*expressions):
    elements = [pack_attribute(nf.NFTA_LIST_ELEM, [each]) for each in expressions]
    return request(
        nf.NFT_MSG_NEWRULE,
        attribute(nf.NFTA_RULE_TABLE, "tunlab"),
        attribute(nf.NFTA_RULE_CHAIN, "input"),
        attribute(nf.NFTA_RULE_EXPRESSIONS, elements),
    )


def request(command, *attributes):
    fields = struct.pack("!BBH", nf.NFPROTO_INET, 0, 0)
    return pack_message(command, NLM_F_CREATE | NLM_F_ACK | NLM_F_APPEND, fields, attributes)


def test_read_rule_counters_returns_packets_and_verdicts(netns, tun, firewall, echo_request, datagram):
    firewall()
    tun.write(echo_request())
    tun.write(echo_request())
    tun.write(datagram(b"12345678", protocol=17))
    assert read_rule_counters(netns) == [
        RuleCounter("inet tunlab input", 1, 2, "drop"),
        RuleCounter("inet tunlab input", 2, 1, ""),
    ]


def test_read_rule_counters_includes_drop_policy(netns, firewall):
    firewall(policy=nf.NF_DROP)
    assert read_rule_counters(netns)[0] == RuleCounter("inet tunlab input", 0, None, "drop")


def test_read_rule_counters_without_firewall_returns_no_counters(netns):
    assert read_rule_counters(netns) == []
