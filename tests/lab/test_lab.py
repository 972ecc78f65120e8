"""Labs in a test: made from text and from code, anonymous, used by real programs, gone afterwards."""

import errno
import json
import re
import resource
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.labs import ROUTER
from tunlab.errors import KernelError, LabError, TopologyError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_for_link
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import Lab, LiveLab
from tunlab.packet import ICMP, TCP, IPv4, TCPFlag, findings
from tunlab.topology import parse_lab, plan
from tunlab.topology.plan import LabPlan, NodePlan


def here():
    """The calling thread's network namespace."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def run(node, *program):
    return node.run(program, capture_output=True, text=True, check=True).stdout


class TestMade:
    def test_as_planned(self, router):
        with Rtnl(router["router"].netns) as rtnl:
            links = {link.name: link for link in rtnl.links()}
            assert list(links) == ["lo", "eth0", "lan0"]
            assert [links["eth0"].index, links["lan0"].index] == [2, 3]
            assert links["lan0"].mtu == 1400
            assert all(link.running for link in links.values())
            assert links["lan0"].hardware_address == "02:00:00:00:02:01"
            assert [address.cidr for address in rtnl.addresses(3)] == ["10.0.2.1/24"]
        with Rtnl(router["client"].netns) as rtnl:
            assert [(route.dst, route.via) for route in rtnl.routes() if route.via] == [("default", "10.0.1.2")]
        assert router["router"].netns.sysctl("net.ipv4.ip_forward") == "1"
        assert router["client"].netns.sysctl("net.ipv4.ip_forward") == "0"

    def test_nothing_of_it_is_in_the_machines_own_namespace(self, machine):
        before = machine()
        with Lab.from_text(ROUTER):
            assert machine() == before

    def test_in_code(self):
        lab = Lab("pair")
        lab.node("a")
        lab.node("b")
        lab.link("a", "b", rate="10mbit")
        with lab as live:
            assert [live["a"].address, live["b"].address] == ["10.0.1.1", "10.0.1.2"]
            assert live.ping_all() == {("a", "b"): True, ("b", "a"): True}

    def test_from_a_file(self, tmp_path):
        (tmp_path / "motd").write_text("hello from the lab\n")
        file = tmp_path / "two.toml"
        file.write_text('[nodes]\na = { files = { "/etc/motd" = "motd" } }\nb = {}\n[[links]]\nends = ["a", "b"]\n')
        with Lab.from_file(file) as lab:
            assert run(lab["a"], "cat", "/etc/motd") == "hello from the lab\n"
            assert lab.name == "two"

    def test_the_nodes_are_used_by_their_names(self, router):
        assert list(router.nodes) == ["client", "router", "server"]
        assert [node.name for node in router] == ["client", "router", "server"]
        assert len(router) == 3
        with pytest.raises(LabError, match="lab 'router' has no node 'sever'; its nodes are: client, router, server"):
            router["sever"]

    def test_what_is_wrong_is_told_before_anything_is_made(self):
        with pytest.raises(TopologyError, match="clint"):
            Lab.from_text('[nodes]\nclient = {}\nb = {}\n[[links]]\nends = ["clint", "b"]\n')
        with pytest.raises(LabError, match="lab 'empty' has no nodes yet"), Lab("empty"):
            pass
        lab = Lab.from_text(ROUTER)
        with pytest.raises(LabError, match="was read from a file, and is complete"):
            lab.node("another")
        with lab, pytest.raises(LabError, match="is being used already"), lab:
            pass

    def test_a_file_that_is_not_there(self):
        text = '[nodes]\na = { files = { "/etc/motd" = "nothing.txt", "/no/such/x" = "nothing.txt" } }\n'
        with pytest.raises(TopologyError) as caught:
            LiveLab.make(plan(parse_lab(text)))
        assert [(each.table, each.key) for each in caught.value.problems] == [
            ("nodes.a.files", "/etc/motd"), ("nodes.a.files", "/no/such/x"), ("nodes.a.files", "/no/such/x"),
        ]  # fmt: skip
        assert re.search(r"/etc/motd: it is to be /.*nothing.txt, and there is no such file", str(caught.value))

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [("net.ipv4.no_such", "1", "there is no such sysctl"), ("net.core.somaxconn", "abc", "takes no such value")],
    )
    def test_a_sysctl_that_cannot_be_is_told_with_table_and_key(self, name, value, said):
        text = f'[nodes]\na = {{ sysctls = {{ "{name}" = "{value}" }} }}\n'
        with pytest.raises(TopologyError, match=rf"nodes\.a\.sysctls\.{re.escape(name)}: '{value}': .*{said}"):
            LiveLab.make(plan(parse_lab(text)))

    def test_more_nodes_than_open_files(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_now = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 10, hard))
        try:
            with pytest.raises(LabError, match=r"the lab has 3 nodes, each takes an open file, .*; raise the limit"):
                LiveLab.make(plan(parse_lab(ROUTER)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_a_bridge_with_more_ports_than_it_has(self):
        interface = plan(parse_lab(ROUTER)).node("client").interfaces[0]
        switch = NodePlan(name="one", kind="switch", bridge="br0", interfaces=(interface,) * 1024)
        with pytest.raises(LabError, match="one is a bridge with 1024 ports, and the kernel's have 1023; make it two"):
            LiveLab.make(LabPlan(name="x", nodes=(switch,)))

    def test_ten_at_once(self):
        def use(number):
            with Lab.from_text(ROUTER, name=f"lab{number}") as lab:
                return all(lab.ping_all().values())

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(use, range(10))) == [True] * 10

    def test_closed_twice(self):
        lab = LiveLab.make(plan(parse_lab(ROUTER)))
        lab.close()
        lab.close()
        assert lab.closed

    def test_it_goes_with_its_last_holder(self):
        """Seen from a namespace that has a link into the lab: the link goes with the lab."""
        with Netns.create() as outside, Rtnl(outside) as rtnl:
            with Lab.from_text(ROUTER) as lab:
                rtnl.add_veth("probe", "probe", peer_netns=lab["client"].netns)
                link = rtnl.link("probe")
                lab["client"].popen(["sleep", "600"])
            with pytest.raises(KernelError) as caught:
                wait_for_link(rtnl, link.index, lambda _: False, 20)
            assert caught.value.errno == errno.ENODEV


class TestPrograms:
    def test_a_page_through_the_router(self, need):
        text = ROUTER.replace(
            "server = {}", 'server = { run = [{ command = "python3 -m http.server 80", ready = { port = 80 } }] }'
        )
        with Lab.from_text(text) as lab:
            code = run(lab["client"], need("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://server/")
            assert code == "200"
            assert '"GET / HTTP/1.1" 200' in lab["server"].programs[0].output

    @pytest.mark.slow
    def test_iperf_tcp_and_udp(self, need):
        iperf = need("iperf3")
        server = f'server = {{ run = [{{ command = "{iperf} -s", ready = {{ port = 5201 }} }}] }}'
        with Lab.from_text(ROUTER.replace("server = {}", server)) as lab:
            tcp = json.loads(run(lab["client"], iperf, "-c", "server", "-n", "8M", "-J"))
            assert tcp["end"]["sum_sent"]["bytes"] >= 8 * 1024 * 1024
            assert tcp["end"]["sum_received"]["bytes"] > 1024 * 1024  # the last of it may not be counted yet
            udp = json.loads(
                run(lab["client"], iperf, "-c", "server", "-u", "-n", "1M", "-b", "20M", "-l", "1200", "-J")
            )
            assert udp["end"]["sum"]["bytes"] >= 1024 * 1024
            assert udp["end"]["sum"]["lost_packets"] < udp["end"]["sum"]["packets"] / 2

    def test_traceroute_through_three_routers(self, need):
        lab = Lab("path")
        nodes = ["a", "r1", "r2", "r3", "b"]
        for name in nodes:
            lab.node(name, forward=name.startswith("r"))
        for ends in pairwise(nodes):
            lab.link(*ends)
        with lab as live:
            shown = run(live["a"], need("traceroute"), "-n", "-q", "1", "-w", "5", live["b"].address).splitlines()[1:]
            assert [line.split()[1] for line in shown] == ["10.0.1.2", "10.0.2.2", "10.0.3.2", "10.0.4.2"]

    def test_what_they_see(self, router):
        client = router["client"]
        assert run(client, "hostname") == "client\n"
        assert run(client, "getent", "hosts", "server").split() == ["10.0.2.2", "server", "server.lab"]
        assert run(client, "ls", "/sys/class/net").split() == ["eth0", "lo"]
        assert run(client, "sh", "-c", "echo $TUNLAB_NODE") == "client\n"
        assert socket.gethostname() != "client"
        assert "10.0.2.2" not in Path("/etc/hosts").read_text()

    @pytest.mark.parametrize("how", ["udp", "tcp", "slowly"])
    def test_names_asked_for_by_dns(self, router, how):
        names = ("server", "router.lab", "nobody", "2.2.0.10.in-addr.arpa")
        shown = run(router["client"], "python3", str(Path(__file__).with_name("ask_dns.py")), how, *names)
        assert shown.splitlines() == [
            "server 0 10.0.2.2",
            "router.lab 0 10.0.1.2 10.0.2.1",
            "nobody 3",
            "2.2.0.10.in-addr.arpa 0 server.lab",
        ]

    def test_connections_that_ask_nothing_keep_nobody_from_the_names(self, router):
        client = router["client"]
        with ExitStack() as idle:
            run(client, "true")  # the names are there as soon as a program runs
            for _ in range(100):
                idle.enter_context(client.socket()).connect(("127.0.0.53", 53))
            script = str(Path(__file__).with_name("ask_dns.py"))
            assert run(client, "python3", script, "tcp", "server") == "server 0 10.0.2.2\n"

    def test_they_end_with_the_lab(self):
        with Lab.from_text(ROUTER) as lab:
            programs = [node.popen(["sleep", "600"]) for node in lab]
        assert [program.wait() for program in programs] == [-9, -9, -9]

    def test_a_program_that_is_not_there(self, router):
        with pytest.raises(KernelError, match="there is no program 'no-such' on this machine"):
            router["client"].run(["no-such"])


class TestInside:
    def test_the_calling_thread_is_in_the_node_and_comes_back(self, router):
        before = here()
        with router["server"] as server, socket.create_server((server.address, 80)) as listener:
            assert here() == server.netns.identity[1]
            with router["client"]:  # nested
                client = socket.create_connection((server.address, 80), timeout=5)
            with client, listener.accept()[0] as accepted:
                assert accepted.getpeername()[0] == router["client"].address
        assert here() == before

    def test_it_comes_back_after_an_error(self, router):
        before = here()
        with pytest.raises(ZeroDivisionError), router["server"], router["client"]:
            _ = 1 / 0
        assert here() == before

    def test_threads_are_in_it_apart(self, router):
        def where(name):
            with router[name]:
                return here()

        with ThreadPoolExecutor(3) as pool:
            seen = list(pool.map(where, list(router.nodes)))
        assert seen == [node.netns.identity[1] for node in router]

    def test_sockets_are_used_from_anywhere(self, router):
        listener = router["server"].socket()
        listener.bind(("", 8080))
        listener.listen()
        client = router["client"].socket()
        client.connect(("10.0.2.2", 8080))
        accepted, peer = listener.accept()
        accepted.close()
        assert peer[0] == "10.0.1.1"


class TestPackets:
    def test_a_capture_on_a_veth_shows_whole_checksums(self, router):
        server, client = router["server"], router["client"]
        listener = server.socket()
        listener.bind(("", 80))
        listener.listen()
        with client.capture() as capture:
            connection = client.socket()
            connection.connect((server.address, 80))
            syn = capture.expect(TCP.where(flags=TCPFlag.SYN))
            assert (syn.ip.src, syn.ip.dst, findings(syn)) == ("10.0.1.1", "10.0.2.2", [])
            capture.expect(TCP.where(flags=TCPFlag.SYN | TCPFlag.ACK, src_port=80))
            assert [entry.direction for entry in capture.record if entry.packet][:2] == ["out", "in"]

    def test_a_tun_of_a_node(self):
        text = ROUTER.replace("server = {}", 'server = { tun = "10.9.0.1/24" }')
        with Lab.from_text(text) as lab:
            tun = lab["server"].tun
            assert tun is lab["server"].tun
            tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"ping")
            assert tun.expect(ICMP.where(type=0)).payload == b"ping"

    def test_a_tun_that_somebody_reads_and_one_that_is_not_there(self):
        with Lab.from_text('[nodes]\na = { tun = "10.9.0.1/24" }\nb = {}\n') as lab:
            with (
                TunDevice.attach(lab["a"].netns, "tun0"),
                pytest.raises(LabError, match="another program is attached to tun0 of node a"),
            ):
                _ = lab["a"].tun
            with pytest.raises(LabError, match="node b has no TUN"):
                _ = lab["b"].tun

    def test_an_interface_that_is_not_there(self, router):
        with pytest.raises(LabError, match="node router has no interface 'eth7'; its interfaces are: eth0, lan0"):
            router["router"].capture("eth7")


class TestLinks:
    def test_down_and_up_again_with_its_routes(self, router):
        client = router["client"]
        client.set_link("eth0", up=False)
        assert not any(reached for pair, reached in router.ping_all(timeout=0.2).items() if "client" in pair)
        client.set_link("eth0", up=True)
        assert all(router.ping_all().values())

    def test_the_cable_pulled_and_put_back(self, router):
        client = router["client"]
        client.set_link(carrier=False)
        link = client.rtnl.link("eth0")
        assert (link.up, link.carrier) == (True, False)
        client.set_link(carrier=True)
        assert all(router.ping_all().values())

    def test_the_other_end(self, router):
        node, interface = router["server"].peer()
        assert (node.name, interface.ifname) == ("router", "lan0")

    def test_a_tun_has_no_cable(self):
        with (
            Lab.from_text('[nodes]\na = { tun = "10.9.0.1/24" }\n') as lab,
            pytest.raises(LabError, match="tun0 of node a is a TUN: its other end is the program that reads it"),
        ):
            lab["a"].set_link(carrier=False)

    def test_events(self, router):
        with router.events() as events:
            assert events.read() == []
            router["client"].set_link(up=False)
            seen = {(event.where, event.link.name, event.kind, event.link.running) for event in events.read()}
            assert ("client", "eth0", "changed", False) in seen
            router["server"].rtnl.add_veth("new0", "new1")
            assert events.wait(5)
            seen = {(event.where, event.link.name, event.kind) for event in events.read()}
            assert {("server", "new0", "new"), ("server", "new1", "new")} <= seen
            router["server"].rtnl.delete_link(router["server"].rtnl.link_index("new0"))
            seen = {(event.where, event.link.name, event.kind) for event in events.read()}
            assert {("server", "new0", "deleted"), ("server", "new1", "deleted")} <= seen


def test_a_rootless_one(as_nobody, need):
    script = f"""
from tunlab.lab import Lab
with Lab.from_text({ROUTER!r}) as lab:
    print(all(lab.ping_all().values()))
    print(lab["client"].run(["getent", "hosts", "server"], capture_output=True, text=True).stdout.split()[0])
"""
    program = [*as_nobody(), sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable, "-c", script]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n10.0.2.2\n", "")
