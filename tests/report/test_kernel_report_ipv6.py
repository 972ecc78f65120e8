"""The kernel report of a failed test with IPv6: the drop, the counters and the route of each packet are explained."""

import pytest

from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import UDP, Fragment, ICMPv6, IPv6, build
from tunlab.report.evidence import RecordedNetns, gather_evidence
from tunlab.report.kernel_report import kernel_report
from tunlab.traffic import Tun

PEER, OWN = "fd00::2", "fd00::1"
PORTS = UDP(src_port=1, dst_port=2)


def ip(**fields):
    return IPv6(**{"src": PEER, "dst": OWN, **fields})


CASES = {
    "good echo": (build(ip(), ICMPv6.echo_request(1, 1)), []),
    "no UDP socket": (
        build(ip(), PORTS),
        ["dropped 1 packet with IPv6: no socket on the UDP port; answered with ICMPv6 1/4", "NO_SOCKET"],
    ),
    "bad UDP checksum": (
        build(ip(), PORTS.replace(checksum=1)),
        ["dropped 1 packet with IPv6: bad UDP checksum (Udp6.InCsumErrors, Udp6.InErrors)", "delivered locally"],
    ),
    "bad ICMPv6 checksum": (
        build(ip(), ICMPv6.echo_request(1, 1).replace(checksum=1)),
        ["dropped 1 packet: bad ICMPv6 checksum (Icmp6.InCsumErrors, Icmp6.InErrors)"],
    ),
    "unknown next header": (
        build(ip(next_header=253), b"?"),
        ["dropped 1 packet with IPv6: unknown next header; answered with ICMPv6 4/1", "IP_NOPROTO"],
    ),
    "unknown option": (
        build(ip(next_header=60), bytes.fromhex("3b00c70400000000")),
        ["dropped 1 packet with IPv6: unknown option; answered with ICMPv6 4/2"],
    ),
    "payload length beyond the data": (
        build(ip(payload_length=99), PORTS),
        ["dropped 1 packet with IPv6: shorter than its payload length (Ip6.InTruncatedPkts)"],
    ),
    "fragment alone": (
        build(ip(), Fragment(next_header=17, more_fragments=True, identification=1), bytes(8)),
        ["keeps 1 packet with IPv6 until the other fragments arrive"],
    ),
    "another address": (
        build(ip(dst="fd00::99"), PORTS),
        [
            "destination is not local and forwarding is off, or it is invalid (Ip6.InAddrErrors)",
            "refused: the destination is not a local address, and there is no route or forwarding is off",
            "(net.ipv6.conf.all.forwarding = 0)",
        ],
    ),
    "no route": (
        build(ip(dst="2001:db8::1"), PORTS),
        ["no route to the destination; answered with ICMPv6 1/0", "refused: no route to the destination"],
    ),
    "no route back": (
        build(ip(src="2001:db8::5"), ICMPv6.echo_request(1, 1)),
        ["did not send 1 packet with IPv6: no route to the destination (Ip6.OutNoRoutes)"],
    ),
}


@pytest.fixture
def recorded():
    with (
        Netns.create(ipv6=True) as netns,
        NetnsCapture.open(netns) as record,
        Tun.create("fd00::1/64", netns=netns) as tun,
    ):
        yield RecordedNetns("kernel", netns, record, [tun])


@pytest.mark.parametrize(("data", "parts"), CASES.values(), ids=CASES)
def test_kernel_report_of_ipv6_packet_explains_the_drop(recorded, drops, data, parts):
    drops.clear()
    recorded.tuns[0].inject(data)
    report = "\n".join(kernel_report([recorded], gather_evidence([recorded]), drops.read()))
    assert [part for part in parts if part not in report] == [], report
    if not parts:
        assert "dropped" not in report


def test_kernel_report_of_expired_hop_limit_names_the_icmpv6_error(recorded, drops):
    recorded.netns.set_sysctl("net.ipv6.conf.all.forwarding", 1)
    recorded.tuns[0].inject(ip(dst="fd00::9", hop_limit=1), PORTS)
    report = "\n".join(kernel_report([recorded], gather_evidence([recorded]), drops.read()))
    assert "hop limit expired; answered with ICMPv6 3/0 (Icmp6.OutTimeExcds, Ip6.InHdrErrors)" in report
    assert "forwarded on tun0" in report
