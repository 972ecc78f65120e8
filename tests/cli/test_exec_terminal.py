"""`tunlab exec` and `shell` on a terminal, and what signals to them do."""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.cli.pseudo_terminal import read_until
from tunlab.kernel.namespace.processes import has_ended

PROMPT = r"prompt\$ "


@pytest.fixture
def terminal(environment, lab):
    """Return the descriptor of a terminal of 30 rows and 100 columns on which a shell with job control runs."""
    pid, fd = pty.fork()
    if not pid:
        environment |= {"PS1": "prompt$ ", "TUNLAB": f"{sys.executable} -m tunlab", "TERM": "dumb"}
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environment)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("=HHHH", 30, 100, 0, 0))
    read_until(fd, PROMPT)
    yield fd
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    lab.down()


def type_line(fd, line):
    os.write(fd, line.encode() + b"\n")


def test_ctrl_c_ends_the_program_of_exec_which_exits_130(terminal):
    type_line(terminal, "$TUNLAB exec lab -- sh -c 'echo rea''dy; exec sleep 600'; echo status=$?")
    read_until(terminal, "ready")
    os.write(terminal, b"\x03")
    read_until(terminal, "status=130")


def test_program_that_handles_ctrl_c_decides_the_exit_code_of_exec(terminal):
    type_line(terminal, "$TUNLAB exec lab -- sh -c 'trap \"exit 7\" INT; echo rea''dy; while :; do sleep 1; done'")
    read_until(terminal, "ready")
    os.write(terminal, b"\x03")
    read_until(terminal, PROMPT)
    type_line(terminal, "echo status=$?")
    read_until(terminal, "status=7")


def test_ctrl_z_stops_exec_and_fg_continues_exec(terminal):
    type_line(terminal, "$TUNLAB exec lab -- sh -c 'echo rea''dy; read line; echo got-$line'")
    read_until(terminal, "ready")
    os.write(terminal, b"\x1a")
    read_until(terminal, r"Stopped[\s\S]*" + PROMPT)
    type_line(terminal, "fg")
    type_line(terminal, "again")
    read_until(terminal, "got-again")


def test_program_of_exec_sees_the_terminal_and_the_terminal_size(terminal):
    type_line(terminal, "$TUNLAB exec lab -- sh -c 'tty; stty size'")
    assert "/dev/pts/" in read_until(terminal, "30 100")


def test_shell_has_job_control_and_returns_the_terminal_at_exit(terminal):
    type_line(terminal, "SHELL=/bin/bash $TUNLAB shell lab; echo status=$?")
    read_until(terminal, "type exit to leave")
    type_line(terminal, "PS1='inner$ '; set -o | grep monitor; sleep 600 &")
    assert read_until(terminal, r"monitor\s+on[\s\S]*\[1\]")
    type_line(terminal, "kill %1; exit 3")
    read_until(terminal, "status=3")
    type_line(terminal, "sh -c 'read line; echo outer-$line'")
    type_line(terminal, "back")
    read_until(terminal, "outer-back")


@pytest.mark.usefixtures("lab")
def test_exec_keeps_working_directory_pipes_and_background_programs(command, list_labs, need):
    script = "pwd; cat; sleep 600 >/dev/null 2>&1 &"
    done = command("exec", "lab", "--", need("sh"), "-c", script, input="in\n", stdin=None)
    assert done.out == f"{ROOT}\nin\n"
    assert len(list_labs()["lab"]["processes"]) == 1


@pytest.mark.usefixtures("lab")
def test_sigkill_of_exec_ends_its_program(start, list_labs):
    running = start("exec", "lab", "--", "sh", "-c", "echo ready >&2; exec sleep 600")
    running.wait_for("ready")
    (pid,) = list_labs()["lab"]["processes"]
    program = os.pidfd_open(pid)
    running.process.kill()
    assert has_ended(program, timeout=None)
    os.close(program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.usefixtures("lab")
def test_signal_to_exec_is_passed_to_its_program(start, number):
    running = start("exec", "lab", "--", "sh", "-c", "echo ready >&2; exec sleep 600")
    running.wait_for("ready")
    running.process.send_signal(number)
    assert running.end().status == 128 + number


def test_exec_sees_files_that_programs_of_the_run_key_wrote(command, tmp_path, run_directory):
    file = tmp_path / "one.toml"
    program = ["sh", "-c", "touch /run/lease; echo ready; exec sleep 600"]
    file.write_text(f'[nodes]\na = {{ run = [{{ command = {program}, ready = {{ line = "ready" }} }}] }}\n')
    assert command("up", str(file)).status == 0
    assert command("exec", "one/a", "--", "ls", "/run/lease").out == "/run/lease\n"
    command("exec", "one/a", "--", "touch", "/run/second")
    assert "second" in command("exec", "one/a", "--", "ls", "/run").out
    assert command("exec", "one/a", "--", "ls", str(run_directory)).out == "one\n"
    assert command("down", "one").status == 0


def test_down_ends_a_program_that_left_the_network_namespace(command, tmp_path):
    file = tmp_path / "one.toml"
    program = ["unshare", "-n", "sh", "-c", "echo ready; exec sleep 54323"]
    file.write_text(f'[nodes]\na = {{ run = [{{ command = {program}, ready = {{ line = "ready" }} }}] }}\n')
    assert command("up", str(file)).status == 0
    (pid,) = (int(entry.name) for entry in Path("/proc").iterdir() if is_sleeper(entry))
    program = os.pidfd_open(pid)
    assert command("down", "one").status == 0
    assert has_ended(program)
    os.close(program)


def is_sleeper(entry):
    try:
        return (entry / "cmdline").read_bytes() == b"sleep\x0054323\x00"
    except OSError:  # `entry` is not a process, or the process has ended.
        return False
