"""How a lab starts its programs: setup, order, ready conditions, env, user and working directory."""

import os
import subprocess

import pytest

from tunlab.errors import LabError
from tunlab.kernel.namespace.node_init import MOST_OUTPUT
from tunlab.lab import Lab, PersistentLab
from tunlab.topology import parse_lab

RULES = """
table inet filter {
  chain input { type filter hook input priority 0; policy drop; %s }
}
"""


def lab_with(**nodes):
    lab = Lab("x")
    for name, keys in nodes.items():
        lab.node(name, **keys)
    return lab


def text(node, *arguments):
    return node.run(arguments, capture_output=True, text=True, check=True).stdout


class TestSetup:
    def test_setup_runs_in_order_before_run(self):
        setup = ["mkdir /run/x", ["sh", "-c", "echo one >/run/x/y"]]
        run = [{"command": ["sh", "-c", "cat /run/x/y; exec sleep 600"], "ready": {"line": "one"}}]
        with lab_with(a={"setup": setup, "run": run}) as lab:
            assert lab["a"].programs[0].output == "one\n"

    def test_failed_setup_raises_error_with_its_output_and_run_is_not_started(self):
        setup = [["sh", "-c", "echo no such table >&2; exit 3"]]
        lab = lab_with(a={"setup": setup, "run": ["touch /tmp/tunlab-must-not-exist"]})
        with pytest.raises(LabError) as caught:
            lab.start()
        assert "exited with status 3" in str(caught.value)
        assert "no such table" in str(caught.value)
        assert not os.path.exists("/tmp/tunlab-must-not-exist")  # noqa: PTH110

    def test_setup_that_does_not_end_raises_error(self):
        with pytest.raises(LabError, match=r"has not ended after 0.05 s"):
            lab_with(a={"setup": [{"command": "sleep 600", "timeout": "50ms"}]}).start()

    def test_failed_setup_of_a_persistent_lab_leaves_nothing(self, run_directory):
        with pytest.raises(LabError, match="exited with status 1"):
            PersistentLab.up(parse_lab('[nodes]\na = { setup = "false", run = "sleep 600" }\n'))
        assert list(run_directory.iterdir()) == []

    def test_ruleset_loaded_by_setup_is_complete_when_the_lab_has_started(self, need):
        need("nft")
        rules = RULES % " ".join(f"tcp dport {port} accept;" for port in range(1, 200))
        for _ in range(10):
            with lab_with(a={"files": {"/etc/tunlab.nft": {"text": rules}}, "setup": "nft -f /etc/tunlab.nft"}) as lab:
                assert text(lab["a"], "nft", "list", "ruleset").count("tcp dport") == 199

    def test_ruleset_with_a_mistake_fails_the_start(self, need):
        need("nft")
        files = {"/etc/tunlab.nft": {"text": RULES % "nosuch;"}}
        with pytest.raises(LabError, match="syntax error"):
            lab_with(a={"files": files, "setup": "nft -f /etc/tunlab.nft"}).start()


UDP = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5353)); time.sleep(600)"


class TestReady:
    @pytest.mark.parametrize(
        ("command", "ready"),
        [
            (["python3", "-c", UDP], {"udp": 5353}),
            (["sh", "-c", "touch /run/x; exec sleep 600"], {"path": "/run/x"}),
            (["sh", "-c", "touch /run/x; exec sleep 600"], {"command": "test -e /run/x"}),
            (["sh", "-c", "exit 7"], {"exit": 7}),
        ],
        ids=["udp", "path", "command", "exit"],
    )
    def test_lab_start_waits_for_the_ready_condition(self, command, ready):
        with lab_with(a={"run": [{"command": command, "ready": ready}]}) as lab:
            assert lab["a"].programs[0].poll() == ready.get("exit")

    @pytest.mark.parametrize(
        ("ready", "message"),
        [
            ({"udp": 5353}, "no socket of it is bound to UDP port 5353"),
            ({"path": "/run/x"}, "the node has no /run/x"),
            ({"command": "test -e /run/x"}, "'test -e /run/x' fails"),
            ({"exit": 0}, "it has not exited with status 0"),
        ],
        ids=["udp", "path", "command", "exit"],
    )
    def test_program_not_ready_in_time_raises_error_naming_the_condition(self, ready, message):
        with pytest.raises(LabError, match=message):
            lab_with(a={"run": [{"command": "sleep 600", "ready": ready, "timeout": "50ms"}]}).start()

    def test_program_that_exits_with_another_status_raises_error(self):
        with pytest.raises(LabError, match="exited with status 1 before it was ready"):
            lab_with(a={"run": [{"command": "false", "ready": {"exit": 0}}]}).start()

    def test_port_on_which_another_program_listens_does_not_count(self):
        server = {"command": "python3 -m http.server 80", "ready": {"port": 80}}
        with pytest.raises(LabError, match="no socket of it listens on TCP port 80"):
            lab_with(a={"run": [server, {"command": "sleep 600", "ready": {"port": 80}, "timeout": "100ms"}]}).start()

    def test_port_of_a_child_in_its_own_session_counts(self):
        command = ["sh", "-c", "setsid python3 -m http.server 80 & exec sleep 600"]
        with lab_with(a={"run": [{"command": command, "ready": {"port": 80}}]}) as lab:
            assert len(lab["a"].netns.processes()) == 2


class TestOrder:
    def test_node_starts_after_the_programs_of_another_are_ready(self, tmp_path):
        first = ["sh", "-c", f"echo first >>{tmp_path}/log; echo up; exec sleep 600"]
        second = ["sh", "-c", f"echo second >>{tmp_path}/log"]
        with lab_with(
            a={"run": [{"command": second, "ready": {"exit": 0}}], "after": "b"},
            b={"run": [{"command": first, "ready": {"line": "up"}}]},
        ):
            assert (tmp_path / "log").read_text() == "first\nsecond\n"


class TestSettings:
    def test_env_user_and_cwd_of_node_and_program(self):
        show = ["sh", "-c", "echo $A $B $(id -un) $(pwd)"]
        with lab_with(
            a={
                "env": {"A": 1, "B": 2},
                "user": "nobody",
                "cwd": "/usr",
                "run": [
                    {"command": show, "ready": {"exit": 0}},
                    {"command": show, "ready": {"exit": 0}, "env": {"B": "x"}, "user": "daemon", "cwd": "/etc"},
                ],
            }
        ) as lab:
            shown = [program.output for program in lab["a"].programs]
            assert shown == ["1 2 nobody /usr\n", "1 x daemon /etc\n"]
            assert text(lab["a"], "sh", "-c", "echo $A $(id -un)") == "1 root\n"

    def test_relative_program_path_starts_at_the_lab_file(self, tmp_path):
        program = tmp_path / "bin" / "serve"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho served\n")
        program.chmod(0o755)
        file = tmp_path / "one.toml"
        file.write_text('[nodes]\na = { run = [{ command = "./bin/serve", ready = { line = "served" } }] }\n')
        with Lab.from_file(file) as lab:
            assert lab["a"].programs[0].output == "served\n"

    def test_output_of_a_program_that_never_stops_writing_is_bounded(self):
        with lab_with(a={"run": [{"command": "yes", "ready": {"line": "tunlab left out"}}]}) as lab:
            assert len(lab["a"].programs[0].output) <= MOST_OUTPUT

    def test_program_keeps_no_limit_of_the_guardian(self):
        own = subprocess.run(["sh", "-c", "ulimit -n"], capture_output=True, text=True, check=True).stdout
        command = ["sh", "-c", "ulimit -n"]
        with lab_with(a={"run": [{"command": command, "ready": {"exit": 0}}]}) as lab:
            assert lab["a"].programs[0].output == own
