"""`tunlab replay` of recordings that a router made: they can be replayed into a lab only."""

import re

import pytest

from tests.report.recordings import KERNEL, PEER
from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import UDP, IPv4, IPv6, build
from tunlab.recorder import PcapngWriter
from tunlab.report.evidence import RecordedNetns, gather_evidence, to_pcapng
from tunlab.traffic import Tun

KERNEL6, PEER6 = "fd00::1", "fd00::2"


@pytest.fixture
def record_router(tmp_path):
    """Return a function that records a router with two TUNs while it forwards a packet with the given IP fields."""

    def save(**fields):
        file = tmp_path / "router.pcapng"
        if ":" in fields.get("dst", ""):
            forwarding, addresses = {"net.ipv6.conf.all.forwarding": "1"}, (f"{KERNEL6}/64", "fd01::1/64")
            ip = IPv6(src=PEER6, **fields)
        else:
            forwarding, addresses = {"net.ipv4.ip_forward": "1"}, (f"{KERNEL}/24", "10.1.3.1/24")
            ip = IPv4(**{"src": PEER, "dst": "10.1.3.9", **fields})
        ipv6 = isinstance(ip, IPv6)
        with Netns.create(ipv6=ipv6, sysctls=forwarding) as netns, NetnsCapture.open(netns) as record:
            first = Tun.create(addresses[0], netns=netns)
            with first, Tun.create(addresses[1], ifname="tun1", netns=netns) as second:
                first.inject(ip, UDP(src_port=1, dst_port=2), b"for another")
                evidence = gather_evidence([RecordedNetns("kernel", netns, record, [first, second])])
        file.write_bytes(to_pcapng(evidence, comment=""))
        return str(file)

    return save


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, "packet 1 was forwarded to tun1 as packet 2"),
        ({"dst": "10.1.2.9"}, "packet 2 is a router's ICMP message (redirect)"),
        ({"ttl": 1}, "packet 2 is a router's ICMP message (TTL exceeded in transit)"),
        ({"dst": "192.0.2.1"}, "packet 2 is a router's ICMP message (network unreachable)"),
        # An IPv6 router also sends MLD reports, so the numbers of the packets are not always the same.
        ({"dst": "fd01::9"}, "packet # was forwarded to tun1 as packet #"),
        ({"dst": "fd01::9", "hop_limit": 1}, "packet # is a router's ICMPv6 message (hop limit exceeded in transit)"),
        ({"dst": "fd02::9"}, "packet # is a router's ICMPv6 message (no route to destination)"),
    ],
    ids=["passed on", "passed back", "TTL", "no route", "passed on, IPv6", "hop limit", "no route, IPv6"],
)
def test_replay_of_a_router_recording_exits_65(tunlab, record_router, fields, seen):
    file = record_router(**fields)
    result = tunlab("replay", file)
    assert (result.status, result.out) == (65, "")
    assert re.match(re.escape(f"tunlab: {file}: {seen}").replace(r"\#", r"\d+"), result.err)
    assert "the recorded kernel was a router or firewall" in result.err


def test_replay_of_a_router_recording_into_a_running_lab_exits_0(tunlab, lab, record_router):
    result = tunlab("replay", record_router(), lab.name, "--interface", "tun0")
    assert (result.status, result.err) == (0, "1 packet replayed: no answer from tun0, as recorded\n")


def test_replay_of_a_nat_router_recording_prints_an_error(tunlab, tmp_path):
    file = tmp_path / "nat.pcapng"
    with PcapngWriter.create(file) as writer:
        inside, outside = writer.add_interface("tun0"), writer.add_interface("tun1")
        before = build(IPv4(src=PEER, dst="192.0.2.1", ttl=9), UDP(src_port=1, dst_port=2), b"x")
        after = build(IPv4(src="10.1.3.1", dst="192.0.2.1", ttl=8), UDP(src_port=77, dst_port=2), b"x")
        writer.write(inside, before, time_ns=0, direction="in")
        writer.write(outside, after, time_ns=0, direction="out")
    assert "was forwarded to tun1" in tunlab("replay", str(file)).err
