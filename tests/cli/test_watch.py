"""`tunlab watch`: what it tells of links, and that neither it nor `dump` keeps a lab that was taken down."""

import contextlib
import json
import re
import signal
import socket

import pytest

from tests.cli.pseudo_terminal import PseudoTerminal, read_until
from tunlab.cli.watch import links_of, short, table
from tunlab.kernel.link_events import LinkEvents
from tunlab.kernel.netns import Netns
from tunlab.kernel.rtnl import Rtnl
from tunlab.lab import Lab
from tunlab.lab.live_lab import LiveLab
from tunlab.topology import parse_lab, plan


@contextlib.contextmanager
def witness(name, *nodes):
    """Sees at the end of the block that the kernel has let the namespaces of these nodes go: a veth of each leads here,
    and goes with its other end, whoever holds that by whatever."""
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(Netns.create())
        rtnl = stack.enter_context(Rtnl(here))
        for number, node in enumerate(nodes):
            with Lab(name).netns(node) as netns:
                rtnl.add_veth(f"w{number}", f"w{number}", peer_netns=netns)
        events = stack.enter_context(LinkEvents({"here": here}))
        yield
        while len(rtnl.links()) > 1:
            assert events.wait(20), rtnl.links()
            events.take()


class TestWatch:
    def test_what_happens_to_links_as_json(self, tunlab, start):
        tunlab("up", "two-hosts")
        watch = start("watch", "--json")
        watch.wait_for("watching lab two-hosts")
        with Lab.open("two-hosts").netns("b") as netns, Rtnl(netns) as rtnl:
            rtnl.set_link(rtnl.link_index("eth0"), up=False)
        seen = [json.loads(watch.process.stdout.readline()) for _ in range(2)]
        assert {(each["node"], each["ifname"], each["event"]) for each in seen} >= {("b", "eth0", "changed")}
        assert not any(each["running"] for each in seen if each["node"] == "b")
        assert watch.end(signal.SIGINT).status == 0

    def test_as_lines_where_there_is_no_terminal(self, tunlab, start):
        tunlab("up", "two-hosts")
        watch = start("watch", "two-hosts")
        watch.wait_for("watching lab two-hosts")
        with Lab.open("two-hosts").netns("a") as netns, Rtnl(netns) as rtnl:
            rtnl.set_link(rtnl.link_index("eth0"), mtu=1300)
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} a eth0 up, mtu 1300\n", watch.process.stdout.readline())
        assert watch.end(signal.SIGTERM).status == 0

    def test_a_table_on_a_terminal(self, tunlab, environment):
        tunlab("up", "two-hosts")
        with PseudoTerminal("watch", environment=environment) as (process, shown):
            said = read_until(shown, r"b eth0 +a eth0 +up +\S")
            assert "lab two-hosts: 2 nodes; Ctrl-C ends" in said
            with Lab.open("two-hosts").netns("b") as netns, Rtnl(netns) as rtnl:
                rtnl.set_link(rtnl.link_index("eth0"), up=False)
            read_until(shown, r"a eth0 +b eth0 +no carrier")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0

    @pytest.mark.parametrize("option", [(), ("--json",)])
    def test_it_ends_with_the_lab_and_holds_nothing_of_it(self, tunlab, start, option):
        tunlab("up", "two-hosts")
        with witness("two-hosts", "a", "b"):
            watch = start("watch", "two-hosts", *option)
            watch.wait_for("watching lab two-hosts")
            tunlab("down", "two-hosts")
            tunlab("up", "two-hosts")  # another lab of that name is not the one that was watched
            assert watch.end()[::2] == (0, "lab two-hosts is down\n")

    def test_on_a_terminal_too(self, tunlab, environment):
        tunlab("up", "two-hosts")
        with witness("two-hosts", "a", "b"), PseudoTerminal("watch", environment=environment) as (process, shown):
            read_until(shown, r"b eth0 +a eth0 +up +\S")
            tunlab("down", "two-hosts")
            read_until(shown, r"lab two-hosts is down\r\n")
            assert process.wait(20) == 0

    def test_rates_are_what_was_sent_between_two_looks(self, tunlab):
        tunlab("up", "two-hosts")
        with Lab.open("two-hosts").live() as live:
            now = {(node.name, link.name): link for node in live for link in node.rtnl.links()}
            link = now["a", "eth0"]
            import msgspec

            later = msgspec.structs.replace(link, tx_bytes=link.tx_bytes + 250_000, tx_packets=link.tx_packets + 500)
            rows = table(live.plan, now, {**now, ("a", "eth0"): later}, 2.0)
        assert rows[3].split()[:9] == ["a", "eth0", "b", "eth0", "up", "1.0", "M", "250", str(link.tx_packets + 500)]

    def test_what_a_full_queue_drops_is_shown(self):
        spec = parse_lab('nodes = { a = {}, b = {} }\nlinks = [{ ends = ["a", "b"], rate = "64kbit" }]')
        with LiveLab.make(plan(spec)) as live, live["a"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
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
    def test_numbers_are_short(self, number, text):
        assert short(number) == text


class TestDump:
    def test_who_looks_at_both_ends_of_a_link_does_not_keep_it(self, tunlab, start):
        """Each of the two holds one end, so that no socket tells of its interface's end; the record does."""
        tunlab("up", "two-hosts")
        with witness("two-hosts", "a", "b"):
            dumps = [start("dump", f"two-hosts/{node}") for node in ("a", "b")]
            for dump in dumps:
                dump.wait_for("listening")
            tunlab("down", "two-hosts")
            assert [dump.end().status for dump in dumps] == [73, 73]
