"""Kernel counters of a network namespace."""

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.counters import counter_changes, read_counters


def test_counter_names_start_with_protocol(netns):
    counters = read_counters(netns)
    for name in (
        "Ip.InHdrErrors",
        "IpExt.InCsumErrors",
        "Icmp.InEchos",
        "Tcp.InSegs",
        "Udp.NoPorts",
        "TcpExt.TCPAbortOnData",
    ):
        assert isinstance(counters[name], int)
    assert "Ip6.InReceives" in counters
    assert "UdpLite6.InDatagrams" in counters


def test_counters_of_new_namespace_are_zero(netns):
    counters = read_counters(netns)
    assert (counters["Ip.InReceives"], counters["Icmp.InMsgs"], counters["Tcp.InSegs"]) == (0, 0, 0)
    assert counters["Ip.DefaultTTL"] == 64


def test_counter_changes_returns_only_differences():
    assert counter_changes({"a": 1, "b": 2, "c": 5}, {"a": 1, "b": 5, "c": 3, "d": 4, "e": 0}) == {
        "b": 3,
        "c": -2,
        "d": 4,
    }
    assert counter_changes({}, {}) == {}


@pytest.mark.parametrize("name", ["bad checksum", "good"])
def test_counters_include_packet_that_the_kernel_received(netns, tun, echo_request, name):
    before = read_counters(netns)
    tun.write(echo_request(bad_checksum=name == "bad checksum"))
    moved = counter_changes(before, read_counters(netns))
    assert moved["Ip.InReceives"] == 1
    if name == "good":
        assert (moved["Icmp.InEchos"], moved["Icmp.OutEchoReps"], moved["Ip.InDelivers"]) == (1, 1, 1)
    else:
        assert (moved["Ip.InHdrErrors"], moved["IpExt.InCsumErrors"]) == (1, 1)
        assert "Icmp.InEchos" not in moved


def test_counters_include_packet_of_unknown_protocol(netns, tun, datagram):
    before = read_counters(netns)
    tun.write(datagram(b"whatever", protocol=253))
    moved = counter_changes(before, read_counters(netns))
    assert (moved["Ip.InUnknownProtos"], moved["Icmp.OutDestUnreachs"]) == (1, 1)


def test_icmp_errors_are_not_rate_limited(netns, tun, datagram):
    for _ in range(200):
        tun.write(datagram(b"whatever", protocol=253))
    assert tun.discard_all()[0] == 200
    assert read_counters(netns)["Icmp.OutDestUnreachs"] == 200


def test_counters_of_one_namespace_exclude_packets_of_another(netns, other_netns, tun, echo_request):
    before = read_counters(other_netns)
    tun.write(echo_request())
    assert counter_changes(before, read_counters(other_netns)) == {}


def test_counters_include_ipv6_packets():
    with Netns.create(ipv6=True) as netns:
        before = read_counters(netns)
        netns.run(["ping", "-c1", "-W5", "::1"], check=True, capture_output=True)
        moved = counter_changes(before, read_counters(netns))
        assert (moved["Icmp6.InEchos"], moved["Icmp6.InEchoReplies"]) == (1, 1)


def test_read_counters_of_closed_namespace_raises():
    with Netns.create() as netns:
        pass
    with pytest.raises(KernelError, match="closed"):
        read_counters(netns)


def test_read_counters_with_missing_proc_file_raises_kernel_error(netns, monkeypatch):
    monkeypatch.setattr(
        "tunlab.kernel.network.counters._PROC", netns.call(lambda: __import__("pathlib").Path("/proc/nothing"))
    )
    with pytest.raises(KernelError, match="read the counters"):
        read_counters(netns)
