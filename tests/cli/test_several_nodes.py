"""Labs of several nodes: targets of `exec`, `shell`, `dump`, `ping`; `ping-all`, `watch`, `gc`, `down`."""

import json
import os
import re
import signal
import subprocess

import pytest

from tests.cli.pseudo_terminal import PseudoTerminal, read_until
from tunlab.lab import Lab
from tunlab.packet import ICMP, IPv4, build


@pytest.fixture
def router(tunlab):
    """The ready lab called router, up."""
    said = tunlab("up", "router")
    assert said.status == 0, said.err
    return Lab.open("router")


class TestUp:
    def test_it_says_what_there_is_and_what_to_do_next(self, tunlab, command):
        said = command("up", "router", "--name", "x")
        assert said.out.splitlines() == [
            "x is up: 4 nodes, 2 links",
            "  client  eth0 10.0.1.1/24",
            "  router  eth0 10.0.1.2/24, lan0 10.0.2.1/24",
            "  server  eth0 10.0.2.2/24",
            "  stack   tun0 10.9.0.1/24",
        ]
        for line in said.err.splitlines():
            program, *arguments = re.split(r" {2,}", line.strip())[0].split()
            assert program == "tunlab"
            assert command(*arguments).status == 0, line
        assert tunlab("ls", "--json").out == "[]\n"

    def test_json_is_the_plan_and_where_it_is_kept(self, tunlab, run_directory):
        made = json.loads(tunlab("up", "bridge", "--json").out)
        assert made["directory"] == str(run_directory / "bridge")
        assert [node["name"] for node in made["nodes"]] == ["a", "b", "c", "d", "link1"]

    def test_of_many_nodes_the_first_are_told(self, tunlab, tmp_path):
        names = [f"h{number}" for number in range(30)]
        nodes = "".join(f"{name} = {{}}\n" for name in names)
        file = tmp_path / "star.toml"
        file.write_text(f"[nodes]\n{nodes}[[links]]\nends = {names}\n")
        assert tunlab("up", str(file)).out.splitlines()[-1] == "  … and 10 more"
        head, row = tunlab("ls").out.splitlines()
        assert row.split()[head.split().index("NODES")] == "30"

    def test_files_are_found_beside_the_lab_file(self, tunlab, command, tmp_path, need):
        (tmp_path / "motd.txt").write_text("hello\n")
        file = tmp_path / "x.toml"
        files = '{ "/etc/motd" = "motd.txt", "/etc/tunlab-new/dir/motd" = "motd.txt" }'
        file.write_text(f'[nodes]\na = {{ files = {files} }}\nb = {{}}\n[[links]]\nends = ["a", "b"]\n')
        assert tunlab("up", str(file)).status == 0
        shown = command("exec", "x/a", "--", need("cat"), "/etc/motd", "/etc/tunlab-new/dir/motd")
        assert shown.out == "hello\n" * 2
        assert command("exec", "x/b", "--", need("cat"), "/etc/motd").out != "hello\n"

    def test_a_program_that_has_failed_by_then_is_told(self, tunlab, tmp_path):
        """The second program is ready when the first has closed the pipe, as its end does; the third has ended well."""
        pipe, file = tmp_path / "pipe", tmp_path / "x.toml"
        os.mkfifo(pipe)
        failing = ["sh", "-c", f"exec 9> {pipe}; echo oops; exit 3"]
        waiting = f'{{ command = ["sh", "-c", "cat {pipe}; echo done"], ready = {{ line = "done" }} }}'
        file.write_text(f'[nodes]\na = {{ run = [{json.dumps(failing)}, {waiting}, "true"] }}\nb = {{}}\n')
        said = tunlab("up", str(file))
        assert (said.status, said.out.splitlines()[0]) == (0, "x is up: 2 nodes")
        *_, first, head, printed = said.err.splitlines()
        assert first.startswith("tunlab: 'sh -c exec 9> ")
        assert first.endswith(" in node a ended with exit code 3; run it by hand in the node")
        assert (head, printed) == ("the end of what it printed:", "  oops")

    def test_ctrl_c_leaves_nothing(self, command, need, run_directory):
        inject = "inject=mount:signal=INT:when=2"
        said = command(
            "up", "bridge", prefix=(need("strace"), "-f", "-o", os.devnull, "-e", "trace=mount", "-e", inject)
        )
        assert (said.status, said.out, said.err) == (130, "", "")
        assert list(run_directory.iterdir()) == []

    def test_a_progress_line_on_a_terminal_while_it_takes_long(self, environment, tmp_path):
        """The lab's program is ready when somebody has seen the line: it waits for a file that the test makes then."""
        file, signs = tmp_path / "slow.toml", tmp_path / "sign"
        os.mkfifo(signs)
        program = f"cat {signs}; echo ready"
        run = f'run = [{{ command = ["sh", "-c", "{program}"], ready = {{ line = "ready" }} }}]'
        file.write_text(f'[nodes]\na = {{ {run} }}\nb = {{}}\n[[links]]\nends = ["a", "b"]\n')
        with PseudoTerminal("up", str(file), environment=environment) as (process, shown):
            read_until(shown, r"slow is coming up: 2 of 2 nodes")
            signs.write_text("")
            said = read_until(shown, r"slow is up: 2 nodes, 1 link")
            assert "\r\x1b[K" in said
            assert process.wait(20) == 0


class TestTargets:
    def test_a_node_of_a_lab_and_a_node_alone(self, command, router, need):
        where = (need("sh"), "-c", "readlink /proc/self/ns/net; echo $TUNLAB_LAB $TUNLAB_NODE")
        identity = router.state.namespaces["client"][1]
        for target in ("router/client", "client"):
            assert command("exec", target, "--", *where).out == f"net:[{identity}]\nrouter client\n"

    def test_a_lab_alone_is_its_node_with_a_tun(self, command, router, need):
        assert command("exec", "router", "--", need("sh"), "-c", "echo $TUNLAB_NODE").out == "stack\n"

    def test_a_lab_that_leaves_it_open(self, tunlab):
        tunlab("up", "two-hosts")
        said = tunlab("exec", "two-hosts", "--", "true")
        assert (said.status, said.err) == (
            73,
            "tunlab: lab 'two-hosts' has 2 nodes: a, b; say which, as two-hosts/a\n",
        )

    @pytest.mark.usefixtures("router")
    def test_a_node_that_there_is_not(self, tunlab):
        assert tunlab("exec", "router/clinet", "--", "true").err == (
            "tunlab: lab 'router' has no node 'clinet'; did you mean client?\n"
        )

    def test_a_node_that_two_labs_have(self, tunlab):
        tunlab("up", "two-hosts")
        tunlab("up", "bridge")
        said = tunlab("exec", "a", "--", "true")
        assert said.status == 73
        assert said.err.startswith("tunlab: 2 labs have a node 'a': bridge, two-hosts; say which, as ")

    @pytest.mark.usefixtures("router")
    def test_a_shell_on_a_node(self, command, environment):
        said = command(
            "shell", "router/server", env={**environment, "SHELL": "/bin/sh"}, input="hostname\n", stdin=None
        )
        assert (said.status, said.out) == (0, "server\n")
        assert said.err.startswith("in node server of lab router; leave it with exit\n")


class TestPingAll:
    @pytest.mark.usefixtures("router")
    def test_the_matrix(self, tunlab):
        said = tunlab("ping-all")
        assert said.status == 0
        assert [line.split() for line in said.out.splitlines()] == [
            ["client", "router", "server", "stack"],
            ["client", "-", "yes", "yes", "no"],
            ["router", "yes", "-", "yes", "no"],
            ["server", "yes", "yes", "-", "no"],
            ["stack", "no", "no", "no", "-"],
        ]

    def test_what_is_lost_is_told_and_the_exit_code_is_1(self, tunlab, router):
        with router.netns("router") as netns:
            netns.set_sysctl("net.ipv4.ip_forward", 0)
        said = tunlab("ping-all", "router")
        assert said.status == 1
        assert said.out.count("LOST") == 2
        assert said.err.startswith("tunlab: 2 of 12 are not as the topology says: client → server, server → client; ")
        pairs = json.loads(tunlab("ping-all", "router", "--json").out)
        assert {"from": "client", "to": "server", "reached": False, "promised": True} in pairs

    def test_what_is_open_is_told(self, tunlab, tmp_path):
        file = tmp_path / "closed.toml"
        file.write_text(
            '[nodes]\na = { routes = [{ to = "default", via = "10.0.1.2" }] }\nm = {}\n'
            'b = { routes = [{ to = "default", via = "10.0.2.1" }] }\n'
            '[[links]]\nends = ["a", "m"]\n[[links]]\nends = ["m", "b"]\n'
        )
        tunlab("up", str(file))
        assert tunlab("ping-all").status == 0
        with Lab.open("closed").netns("m") as netns:
            netns.set_sysctl("net.ipv4.ip_forward", 1)
        said = tunlab("ping-all")
        assert said.status == 1
        assert said.out.count("OPEN") == 2

    def test_one_node_reaches_itself(self, tunlab, lab):
        assert tunlab("ping-all") == (0, "", "lab lab has one node only, which reaches itself\n")
        assert tunlab("ping-all", "--json").out == "[]\n"


class TestDump:
    def test_a_link_of_a_node_as_packets_with_checksums_as_on_a_cable(self, command, start, router, need):
        dump = start("dump", "router/server", "--port", "80", "--count", "5", "--json")
        dump.wait_for("listening on eth0 in node server of lab router")
        assert (
            command("exec", "client", "--", need("curl"), "--silent", "--max-time", "20", "http://server/").status == 0
        )
        said = dump.end()
        assert said.status == 0
        first, *others = map(json.loads, said.out.splitlines())
        assert (first["direction"], first["ipv4"]["src"], first["ipv4"]["dst"]) == ("in", "10.0.1.1", "10.0.2.2")
        assert {each["direction"] for each in others} == {"in", "out"}
        assert [each["findings"] for each in (first, *others)] == [[]] * 5
        assert {each["checksums"]["tcp"] for each in others} == {"good"}

    def test_another_interface(self, start, router, command, need):
        dump = start("dump", "router/router", "--interface", "lan0", "--protocol", "icmp", "--count", "2", "--oneline")
        dump.wait_for("listening on lan0 in node router of lab router")
        command("exec", "client", "--", need("ping"), "-c", "1", "server")
        lines = dump.end().out.splitlines()
        assert "10.0.1.1 > 10.0.2.2: ICMP echo request" in lines[0]
        assert "10.0.2.2 > 10.0.1.1: ICMP echo reply" in lines[1]

    @pytest.mark.usefixtures("router")
    def test_the_tun_of_a_lab_that_has_more_nodes(self, start, command, need):
        dump = start("dump", "router", "--count", "1", "--oneline")
        dump.wait_for("listening on tun0 in node stack of lab router")
        command("exec", "stack", "--", need("ping"), "-c", "1", "-W", "0.1", "10.9.0.2")
        assert "10.9.0.1 > 10.9.0.2: ICMP echo request" in dump.end().out

    @pytest.mark.usefixtures("router")
    def test_an_interface_that_there_is_not(self, tunlab):
        said = tunlab("dump", "router/client", "--interface", "eth7")
        assert said.status in (71, 73)
        assert "eth7" in said.err
        assert said.err.count("\n") == 1

    def test_a_lab_that_goes_away_ends_it_with_a_sentence(self, tunlab, start, router):
        dump = start("dump", "router/client")
        dump.wait_for("listening")
        tunlab("down", "router")
        said = dump.end()
        assert (said.status, said.err.splitlines()[-1]) == (
            73,
            "tunlab: eth0 of lab router/client is gone, or down; tunlab ls shows what is up",
        )


class TestInjectAndPing:
    def test_the_second_tun_of_a_node_and_what_comes_out_of_the_first(self, tunlab, start):
        tunlab("up", "two-stacks")
        dump = start("dump", "two-stacks", "--interface", "tun0", "--count", "1", "--oneline")
        dump.wait_for("listening on tun0 in lab two-stacks")
        other = start("dump", "two-stacks", "--interface", "tun1")
        other.wait_for("listening on tun1")
        request = build(IPv4(src="10.1.3.2", dst="10.1.2.2"), ICMP.echo_request(1, 1), b"payload")
        said = tunlab("inject", "--lab", "two-stacks", "--interface", "tun1", request.hex())
        assert said.status == 0, said.err
        assert "10.1.3.2 > 10.1.2.2: ICMP echo request" in dump.end().out
        assert other.end(signal.SIGINT).status == 0

    @pytest.mark.usefixtures("router")
    def test_a_node_without_a_tun(self, tunlab):
        assert tunlab("inject", "--lab", "router/client", "--as-is", "45").err == (
            "tunlab: node client of lab 'router' has no TUN, and datagrams come in by one only\n"
        )
        assert tunlab("inject", "--lab", "router", "--interface", "tun7", "--as-is", "45").err == (
            "tunlab: node stack of lab 'router' has no TUN 'tun7'; it has: tun0\n"
        )

    @pytest.mark.usefixtures("router")
    def test_ping_from_a_node(self, tunlab):
        assert tunlab("ping", "--lab", "router/client", "10.0.2.2").status == 0
        said = tunlab("ping", "--lab", "client", "--timeout", "0.1", "10.0.2.99")
        assert said.status == 1
        assert "tunlab dump router/client shows the requests" in said.err


class TestGc:
    def test_it_removes_what_is_broken_or_gone_and_leaves_what_is_up(self, tunlab, command, need, run_directory):
        strace = (need("strace"), "-f", "-qq", "-o", os.devnull, "-e", "trace=mount")
        killed = command("up", "bridge", prefix=(*strace, "-e", "inject=mount:signal=KILL:when=3"))
        assert killed.status == -signal.SIGKILL
        tunlab("up", "--name", "gone")
        subprocess.run(["umount", run_directory / "gone" / "net"], check=True)
        tunlab("up", "two-hosts")
        said = tunlab("gc")
        assert said.status == 0
        assert [line.partition(":")[0] for line in said.out.splitlines()] == ["bridge is down", "gone is down"]
        assert [each["name"] for each in json.loads(tunlab("ls", "--json").out)] == ["two-hosts"]
        assert tunlab("gc") == (0, "", "")
        assert tunlab("up", "bridge").status == 0


class TestDown:
    def test_it_names_every_tun(self, tunlab):
        tunlab("up", "two-stacks")
        assert tunlab("down", "two-stacks").out == "two-stacks is down: removed tun0, tun1, its namespace\n"

    def test_it_says_what_was_removed(self, tunlab):
        tunlab("up", "bridge")
        assert tunlab("down", "bridge").out == "bridge is down: removed 5 namespaces\n"
        tunlab("up", "router")
        said = tunlab("down", "router").out
        assert re.fullmatch(r"router is down: removed tun0, 4 namespaces, 1 process \(\d+\)\n", said)
