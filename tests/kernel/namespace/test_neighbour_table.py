"""The machine's neighbour table: its usage, and the wait for free entries."""

from itertools import chain, repeat
from pathlib import Path

import pytest

from tunlab.kernel.namespace import neighbour_table
from tunlab.kernel.namespace.neighbour_table import read_usage, wait_for_free_entries
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def fake_usage(monkeypatch):
    """Return a function that makes a fake `read_usage` from a list of entry counts; the last one repeats."""
    monkeypatch.setattr(neighbour_table, "_calls", iter(range(10_000)))
    monkeypatch.setattr(neighbour_table, "_no_wait_until", [0.0])
    monkeypatch.setattr(neighbour_table, "_MAX_WAIT", 0.05)
    reads = []

    def make(*entries):
        results = chain(entries, repeat(entries[-1]))

        def read():
            reads.append(next(results))
            return reads[-1], 1024

        return read

    make.reads = reads
    return make


def test_neighbour_table_usage_is_the_same_in_every_namespace():
    entries, maximum = read_usage()
    assert entries >= 0
    assert maximum >= 128
    limit = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
    if limit.exists():  # gc_thresh3 exists in the machine's first namespace only.
        assert maximum == int(limit.read_text())
    with Netns.create() as netns:
        assert netns.call(read_usage)[1] == maximum > 0


def test_neighbour_table_usage_includes_entries_of_every_namespace():
    with Netns.create() as netns, Rtnl(netns) as rtnl:
        rtnl.add_veth("a", "b", ifindex=2, peer_ifindex=3)
        rtnl.set_link(2, up=True)
        for host in range(1, 101):
            rtnl.add_neighbour(2, f"10.0.0.{host}", "02:00:00:00:00:01")
        assert read_usage()[0] >= 100


def test_wait_for_free_entries_waits_while_neighbour_table_is_half_full(fake_usage):
    wait_for_free_entries(fake_usage(1000, 600, 512))
    assert fake_usage.reads == [1000, 600, 512]


def test_wait_for_free_entries_reads_usage_at_every_16th_call(fake_usage):
    for _ in range(33):
        wait_for_free_entries(fake_usage(0))
    assert fake_usage.reads == [0, 0, 0]


def test_wait_for_free_entries_after_timeout_does_not_wait_again(fake_usage):
    wait_for_free_entries(fake_usage(1024))
    assert set(fake_usage.reads) == {1024}
    before = len(fake_usage.reads)
    for _ in range(100):
        wait_for_free_entries(fake_usage(1024))
    assert len(fake_usage.reads) == before


def test_wait_for_free_entries_without_permission_continues(fake_usage):
    def fail():
        fake_usage.reads.append(None)
        raise PermissionError

    wait_for_free_entries(fail)
    assert fake_usage.reads == [None]
