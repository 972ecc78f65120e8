"""`tunlab exec` and `shell`: exit codes, environment and targets."""

import json
import signal
import sys

import pytest


@pytest.mark.usefixtures("lab")
def test_exec_exits_with_the_exit_code_or_signal_of_the_command(command, need):
    assert command("exec", "lab", "--", need("sh"), "-c", "exit 42").status == 42
    assert command("exec", "lab", need("sh"), "-c", "kill -TERM $$").status == 128 + signal.SIGTERM


@pytest.mark.usefixtures("lab")
def test_exec_of_ping_to_own_address_of_the_node_gets_a_reply(command, need):
    assert "1 received" in command("exec", "lab", "--", need("ping"), "-c", "1", "10.1.2.1").out


def test_exec_runs_the_command_in_the_namespace_and_sets_tunlab_lab(command, lab, need):
    result = command("exec", "lab", "--", need("sh"), "-c", "readlink /proc/self/ns/net; echo $TUNLAB_LAB")
    assert result.out == f"net:[{lab.state.namespace[1]}]\nlab\n"


@pytest.mark.usefixtures("lab")
def test_command_run_by_exec_does_not_ignore_sigpipe(command, need):
    result = command("exec", "lab", "--", need("sh"), "-c", "grep SigIgn /proc/self/status")
    assert int(result.out.split()[1], 16) >> signal.SIGPIPE - 1 & 1 == 0


@pytest.mark.usefixtures("lab")
def test_tunlab_command_inside_a_lab_uses_that_lab_by_default(command):
    result = command("exec", "lab", sys.executable, "-m", "tunlab", "ping", "10.1.2.1", "--json")
    assert json.loads(result.out)["answered"] is True


@pytest.mark.usefixtures("lab")
def test_exec_in_unknown_lab_exits_73(tunlab):
    result = tunlab("exec", "nosuch", "--", "true")
    assert (result.status, result.err) == (73, "tunlab: there is no lab 'nosuch'. Running labs: lab.\n")


@pytest.mark.usefixtures("lab")
def test_exec_of_unknown_program_exits_127(command):
    result = command("exec", "lab", "--", "no-such-program")
    assert (result.status, result.err) == (
        127,
        (
            "tunlab: run no-such-program: there is no program 'no-such-program' on this machine (ENOENT)."
            " Install it, or give its full path.\n"
        ),
    )


@pytest.mark.usefixtures("lab")
def test_exec_of_non_executable_file_exits_126(command, tmp_path):
    (tmp_path / "program").write_text("")
    result = command("exec", "lab", "--", str(tmp_path / "program"))
    assert (result.status, "is not executable (EACCES). Give it the execute permission" in result.err) == (126, True)


@pytest.mark.parametrize("arguments", [("exec", "lab", "true"), ("dump", "lab"), ("down", "lab")])
@pytest.mark.usefixtures("lab")
def test_exec_dump_and_down_in_a_user_namespace_exit_77(command, arguments):
    result = command(*arguments, prefix=(sys.executable, "-m", "tunlab.kernel.namespace.userns"))
    assert (result.status, result.out) == (77, "")
    assert ". Run as root, or in a container with --cap-add NET_ADMIN" in result.err
    assert "tunlab.kernel.namespace.userns" not in result.err


@pytest.mark.parametrize("arguments", [("lab",), ("lab", "--")])
@pytest.mark.usefixtures("lab")
def test_exec_without_command_exits_2(command, arguments):
    result = command("exec", *arguments)
    assert result.status == 2
    assert "Usage: tunlab exec" in result.err


@pytest.mark.usefixtures("lab")
def test_shell_starts_the_program_in_the_shell_variable(command, environment, need):
    result = command("shell", env={**environment, "SHELL": need("readlink")}, prefix=())
    assert result.err.startswith("shell in lab lab; type exit to leave\n")
    result = command("shell", env={**environment, "SHELL": need("env")})
    assert "TUNLAB_LAB=lab\n" in result.out


def test_exec_with_target_node_or_lab_slash_node_runs_in_that_node(command, router, need):
    where = (need("sh"), "-c", "readlink /proc/self/ns/net; echo $TUNLAB_LAB $TUNLAB_NODE")
    identity = router.state.namespaces["client"][1]
    for target in ("router/client", "client"):
        assert command("exec", target, "--", *where).out == f"net:[{identity}]\nrouter client\n"


def test_exec_with_target_lab_runs_in_its_only_node_with_a_tun(command, router, need):
    assert command("exec", "router", "--", need("sh"), "-c", "echo $TUNLAB_NODE").out == "stack\n"


def test_exec_with_target_lab_of_two_nodes_without_tun_exits_73(tunlab):
    tunlab("up", "two-hosts")
    result = tunlab("exec", "two-hosts", "--", "true")
    assert (result.status, result.err) == (
        73,
        "tunlab: lab 'two-hosts' has 2 nodes: a, b. Name one of them: two-hosts/a.\n",
    )


@pytest.mark.usefixtures("router")
def test_error_of_exec_in_unknown_node_suggests_a_similar_name(tunlab):
    assert tunlab("exec", "router/clinet", "--", "true").err == (
        "tunlab: lab 'router' has no node 'clinet'. Did you mean client?\n"
    )


def test_exec_with_node_name_in_two_labs_exits_73(tunlab):
    tunlab("up", "two-hosts")
    tunlab("up", "bridge")
    result = tunlab("exec", "a", "--", "true")
    assert result.status == 73
    assert result.err.startswith("tunlab: 2 labs have a node 'a': bridge, two-hosts. Name the lab too: ")


@pytest.mark.usefixtures("router")
def test_shell_with_lab_and_node_runs_in_that_node(command, environment):
    result = command("shell", "router/server", env={**environment, "SHELL": "/bin/sh"}, input="hostname\n", stdin=None)
    assert (result.status, result.out) == (0, "server\n")
    assert result.err.startswith("shell in node server of lab router; type exit to leave\n")
