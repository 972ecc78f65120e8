"""`tunlab watch`: link changes, the table on a terminal, and the end when the lab is taken down."""

import json
import re
import signal
import socket

import pytest

from tests.cli.pseudo_terminal import PseudoTerminal, read_until
from tunlab.cli.watch import format_number, links_of, table
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import Lab, PersistentLab
from tunlab.topology import parse_lab


def test_watch_with_json_option_prints_link_changes(tunlab, start):
    tunlab("up", "two-hosts")
    watch = start("watch", "--json")
    watch.wait_for("watching lab two-hosts")
    with PersistentLab.open("two-hosts").netns("b") as netns, Rtnl(netns) as rtnl:
        rtnl.set_link(rtnl.link_index("eth0"), up=False)
    seen = [json.loads(watch.process.stdout.readline()) for _ in range(2)]
    assert {(each["node"], each["ifname"], each["event"]) for each in seen} >= {("b", "eth0", "changed")}
    assert not any(each["running"] for each in seen if each["node"] == "b")
    assert watch.end(signal.SIGINT).status == 0


def test_watch_without_terminal_prints_one_line_per_link_change(tunlab, start):
    tunlab("up", "two-hosts")
    watch = start("watch", "two-hosts")
    watch.wait_for("watching lab two-hosts")
    with PersistentLab.open("two-hosts").netns("a") as netns, Rtnl(netns) as rtnl:
        rtnl.set_link(rtnl.link_index("eth0"), mtu=1300)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} a eth0 up, mtu 1300\n", watch.process.stdout.readline())
    assert watch.end(signal.SIGTERM).status == 0


def test_watch_on_a_terminal_shows_a_table_of_links(tunlab, environment):
    tunlab("up", "two-hosts")
    with PseudoTerminal("watch", environment=environment) as (process, shown):
        result = read_until(shown, r"b eth0 +a eth0 +up +\S")
        assert "lab two-hosts: 2 nodes; press Ctrl-C to end" in result
        with PersistentLab.open("two-hosts").netns("b") as netns, Rtnl(netns) as rtnl:
            rtnl.set_link(rtnl.link_index("eth0"), up=False)
        read_until(shown, r"a eth0 +b eth0 +no carrier")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_watch_exits_0_and_releases_namespaces_when_the_lab_is_taken_down(tunlab, assert_released, start, option):
    tunlab("up", "two-hosts")
    with assert_released("two-hosts", "a", "b"):
        watch = start("watch", "two-hosts", *option)
        watch.wait_for("watching lab two-hosts")
        tunlab("down", "two-hosts")
        tunlab("up", "two-hosts")  # watch does not continue with a new lab of the same name
        assert watch.end()[::2] == (0, "lab two-hosts is down\n")


def test_watch_on_a_terminal_exits_0_when_the_lab_is_taken_down(tunlab, assert_released, environment):
    tunlab("up", "two-hosts")
    with assert_released("two-hosts", "a", "b"), PseudoTerminal("watch", environment=environment) as (process, shown):
        read_until(shown, r"b eth0 +a eth0 +up +\S")
        tunlab("down", "two-hosts")
        read_until(shown, r"lab two-hosts is down\r\n")
        assert process.wait(20) == 0


def test_table_of_watch_shows_rates_between_two_snapshots(tunlab):
    tunlab("up", "two-hosts")
    with PersistentLab.open("two-hosts").live() as live:
        now = {(node.name, link.name): link for node in live for link in node.rtnl.links()}
        link = now["a", "eth0"]
        import msgspec

        later = msgspec.structs.replace(link, tx_bytes=link.tx_bytes + 250_000, tx_packets=link.tx_packets + 500)
        rows = table(live.plan, now, {**now, ("a", "eth0"): later}, 2.0)
    assert rows[3].split()[:9] == ["a", "eth0", "b", "eth0", "up", "1.0", "M", "250", str(link.tx_packets + 500)]


def test_table_of_watch_counts_packets_dropped_by_a_queue():
    spec = parse_lab('nodes = { a = {}, b = {} }\nlinks = [{ ends = ["a", "b"], rate = "64kbit" }]')
    with Lab.from_spec(spec) as live, live["a"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        before = links_of(live)
        for _ in range(20):
            sender.sendto(bytes(1400), (live["b"].address, 9))
        rows = table(live.plan, before, links_of(live), 1.0)
    dropped = {row.split()[0]: int(row.split()[-1]) for row in rows[3:]}
    assert dropped["a"] > 10
    assert dropped["b"] == 0


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 k"),
        (9940, "9.9 k"),
        (34_000_000, "34 M"),
        (2.5e9, "2.5 G"),
        (7e11, "700 G"),
    ],
)
def test_format_number_returns_at_most_six_characters(number, text):
    assert format_number(number) == text
