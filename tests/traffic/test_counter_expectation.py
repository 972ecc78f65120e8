"""Tests of `tun.counters` and `tun.expect_counters`, which read kernel counters and assert their changes."""

import pytest

from tunlab.errors import CountError, ExpectationError, KernelError
from tunlab.packet import ICMP, IPv4


def bad_checksum(tun):
    return IPv4(src=tun.peer, dst=tun.address, checksum=1), ICMP.echo_request(1, 1)


def test_counters_include_a_packet_with_bad_checksum(tun):
    assert tun.counters["IpExt.InCsumErrors"] == 0
    tun.inject(*bad_checksum(tun))
    assert tun.counters["IpExt.InCsumErrors"] == 1


def test_expect_counters_returns_every_changed_counter(tun):
    tun.inject(*bad_checksum(tun))
    with tun.expect_counters(IpExt__InCsumErrors=1, Icmp__InEchos=0) as changes:
        tun.inject(*bad_checksum(tun))
    assert changes["Ip.InHdrErrors"] == 1
    assert "Icmp.InEchos" not in changes


def test_error_of_expect_counters_lists_wanted_and_other_changes(tun):
    with pytest.raises(CountError) as caught, tun.expect_counters(Icmp__InEchos=1, IpExt__InCsumErrors=1):
        tun.inject(*bad_checksum(tun))
    assert isinstance(caught.value, ExpectationError)
    assert caught.value.counters == {"Icmp.InEchos": 1, "IpExt.InCsumErrors": 1}
    assert caught.value.changes["Ip.InHdrErrors"] == 1
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        "kernel counters changed by other amounts than expected:",
        "  Icmp.InEchos: wanted 1, got 0  <<<",
        "  IpExt.InCsumErrors: wanted 1, got 1",
    ]
    assert lines[3].startswith("other counters that changed: Ip.InReceives 1, Ip.InHdrErrors 1")


def test_error_of_expect_counters_says_that_no_other_counter_changed(tun):
    with pytest.raises(CountError, match="no other counter changed"), tun.expect_counters(Icmp__InEchos=1):
        pass


def test_expect_counters_with_zero_fails_if_the_counter_changes(tun):
    with (
        pytest.raises(CountError, match=r"IpExt\.InCsumErrors: wanted 0, got 1"),
        tun.expect_counters(IpExt__InCsumErrors=0),
    ):
        tun.inject(*bad_checksum(tun))


def test_exception_in_the_block_of_expect_counters_propagates(tun):
    with pytest.raises(ZeroDivisionError), tun.expect_counters(Icmp__InEchos=1):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("IpExt__InCsumError", "Did you mean IpExt__InCsumErrors"),
        ("IpExt__InHdrErrors", "Did you mean Ip__InHdrErrors"),
        ("ip__inhdrerrors", "Did you mean Ip__InHdrErrors"),
        ("InEchos", "Did you mean Icmp__InEchos"),
        ("Qqq__Zzz", "write Ip__InHdrErrors"),
    ],
)
def test_error_of_expect_counters_with_unknown_name_suggests_a_counter(tun, name, suggestion):
    with pytest.raises(KernelError, match=suggestion):
        tun.expect_counters(**{name: 1})


def test_expect_counters_of_closed_tun_raises(make_tun):
    tun = make_tun()
    tun.close()
    with pytest.raises(KernelError, match="closed"):
        tun.expect_counters(Icmp__InEchos=1)
    with pytest.raises(KernelError, match="closed"):
        _ = tun.counters


@pytest.mark.lab("two-hosts")
def test_expect_counters_of_a_lab_node_includes_its_ping_replies(lab):
    one, other = list(lab)[:2]
    with other.expect_counters(Icmp__InEchos=1, Icmp__OutEchoReps=1):
        one.run(["ping", "-c", "1", other.name], check=True, capture_output=True)
    assert one.counters["Icmp.InEchoReps"] == 1
