"""Lab: labs from text and from code, their programs, packets and links, and their removal."""

import errno
import json
import re
import resource
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.labs import ROUTER
from tunlab.errors import KernelError, LabError, TopologyError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_for_link
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import Lab
from tunlab.packet import ARP, ICMP, TCP, Ethernet, ICMPv6, IPv4, IPv6, TCPFlag, findings
from tunlab.topology import parse_lab, plan
from tunlab.topology.plan import LabPlan, NodePlan


def current_netns():
    """Return the inode of the calling thread's network namespace."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def run(node, *program):
    return node.run(program, capture_output=True, text=True, check=True).stdout


class TestStart:
    def test_start_creates_the_planned_interfaces_addresses_and_routes(self, router):
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

    def test_start_leaves_the_network_of_the_host_unchanged(self, machine):
        before = machine()
        with Lab.from_text(ROUTER):
            assert machine() == before

    def test_lab_defined_in_code_answers_pings_on_its_link(self):
        lab = Lab("pair")
        lab.node("a")
        lab.node("b")
        lab.link("a", "b", rate="10mbit")
        with lab as entered:
            assert entered is lab
            assert [lab["a"].address, lab["b"].address] == ["10.0.1.1", "10.0.1.2"]
            assert lab.ping_all() == {("a", "b"): True, ("b", "a"): True}

    def test_lab_from_file_mounts_files_relative_to_the_lab_file(self, tmp_path):
        (tmp_path / "motd").write_text("hello from the lab\n")
        file = tmp_path / "two.toml"
        file.write_text('[nodes]\na = { files = { "/etc/motd" = "motd" } }\nb = {}\n[[links]]\nends = ["a", "b"]\n')
        with Lab.from_file(file) as lab:
            assert run(lab["a"], "cat", "/etc/motd") == "hello from the lab\n"
            assert lab.name == "two"

    def test_lab_lists_its_nodes_and_raises_lab_error_for_unknown_node_name(self, router):
        assert list(router.nodes) == ["client", "router", "server"]
        assert [node.name for node in router] == ["client", "router", "server"]
        assert len(router) == 3
        with pytest.raises(LabError, match=r"lab 'router' has no node 'sever'\. Its nodes are client, router, server"):
            router["sever"]

    def test_lab_with_invalid_definition_or_use_raises_an_error(self):
        with pytest.raises(TopologyError, match="clint"):
            Lab.from_text('[nodes]\nclient = {}\nb = {}\n[[links]]\nends = ["clint", "b"]\n')
        with pytest.raises(LabError, match="lab 'empty' has no nodes"), Lab("empty"):
            pass
        lab = Lab.from_text(ROUTER)
        with pytest.raises(LabError, match="is already defined and takes no more nodes"):
            lab.node("another")
        with pytest.raises(LabError, match=r"is not running\. Use its nodes inside `with lab:`"):
            lab["client"]
        with lab, pytest.raises(LabError, match="is already running"), lab:
            pass
        with pytest.raises(LabError, match=r"is closed\. Create a new Lab"), lab:
            pass

    def test_start_with_a_missing_file_raises_error_naming_node_and_path(self):
        text = '[nodes]\na = { files = { "/etc/motd" = "nothing.txt", "/no/such/x" = "nothing.txt" } }\n'
        with pytest.raises(TopologyError) as caught:
            Lab.from_text(text).start()
        assert [(each.table, each.key) for each in caught.value.problems] == [
            ("nodes.a.files", "/etc/motd"), ("nodes.a.files", "/no/such/x"), ("nodes.a.files", "/no/such/x"),
        ]  # fmt: skip
        assert re.search(
            r"`nodes.a.files./etc/motd` is 'nothing.txt'; there is no file /.*nothing.txt", str(caught.value)
        )

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("net.ipv4.no_such", "1", "this kernel has no such sysctl"),
            ("net.core.somaxconn", "abc", "the kernel rejects this value"),
        ],
    )
    def test_start_with_an_invalid_sysctl_raises_error_naming_node_and_sysctl(self, name, value, reason):
        text = f'[nodes]\na = {{ sysctls = {{ "{name}" = "{value}" }} }}\n'
        with pytest.raises(
            TopologyError, match=rf"`nodes\.a\.sysctls\.{re.escape(name)}` cannot be '{value}': .*{reason}"
        ):
            Lab.from_text(text).start()

    def test_start_with_a_too_low_open_file_limit_raises_lab_error(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_now = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 10, hard))
        try:
            with pytest.raises(
                LabError, match=r"an open file for each of its 3 nodes; the limit is \d+\. Raise the limit"
            ):
                Lab.from_text(ROUTER).start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_start_with_a_1024_port_switch_raises_lab_error(self):
        interface = plan(parse_lab(ROUTER)).node("client").interfaces[0]
        switch = NodePlan(name="one", kind="switch", bridge="br0", interfaces=(interface,) * 1024)
        with pytest.raises(LabError, match=r"switch one has 1024 ports; a bridge has at most 1023\. Split the switch"):
            Lab.from_plan(LabPlan(name="x", nodes=(switch,))).start()

    def test_ten_labs_started_in_parallel_all_answer_pings(self):
        def start_and_ping(number):
            with Lab.from_text(ROUTER, name=f"lab{number}") as lab:
                return all(lab.ping_all().values())

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(start_and_ping, range(10))) == [True] * 10

    def test_lab_may_be_closed_twice(self):
        lab = Lab.from_text(ROUTER).start()
        assert not lab.closed
        lab.close()
        lab.close()
        assert lab.closed

    def test_lab_close_deletes_a_namespace_in_which_a_program_still_runs(self):
        """The namespace is gone when a veth pair that connects it with another namespace disappears."""
        with Netns.create() as outside, Rtnl(outside) as rtnl:
            with Lab.from_text(ROUTER) as lab:
                rtnl.add_veth("probe", "probe", peer_netns=lab["client"].netns)
                link = rtnl.link("probe")
                lab["client"].popen(["sleep", "600"])
            with pytest.raises(KernelError) as caught:
                wait_for_link(rtnl, link.index, lambda _: False, 20)
            assert caught.value.errno == errno.ENODEV


class TestPrograms:
    def test_web_server_of_a_node_is_reachable_by_the_name_of_the_node(self, need):
        text = ROUTER.replace(
            "server = {}", 'server = { run = [{ command = "python3 -m http.server 80", ready = { port = 80 } }] }'
        )
        with Lab.from_text(text) as lab:
            code = run(lab["client"], need("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://server/")
            assert code == "200"
            assert '"GET / HTTP/1.1" 200' in lab["server"].programs[0].output

    @pytest.mark.slow
    def test_iperf_transfers_tcp_and_udp_through_a_router(self, need):
        iperf = need("iperf3")
        # A server that still ends one test refuses the next one, so each test has its own.
        servers = ", ".join(
            f'{{ command = "{iperf} -s -p {port}", ready = {{ port = {port} }} }}' for port in (5201, 5202)
        )
        server = f"server = {{ run = [{servers}] }}"
        with Lab.from_text(ROUTER.replace("server = {}", server)) as lab:
            tcp = json.loads(run(lab["client"], iperf, "-c", "server", "-n", "8M", "-J"))
            assert tcp["end"]["sum_sent"]["bytes"] >= 8 * 1024 * 1024
            assert tcp["end"]["sum_received"]["bytes"] > 1024 * 1024  # iperf3's server may not count the last bytes
            udp = json.loads(
                run(
                    lab["client"],
                    iperf,
                    "-c",
                    "server",
                    "-p",
                    "5202",
                    "-u",
                    "-n",
                    "1M",
                    "-b",
                    "20M",
                    "-l",
                    "1200",
                    "-J",
                )
            )
            assert udp["end"]["sum"]["bytes"] >= 1024 * 1024
            assert udp["end"]["sum"]["lost_packets"] < udp["end"]["sum"]["packets"] / 2

    def test_traceroute_through_three_routers_lists_their_addresses(self, need):
        lab = Lab("path")
        nodes = ["a", "r1", "r2", "r3", "b"]
        for name in nodes:
            lab.node(name, forward=name.startswith("r"))
        for ends in pairwise(nodes):
            lab.link(*ends)
        with lab:
            lines = run(lab["a"], need("traceroute"), "-n", "-q", "1", "-w", "5", lab["b"].address).splitlines()[1:]
            assert [line.split()[1] for line in lines] == ["10.0.1.2", "10.0.2.2", "10.0.3.2", "10.0.4.2"]

    def test_program_sees_host_name_hosts_file_and_interfaces_of_its_node(self, router):
        client = router["client"]
        assert run(client, "hostname") == "client\n"
        assert run(client, "getent", "hosts", "server").split() == ["10.0.2.2", "server", "server.lab"]
        assert run(client, "ls", "/sys/class/net").split() == ["eth0", "lo"]
        assert run(client, "sh", "-c", "echo $TUNLAB_NODE") == "client\n"
        assert run(client, "cat", "/etc/resolv.conf") == "search lab\n"
        assert socket.gethostname() != "client"
        assert "10.0.2.2" not in Path("/etc/hosts").read_text()

    def test_popen_programs_are_killed_when_the_lab_ends(self):
        with Lab.from_text(ROUTER) as lab:
            programs = [node.popen(["sleep", "600"]) for node in lab]
        assert [program.wait() for program in programs] == [-9, -9, -9]

    def test_node_run_with_unknown_program_raises_kernel_error(self, router):
        with pytest.raises(KernelError, match="there is no program 'no-such' on this machine"):
            router["client"].run(["no-such"])


class TestEnterNode:
    def test_with_block_of_a_node_moves_the_thread_into_its_namespace_and_back(self, router):
        before = current_netns()
        with router["server"] as server, socket.create_server((server.address, 80)) as listener:
            assert current_netns() == server.netns.identity[1]
            with router["client"]:
                client = socket.create_connection((server.address, 80), timeout=5)
            with client, listener.accept()[0] as accepted:
                assert accepted.getpeername()[0] == router["client"].address
        assert current_netns() == before

    def test_with_block_of_a_node_restores_the_namespace_after_an_exception(self, router):
        before = current_netns()
        with pytest.raises(ZeroDivisionError), router["server"], router["client"]:
            _ = 1 / 0
        assert current_netns() == before

    def test_three_threads_can_enter_three_nodes_at_once(self, router):
        def netns_in(name):
            with router[name]:
                return current_netns()

        with ThreadPoolExecutor(3) as pool:
            seen = list(pool.map(netns_in, list(router.nodes)))
        assert seen == [node.netns.identity[1] for node in router]

    def test_node_socket_can_be_used_without_entering_the_node(self, router):
        listener = router["server"].socket()
        listener.bind(("", 8080))
        listener.listen()
        client = router["client"].socket()
        client.connect(("10.0.2.2", 8080))
        accepted, peer = listener.accept()
        accepted.close()
        assert peer[0] == "10.0.1.1"


class TestPackets:
    def test_capture_on_a_veth_fills_in_checksums(self, router):
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

    def test_capture_sees_arp_and_the_link_header_of_every_packet(self, router):
        client, server = router["client"], router["server"]
        with client.capture() as capture:
            client.run(["ping", "-c", "1", server.address], check=True, capture_output=True)
            request = capture.expect(ARP.where(operation=1, sender_protocol="10.0.1.1"))
            answer = capture.expect(ARP.where(operation=2, target_protocol="10.0.1.1"))
            echo = capture.expect(Ethernet.where(dst=answer.arp.sender_hardware) & ICMP.where(type=8))
            assert echo.ethernet.src == request.arp.sender_hardware
            assert findings(request) == findings(answer) == findings(echo) == []

    def test_capture_on_a_veth_returns_expected_ipv6_packet(self):
        with Lab.from_text('ip = "both"\n[nodes]\na = {}\nb = {}\n[[links]]\nends = ["a", "b"]\n') as lab:
            address = next(each for each in lab["b"].addresses if ":" in each)
            with lab["b"].capture() as capture:
                lab["a"].run(["ping", "-6", "-c", "1", address], check=True, capture_output=True)
                echo = capture.expect(ICMPv6.where(type=128))
                assert (echo.ip.dst, findings(echo)) == (address, [])

    def test_start_waits_until_ipv6_addresses_of_links_are_usable(self, monkeypatch):
        # The kernel makes an address usable later than it has added it, but seldom so late that a test could see it.
        waited = []
        target = "tunlab.lab.build.namespaces.wait_for_addresses"
        monkeypatch.setattr(target, lambda _rtnl, _ifindex, addresses: waited.extend(addresses))
        with Lab.from_text('ip = "ipv6"\n[nodes]\na = {}\nb = {}\n[[links]]\nends = ["a", "b"]\n') as lab:
            assert waited == [cidr for node in lab for cidr in node.interface("eth0").addresses] != []

    def test_node_tun_with_both_ip_versions_receives_replies_of_both(self):
        with Lab.from_text('[nodes]\na = { tun = ["10.1.2.1/24", "fd00::1/64"] }\n') as lab:
            tun = lab["a"].tun
            tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1))
            tun.inject(IPv6(src=tun.peer6, dst=tun.address6), ICMPv6.echo_request(1, 1))
            assert tun.expect(ICMP.where(type=0)).ip.src == "10.1.2.1"
            assert tun.expect(ICMPv6.where(type=129)).ip.src == "fd00::1"

    def test_node_tun_injects_an_echo_request_and_receives_the_reply(self):
        text = ROUTER.replace("server = {}", 'server = { tun = "10.9.0.1/24" }')
        with Lab.from_text(text) as lab:
            tun = lab["server"].tun
            assert tun is lab["server"].tun
            tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"ping")
            assert tun.expect(ICMP.where(type=0)).payload == b"ping"

    def test_node_tun_in_use_or_missing_raises_lab_error(self):
        with Lab.from_text('[nodes]\na = { tun = "10.9.0.1/24" }\nb = {}\n') as lab:
            with (
                TunDevice.attach(lab["a"].netns, "tun0"),
                pytest.raises(LabError, match="another program is attached to tun0 of node a"),
            ):
                _ = lab["a"].tun
            with pytest.raises(LabError, match="node b has no TUN"):
                _ = lab["b"].tun

    def test_capture_on_unknown_interface_raises_lab_error(self, router):
        with pytest.raises(LabError, match=r"node router has no interface 'eth7'\. Its interfaces are eth0, lan0"):
            router["router"].capture("eth7")


class TestLinks:
    def test_link_that_is_set_down_and_up_again_has_its_routes(self, router):
        client = router["client"]
        client.set_link("eth0", up=False)
        assert not any(reached for pair, reached in router.ping_all(timeout=0.2).items() if "client" in pair)
        client.set_link("eth0", up=True)
        assert all(router.ping_all().values())

    def test_set_link_carrier_removes_and_restores_the_carrier(self, router):
        client = router["client"]
        client.set_link(carrier=False)
        link = client.rtnl.link("eth0")
        assert (link.up, link.carrier) == (True, False)
        client.set_link(carrier=True)
        assert all(router.ping_all().values())

    def test_node_peer_returns_node_and_interface_at_the_other_end_of_the_link(self, router):
        node, interface = router["server"].peer()
        assert (node.name, interface.ifname) == ("router", "lan0")

    def test_set_link_carrier_of_a_tun_raises_lab_error(self):
        with (
            Lab.from_text('[nodes]\na = { tun = "10.9.0.1/24" }\n') as lab,
            pytest.raises(LabError, match="tun0 of node a is a TUN, not on a link"),
        ):
            lab["a"].set_link(carrier=False)

    def test_lab_events_report_changed_new_and_deleted_interfaces(self, router):
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


def test_lab_without_root_runs_in_a_user_namespace(as_nobody, need):
    script = f"""
from tunlab.lab import Lab
with Lab.from_text({ROUTER!r}) as lab:
    print(all(lab.ping_all().values()))
    print(lab["client"].run(["getent", "hosts", "server"], capture_output=True, text=True).stdout.split()[0])
"""
    program = [*as_nobody(), sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable, "-c", script]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n10.0.2.2\n", "")
