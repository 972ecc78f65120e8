"""The kernel report of a failed test: faulty packets, the kernel counters they change, and the sentences about them."""

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.network.counters import counter_changes, read_counters
from tunlab.packet import ICMP, TCP, UDP, IPFlag, IPv4, TCPFlag, build
from tunlab.report.evidence import gather_evidence
from tunlab.report.kernel_report import kernel_report

ECHO = ICMP.echo_request(1, 1), b"payload"
COUNTED = ("Ip", "IpExt", "Icmp", "Udp", "Tcp", "TcpExt")
ALWAYS_CHANGED = {
    "Ip.InReceives", "Ip.OutRequests", "Ip.OutTransmits", "IpExt.InOctets", "IpExt.OutOctets", "IpExt.InNoECTPkts",
    "Icmp.InMsgs", "Icmp.OutMsgs",
}  # fmt: skip
HEADER_ERROR, ANSWERED = {"Ip.InHdrErrors"}, {"Ip.InDelivers", "Icmp.InEchos", "Icmp.OutEchoReps"}


def ip(**fields):
    return IPv4(**{"src": "10.1.2.2", "dst": "10.1.2.1", "ttl": 64, **fields})


# A case is a name, a packet, the counters that it changes in addition to ALWAYS_CHANGED, and parts of the report.
CASES = [
    ("good echo", build(ip(), *ECHO), ANSWERED, []),
    ("bytes after the total length", build(ip(), *ECHO) + b"junk", ANSWERED, []),
    ("reserved bit of the fragment field", build(ip(flags=IPFlag.RESERVED), *ECHO), ANSWERED, []),
    ("TTL 0, to a local address", build(ip(ttl=0), *ECHO), ANSWERED, []),
    (
        "bad IP checksum", build(ip(checksum=1), *ECHO), HEADER_ERROR | {"IpExt.InCsumErrors"},
        ["dropped 1 packet: bad IP header checksum (IpExt.InCsumErrors, Ip.InHdrErrors)", "IP_CSUM", "delivered"],
    ),
    (
        "bad ICMP checksum", build(ip(), ICMP(type=8, checksum=7)),
        {"Ip.InDelivers", "Icmp.InErrors", "Icmp.InCsumErrors"},
        ["dropped 1 packet: bad ICMP checksum (Icmp.InCsumErrors, Icmp.InErrors)", "ICMP_CSUM"],
    ),
    ("IHL 4", build(ip(ihl=4), *ECHO), HEADER_ERROR, ["dropped 1 packet: invalid IP header", "IP_INHDR"]),
    ("total length below the header's", build(ip(total_length=9), *ECHO), HEADER_ERROR, ["invalid IP header"]),
    ("19 bytes", build(ip(protocol=1))[:19], HEADER_ERROR, ["invalid IP header"]),
    ("IHL 15, and short", build(ip(ihl=15, protocol=1), b"1234"), HEADER_ERROR, ["invalid IP header"]),
    (
        "total length beyond the data", build(ip(total_length=500), *ECHO), {"IpExt.InTruncatedPkts"},
        ["dropped 1 packet: shorter than its total length (IpExt.InTruncatedPkts)"],
    ),
    (
        "unknown protocol", build(ip(protocol=253), b"?"), {"Ip.InUnknownProtos", "Icmp.OutDestUnreachs"},
        ["dropped 1 packet: unknown protocol; answered with ICMP 3/2", "IP_NOPROTO"],
    ),
    ("fragment alone", build(ip(flags=IPFlag.MF, protocol=1), b"x" * 8), {"Ip.ReasmReqds"},
     ["keeps 1 packet until the other fragments arrive (Ip.ReasmReqds)"]),
    (
        "to another address", build(ip(dst="10.9.9.9"), *ECHO), {"Ip.InAddrErrors"},
        ["destination is not local and forwarding is off", "IP_INADDRERRORS", "net.ipv4.ip_forward = 0"],
    ),
    (
        "from 127.0.0.1", build(ip(src="127.0.0.1"), *ECHO), set(),
        ["IP_LOCALNET", "route of 127.0.0.1 > 10.1.2.1 received on tun0: refused: invalid source"],
    ),
    (
        "to no UDP socket", build(ip(), UDP(src_port=1, dst_port=2)),
        {"Ip.InDelivers", "Udp.NoPorts", "Icmp.OutDestUnreachs"},
        ["dropped 1 packet: no socket on the UDP port; answered with ICMP 3/3", "NO_SOCKET"],
    ),
    (
        "bad UDP checksum", build(ip(), UDP(src_port=1, dst_port=2, checksum=7)),
        {"Ip.InDelivers", "Udp.InErrors", "Udp.InCsumErrors"}, ["dropped 1 packet: bad UDP checksum", "UDP_CSUM"],
    ),
    (
        "bad TCP checksum", build(ip(), TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN, checksum=7)),
        {"Ip.InDelivers", "Tcp.InSegs", "Tcp.InErrs", "Tcp.InCsumErrors"},
        ["dropped 1 packet: bad TCP checksum", "TCP_CSUM"],
    ),
    (
        "to no TCP socket", build(ip(), TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN)),
        {"Ip.InDelivers", "Tcp.InSegs", "Tcp.OutSegs", "Tcp.OutRsts"},
        ["sent 1 packet with RST (Tcp.OutRsts)", "NO_SOCKET"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "counters", "parts"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_kernel_report_of_faulty_packet_explains_the_drop(recorded_netns, recorded_tun, drops, data, counters, parts):
    before = read_counters(recorded_netns.netns)
    drops.clear()
    recorded_tun.inject(data)
    changes = counter_changes(before, read_counters(recorded_netns.netns))
    assert {name for name in changes if name.partition(".")[0] in COUNTED} - ALWAYS_CHANGED == counters
    report = "\n".join(kernel_report([recorded_netns], gather_evidence([recorded_netns]), drops.read()))
    assert [part for part in parts if part not in report] == [], report
    if not parts:
        assert "dropped" not in report


@pytest.mark.parametrize("data", [b"", build(ip(version=5), *ECHO)], ids=["empty", "version 5"])
def test_kernel_report_shows_rejected_write_to_tun_as_drop_by_the_device(recorded_netns, recorded_tun, data):
    with pytest.raises(KernelError):
        recorded_tun.device.write(data)
    report = "\n".join(kernel_report([recorded_netns], gather_evidence([recorded_netns]), []))
    assert "tun0 dropped 1 packet on receipt (rx_dropped)" in report, report


class TestKernelSettings:
    def test_kernel_report_of_ttl_expired_at_router_names_the_icmp_error(self, recorded_netns, recorded_tun, drops):
        recorded_netns.netns.set_sysctl("net.ipv4.ip_forward", 1)
        drops.clear()
        recorded_tun.inject(ip(dst="10.1.2.9", ttl=1), *ECHO)
        report = "\n".join(kernel_report([recorded_netns], gather_evidence([recorded_netns]), drops.read()))
        assert "TTL expired; answered with ICMP 11/0 (Icmp.OutTimeExcds, Ip.InHdrErrors)" in report

    def test_kernel_report_omits_route_of_forwarded_packet(self, recorded_netns, recorded_tun):
        recorded_netns.netns.set_sysctl("net.ipv4.ip_forward", 1)
        recorded_tun.inject(ip(dst="10.9.9.9"), *ECHO)
        assert "route of 10.1.2.2 > 10.9.9.9 received on tun0: refused" in "\n".join(
            kernel_report([recorded_netns], gather_evidence([recorded_netns]), [])
        )
        recorded_tun.device.rtnl.add_route("10.9.0.0/16", via="10.1.2.7")
        recorded_tun.inject(ip(dst="10.9.9.9", src="10.1.2.3"), *ECHO)
        assert "10.1.2.3 > 10.9.9.9" not in "\n".join(
            kernel_report([recorded_netns], gather_evidence([recorded_netns]), [])
        ), "the packet was forwarded"

    @pytest.mark.parametrize("mode", [1, 2])
    def test_kernel_report_of_drop_by_rp_filter_shows_the_settings(self, recorded_netns, recorded_tun, drops, mode):
        recorded_netns.netns.set_sysctl("net.ipv4.conf.all.rp_filter", mode)
        drops.clear()
        recorded_tun.inject(ip(src="203.0.113.5"), *ECHO)
        report = "\n".join(kernel_report([recorded_netns], gather_evidence([recorded_netns]), drops.read()))
        assert "refused by rp_filter: no route to 203.0.113.5 (ENETUNREACH)" in report
        assert f"net.ipv4.conf.all.rp_filter = {mode}, net.ipv4.conf.tun0.rp_filter = 0" in report
        assert "IP_RPFILTER" in report

    def test_kernel_report_of_drop_by_rp_filter_names_device_of_the_route(self, recorded_netns, recorded_tun):
        recorded_netns.netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 1)
        with recorded_netns.netns.socket() as other:
            other.close()
        second = type(recorded_tun).create("10.5.0.1/24", ifname="tun1", netns=recorded_netns.netns)
        with second:
            recorded_tun.inject(ip(src="10.5.0.7"), *ECHO)
            report = "\n".join(kernel_report([recorded_netns], gather_evidence([recorded_netns]), []))
        assert "refused by rp_filter: the route to 10.5.0.7 uses tun1" in report

    def test_kernel_report_of_full_receive_buffer_names_the_udp_socket(self, recorded_netns, recorded_tun):
        with recorded_tun.bind(53) as sink:
            sink.setsockopt(1, 8, 2304)  # SO_RCVBUF of SOL_SOCKET: 2304 bytes, the minimum
            for _ in range(20):
                recorded_tun.inject(ip(), UDP(src_port=1, dst_port=53), b"x" * 500)
            report = "\n".join(kernel_report([recorded_netns], gather_evidence([recorded_netns]), []))
        assert "the UDP socket's receive buffer is full (Udp.RcvbufErrors, Udp.InErrors)" in report
