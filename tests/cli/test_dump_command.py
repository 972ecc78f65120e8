"""`tunlab dump LAB -- COMMAND`: the command's packets, exit code and end."""

import os
import signal

import pytest

from tunlab.lab import PersistentLab

PEER = "10.1.2.3"


@pytest.mark.usefixtures("lab")
def test_dump_with_a_command_shows_all_packets_of_the_command(command, need):
    result = command("dump", "lab", "--oneline", "--", need("ping"), "-c", "3", "-i", "0.01", "-W", "0.1", PEER)
    assert result.status == 1  # ping exits with 1 when it gets no reply
    assert [line.rsplit(", ", 1)[0][-5:] for line in result.out.splitlines() if "echo request" in line] == [
        "seq 1", "seq 2", "seq 3",
    ]  # fmt: skip
    assert "3 packets transmitted, 0 received" in result.out
    assert result.err == ("listening on tun0 in lab lab: IPv4 except UDP; --all shows every packet\n3 packets shown\n")


@pytest.mark.usefixtures("lab")
def test_dump_with_a_command_exits_with_the_exit_code_of_the_command(command, need):
    assert command("dump", "lab", "--", need("sh"), "-c", "exit 42").status == 42
    assert command("dump", "lab", "--", need("sh"), "-c", "kill -KILL $$").status == 128 + signal.SIGKILL


@pytest.mark.usefixtures("lab")
def test_dump_with_a_command_runs_it_in_the_namespace_of_the_node(command, need):
    namespace = PersistentLab("lab").state.namespace[1]
    assert command("dump", "--", need("readlink"), "/proc/self/ns/net").out == f"net:[{namespace}]\n"


@pytest.mark.usefixtures("lab")
def test_dump_passes_arguments_after_double_dash_to_the_command(command, need):
    result = command("dump", "--timeout", "30", "--", need("echo"), "--count", "x", "--", "-v")
    assert (result.status, result.out) == (0, "--count x -- -v\n")


@pytest.mark.usefixtures("lab")
def test_dump_with_a_command_waits_for_end_of_the_command_after_count_packets(command, need):
    result = command("dump", "lab", "--count", "1", "--oneline", "--", need("ping"), "-c", "2", "-W", "0.1", PEER)
    assert result.out.count("echo request") == 1
    assert "2 packets transmitted" in result.out


@pytest.mark.usefixtures("lab")
def test_dump_exits_1_if_the_command_ends_before_count_packets(command, need):
    result = command("dump", "lab", "--count", "1", "--", need("true"))
    assert (result.status, result.out) == (1, "")
    assert result.err.endswith("0 packets shown\ntunlab: the command ended: 0 of 1 packets were shown\n")


@pytest.mark.usefixtures("lab")
def test_dump_that_times_out_terminates_the_command(command, need):
    assert command("dump", "lab", "--timeout", "0.1", "--", need("sleep"), "600").status == 0


@pytest.mark.usefixtures("lab")
def test_dump_passes_sigterm_to_the_command(dump, need):
    running = dump("--", need("sh"), "-c", 'trap "exit 7" TERM; echo ready; while :; do read line <>/dev/ptmx; done')
    assert running.process.stdout.readline() == "ready\n"
    assert running.end(signal.SIGTERM).status == 7


@pytest.mark.usefixtures("lab")
def test_dump_to_a_closed_pipe_terminates_the_command(dump, need):
    reading, writing = os.pipe()
    running = dump("--oneline", "--", need("sleep"), "600", stdout=writing)
    os.close(writing)
    os.close(reading)
    assert running.process.wait(60) == 0


@pytest.mark.usefixtures("lab")
def test_dump_with_an_unknown_command_exits_127(command):
    result = command("dump", "lab", "--", "no-such-program")
    assert result.status == 127
    assert "there is no program 'no-such-program' on this machine" in result.err


@pytest.mark.usefixtures("lab")
def test_dump_with_double_dash_but_without_command_exits_2(tunlab):
    result = tunlab("dump", "lab", "--")
    assert (result.status, result.out) == (2, "")
    assert "no command after --. Write `tunlab dump LAB -- COMMAND`." in result.err
