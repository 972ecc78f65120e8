"""What the kernel counts, as an assertion."""

import pytest

from tunlab.errors import CountError, ExpectationError, KernelError
from tunlab.packet import ICMP, IPv4


def bad(tun):
    return IPv4(src=tun.peer, dst=tun.address, checksum=1), ICMP.echo_request(1, 1)


def test_the_counters_as_they_stand(tun):
    assert tun.counters["IpExt.InCsumErrors"] == 0
    tun.inject(*bad(tun))
    assert tun.counters["IpExt.InCsumErrors"] == 1


def test_a_block_that_is_counted_right_gives_all_that_moved(tun):
    tun.inject(*bad(tun))
    with tun.expect_counters(IpExt__InCsumErrors=1, Icmp__InEchos=0) as moved:
        tun.inject(*bad(tun))
    assert moved["Ip.InHdrErrors"] == 1
    assert "Icmp.InEchos" not in moved


def test_a_block_that_is_not_says_what_was_wanted_and_what_else_moved(tun):
    with pytest.raises(CountError) as caught, tun.expect_counters(Icmp__InEchos=1, IpExt__InCsumErrors=1):
        tun.inject(*bad(tun))
    assert isinstance(caught.value, ExpectationError)
    assert caught.value.counters == {"Icmp.InEchos": 1, "IpExt.InCsumErrors": 1}
    assert caught.value.moved["Ip.InHdrErrors"] == 1
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        "kernel counters changed by other amounts than expected:",
        "  Icmp.InEchos: wanted 1, got 0  <<<",
        "  IpExt.InCsumErrors: wanted 1, got 1",
    ]
    assert lines[3].startswith("other counters that changed: Ip.InReceives 1, Ip.InHdrErrors 1")


def test_nothing_else_moved(tun):
    with pytest.raises(CountError, match="no other counter changed"), tun.expect_counters(Icmp__InEchos=1):
        pass


def test_more_than_wanted_is_wrong_too(tun):
    with (
        pytest.raises(CountError, match=r"IpExt\.InCsumErrors: wanted 0, got 1"),
        tun.expect_counters(IpExt__InCsumErrors=0),
    ):
        tun.inject(*bad(tun))


def test_an_error_in_the_block_is_not_hidden(tun):
    with pytest.raises(ZeroDivisionError), tun.expect_counters(Icmp__InEchos=1):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IpExt__InCsumError", "did you mean IpExt__InCsumErrors"),
        ("IpExt__InHdrErrors", "did you mean Ip__InHdrErrors"),
        ("ip__inhdrerrors", "did you mean Ip__InHdrErrors"),
        ("InEchos", "did you mean Icmp__InEchos"),
        ("Qqq__Zzz", "write Ip__InHdrErrors"),
    ],
)
def test_an_unknown_name_is_refused_before_the_block(tun, name, meant):
    with pytest.raises(KernelError, match=meant):
        tun.expect_counters(**{name: 1})


def test_a_closed_tun_counts_nothing(make_tun):
    tun = make_tun()
    tun.close()
    with pytest.raises(KernelError, match="closed"):
        tun.expect_counters(Icmp__InEchos=1)
    with pytest.raises(KernelError, match="closed"):
        _ = tun.counters


@pytest.mark.lab("two-hosts")
def test_a_node_counts_too(lab):
    one, other = list(lab)[:2]
    with other.expect_counters(Icmp__InEchos=1, Icmp__OutEchoReps=1):
        one.run(["ping", "-c", "1", other.name], check=True, capture_output=True)
    assert one.counters["Icmp.InEchoReps"] == 1
