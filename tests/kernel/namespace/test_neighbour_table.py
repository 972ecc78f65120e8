"""Room in the machine's table of neighbours: what is read of it, and who waits for it."""

from itertools import chain, repeat
from pathlib import Path

import pytest

from tunlab.kernel.namespace import neighbour_table
from tunlab.kernel.namespace.neighbour_table import read_usage, wait_for_free_entries
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def looks(monkeypatch):
    """Waits anew, and answers each look from a list, the last for ever; tells how many looks there were."""
    monkeypatch.setattr(neighbour_table, "_calls", iter(range(10_000)))
    monkeypatch.setattr(neighbour_table, "_no_wait_until", [0.0])
    monkeypatch.setattr(neighbour_table, "_MAX_WAIT", 0.05)
    taken = []

    def answering(*entries):
        answers = chain(entries, repeat(entries[-1]))

        def look():
            taken.append(next(answers))
            return taken[-1], 1024

        return look

    answering.taken = taken
    return answering


def test_the_table_is_that_of_the_machine():
    entries, most = read_usage()
    assert entries >= 0
    assert most >= 128
    limit = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
    if limit.exists():  # in the machine's first namespace only
        assert most == int(limit.read_text())
    with Netns.create() as netns:
        assert netns.call(read_usage)[1] == most > 0


def test_entries_of_any_namespace_count():
    with Netns.create() as netns, Rtnl(netns) as rtnl:
        rtnl.add_veth("a", "b", ifindex=2, peer_ifindex=3)
        rtnl.set_link(2, up=True)
        for host in range(1, 101):
            rtnl.add_neighbour(2, f"10.0.0.{host}", "02:00:00:00:00:01")
        assert read_usage()[0] >= 100


def test_room_is_waited_for(looks):
    wait_for_free_entries(looks(1000, 600, 512))
    assert looks.taken == [1000, 600, 512]


def test_only_each_sixteenth_looks(looks):
    for _ in range(33):
        wait_for_free_entries(looks(0))
    assert looks.taken == [0, 0, 0]


def test_who_waits_in_vain_goes_on_and_does_not_wait_again(looks):
    wait_for_free_entries(looks(1024))
    assert set(looks.taken) == {1024}
    before = len(looks.taken)
    for _ in range(100):
        wait_for_free_entries(looks(1024))
    assert len(looks.taken) == before


def test_who_may_not_look_goes_on(looks):
    def refused():
        looks.taken.append(None)
        raise PermissionError

    wait_for_free_entries(refused)
    assert looks.taken == [None]
