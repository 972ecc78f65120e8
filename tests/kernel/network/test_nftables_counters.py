"""The counters of a firewall that the test builds from netlink messages."""

import socket
import struct

import pytest

from tunlab.kernel.netlink.netlink_socket import NLM_F_CREATE, NetlinkSocket, pack_attribute, pack_message
from tunlab.kernel.network import nftables as nft
from tunlab.kernel.network.nftables_counters import RuleCounter, read_rule_counters

NF_INET_LOCAL_IN, NF_DROP = 1, 0


@pytest.fixture
def firewall(netns):
    """Return a function that adds an input chain: rule 1 counts and drops ICMP, rule 2 counts the rest."""

    def make(policy=1):
        data = [pack_attribute(1, struct.pack("!I", NF_DROP))]
        drop = nft._expression(
            "immediate", pack_attribute(1, nft._be32(0)), pack_attribute(2, [pack_attribute(2, data)])
        )
        count = nft._expression("counter", pack_attribute(1, bytes(8)), pack_attribute(2, bytes(8)))
        is_icmp = pack_attribute(1, b"\x01")
        icmp = [
            nft._expression(
                "meta", pack_attribute(1, nft._be32(1)), pack_attribute(2, nft._be32(16))
            ),  # NFT_META_L4PROTO
            nft._expression(
                "cmp", pack_attribute(1, nft._be32(1)), pack_attribute(2, nft._be32(0)), pack_attribute(3, [is_icmp])
            ),
        ]
        place = [pack_attribute(1, nft._be32(NF_INET_LOCAL_IN)), pack_attribute(2, nft._be32(0))]
        chain = [
            pack_attribute(1, "tunlab"),
            pack_attribute(3, "input"),
            pack_attribute(4, place),
            pack_attribute(5, nft._be32(policy)),
        ]
        chain.append(pack_attribute(7, "filter"))
        batch = [
            pack_message(16, 0, nft._nfgenmsg(0, 10)),
            nft._request(nft._NEWTABLE, pack_attribute(1, "tunlab")),
            pack_message(nft._NEWCHAIN, NLM_F_CREATE | 4, nft._nfgenmsg(1, 0), chain),
            nft._rule("input", [*icmp, count, drop]),
            nft._rule("input", [count]),
            pack_message(17, 0, nft._nfgenmsg(0, 10)),
        ]
        # NLM_F_APPEND; without it each rule is inserted before the others.
        batch[3:5] = [
            each[:6] + struct.pack("=H", struct.unpack_from("=H", each, 6)[0] | 0x800) + each[8:] for each in batch[3:5]
        ]
        netlink = NetlinkSocket(netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
        try:
            netlink.exchange_batch(batch, "make a firewall")
        finally:
            netlink.close()

    return make


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
    firewall(policy=NF_DROP)
    assert read_rule_counters(netns)[0] == RuleCounter("inet tunlab input", 0, None, "drop")


def test_read_rule_counters_without_firewall_is_empty(netns):
    assert read_rule_counters(netns) == []
