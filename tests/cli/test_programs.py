"""Programs of `run`: their end in `tunlab ls`, their output in `tunlab logs`, and `tunlab restart`."""

import json
import os
import re

import pytest

from tunlab.kernel.namespace.processes import has_ended

SERVER = """
[nodes.a]
setup = "mkfifo /run/end"
run = [{ command = ["sh", "-c", "echo ready; read x </run/end; echo bye >&2; exit 3"], ready = { line = "ready" } }]

[nodes.b]
run = ["sleep 600", { command = ["sh", "-c", "echo up; exec sleep 600"], ready = { line = "up" } }]
"""


@pytest.fixture
def programs(tunlab, tmp_path):
    """Create a lab with nodes a and b, and return its name."""
    file = tmp_path / "programs.toml"
    file.write_text(SERVER)
    assert tunlab("up", str(file)).status == 0
    return "programs"


def end_program(command):
    assert command("exec", "programs/a", "--", "sh", "-c", "echo >/run/end").status == 0


def ended(tunlab):
    return json.loads(tunlab("ls", "--json").out)[0]["ended"]


@pytest.mark.usefixtures("programs")
def test_ls_shows_a_program_that_has_ended(tunlab, command):
    assert ended(tunlab) == []
    end_program(command)
    while not ended(tunlab):
        continue
    (program,) = ended(tunlab)
    assert (program["node"], program["program"], program["status"]) == ("a", 1, 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", program["ended"])
    assert tunlab("ls").out.splitlines()[1].endswith("  a: sh (exit code 3)")


@pytest.mark.usefixtures("programs")
def test_logs_prints_output_and_errors_of_a_program(tunlab, command):
    assert tunlab("logs", "programs/a").out == "ready\n"
    end_program(command)
    while not ended(tunlab):
        continue
    assert tunlab("logs", "a") == (0, "ready\nbye\n", "")


@pytest.mark.usefixtures("programs")
def test_logs_of_several_programs_names_each(tunlab):
    assert tunlab("logs", "b").out == "==> sh -c echo up; exec sleep 600 <==\nup\n"


def test_logs_of_a_node_without_programs_says_so(tunlab):
    tunlab("up", "two-hosts")
    assert tunlab("logs", "two-hosts/a") == (0, "", "node a of lab two-hosts runs no program\n")


@pytest.mark.usefixtures("programs")
def test_logs_follow_prints_new_output_and_ends_with_the_lab(tunlab, command, start):
    running = start("logs", "-f", "programs/a")
    assert running.process.stdout.readline() == "ready\n"
    end_program(command)
    assert running.process.stdout.readline() == "bye\n"
    assert tunlab("down", "programs").status == 0
    assert running.process.wait(60) == 0


@pytest.mark.usefixtures("programs")
def test_restart_of_a_node_starts_its_programs_again_and_keeps_its_files(tunlab, command):
    end_program(command)
    while not ended(tunlab):
        continue
    command("exec", "a", "--", "touch", "/run/kept")
    assert tunlab("restart", "programs/a") == (0, "programs is restarted: a\n", "")
    assert ended(tunlab) == []
    assert tunlab("logs", "a").out == "ready\nbye\nready\n"
    assert command("exec", "a", "--", "ls", "/run/kept").out == "/run/kept\n"


@pytest.mark.usefixtures("programs")
def test_restart_of_a_lab_ends_every_process_of_its_nodes(tunlab):
    (status,) = json.loads(tunlab("ls", "--json").out)
    before = [os.pidfd_open(pid) for pid in status["processes"]]
    assert len(before) == 3
    assert tunlab("restart", "programs").out == "programs is restarted: all nodes\n"
    for pidfd in before:
        assert has_ended(pidfd)
        os.close(pidfd)
    (status,) = json.loads(tunlab("ls", "--json").out)
    assert len(status["processes"]) == 3


def test_restart_of_a_program_that_does_not_become_ready_exits_73(tunlab, tmp_path):
    file = tmp_path / "once.toml"
    command = ["sh", "-c", "mkdir /run/once && echo ready; exec sleep 600"]
    file.write_text(f'[nodes.a]\nrun = [{{ command = {command}, ready = {{ line = "ready" }}, timeout = "1s" }}]\n')
    assert tunlab("up", str(file)).status == 0
    result = tunlab("restart", "once")
    assert result.status == 73
    assert "was not ready after 1 s" in result.err
