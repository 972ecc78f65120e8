"""Programs in a network namespace: start, errors and killing."""

import errno
import os
import subprocess

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.namespace.netns import Netns


def test_run_executes_program_inside_namespace(netns):
    done = netns.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True)
    assert done.stdout.strip() == str(netns)
    assert done.returncode == 0


def test_run_passes_input_and_output_of_program(netns):
    done = netns.run(["cat"], input=b"bytes", capture_output=True)
    assert (done.stdout, done.stderr, done.args) == (b"bytes", b"", ["cat"])


def test_run_with_check_raises_on_nonzero_exit_status(netns):
    assert netns.run(["false"]).returncode == 1
    with pytest.raises(subprocess.CalledProcessError):
        netns.run(["false"], check=True)


def test_run_with_timeout_kills_program(netns):
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        netns.run(["sleep", "1000"], capture_output=True, timeout=0.01)
    assert (raised.value.cmd, raised.value.stdout) == (["sleep", "1000"], b"")
    assert netns.processes() == []


def test_run_accepts_path_objects(netns, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    assert netns.run([program]).returncode == 7


@pytest.mark.parametrize("args", ["true", b"true", []])
def test_popen_of_string_raises_type_error(netns, args):
    with pytest.raises(TypeError, match="is not a list"):
        netns.popen(args)


def test_popen_with_shell_argument_raises_type_error(netns):
    with pytest.raises(TypeError, match="shell=True is set"):
        netns.popen(["true"], shell=True)


def test_error_of_popen_with_missing_program_names_program(netns):
    with pytest.raises(KernelError) as raised:
        netns.run(["no-such-program"])
    assert raised.value.errno == errno.ENOENT
    assert str(raised.value) == (
        "run no-such-program: there is no program 'no-such-program' on this machine (ENOENT). "
        "Install it, or give its full path."
    )


def test_error_of_popen_with_missing_cwd_names_directory(netns):
    with pytest.raises(KernelError, match="there is no directory '/no/such'"):
        netns.run(["true"], cwd="/no/such")


def test_error_of_popen_without_execute_permission_names_file(netns, tmp_path):
    (tmp_path / "file").touch(mode=0o644)
    with pytest.raises(KernelError, match="is not executable") as raised:
        netns.run([tmp_path / "file"])
    assert not isinstance(raised.value, PrivilegeError)


def test_error_of_popen_with_file_of_wrong_format_names_file(netns, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"\x7fnothing")
    file.chmod(0o755)
    with pytest.raises(KernelError, match="is not an executable for this machine"):
        netns.run([file])


def test_processes_of_namespace_are_listed_without_others(netns, other_netns):
    with netns.popen(["sleep", "100"]) as sleeper:
        assert netns.processes() == [sleeper.pid]
        assert other_netns.processes() == []
        assert netns.kill_processes() == [sleeper.pid]
        assert sleeper.wait() == -9
    assert netns.processes() == []


def test_kill_processes_kills_descendants(netns):
    script = "sleep 1000 & sleep 1000 & setsid sleep 1000 & echo started; wait"
    with netns.popen(["sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout.readline() == b"started\n"
        killed = netns.kill_processes()
        assert shell.pid in killed
        assert len(killed) >= 3
    assert netns.processes() == []


def test_kill_processes_in_empty_namespace_returns_nothing(netns):
    assert netns.kill_processes() == []


def test_kill_processes_in_namespace_of_machine_raises():
    with Netns.current() as netns, pytest.raises(KernelError) as raised:
        netns.kill_processes()
    assert raised.value.errno == errno.EBUSY


def test_kill_processes_spares_calling_process_and_its_ancestors(netns, run_python):
    source = """
        import os, subprocess
        from tunlab.kernel.namespace.netns import Netns
        with subprocess.Popen(["sleep", "1000"]) as sleeper, Netns.current() as netns:
            assert {os.getpid(), os.getppid(), sleeper.pid} <= set(netns.processes())
            assert netns.kill_processes() == [sleeper.pid]
        print("alive")
    """
    assert netns.call(run_python, source, prefix=["sh", "-c", '"$@"; exit $?', "sh"]).strip() == "alive"


def test_error_of_netns_of_process_without_permission_gives_reason(netns, run_python):
    source = """
        import sys
        from tunlab.errors import KernelError
        from tunlab.kernel.namespace.netns import Netns
        try:
            Netns.of_process(int(sys.argv[1]))
        except KernelError as error:
            print(error)
    """
    output = run_python(source, os.getpid(), nobody=True)
    assert "this user may not inspect the process" in output


def test_error_of_kill_processes_with_process_of_other_user_names_process(run_python):
    source = """
        import os, subprocess
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        with Netns.create() as netns, netns.popen(["sleep", "1000"]) as sleeper:
            libc = __import__("ctypes").CDLL(None)
            os.setresuid(65534, 65534, 0)
            from tunlab.kernel.namespace import processes
            killed = processes.kill_processes({netns.identity}, spare=(sleeper.pid,))
            assert killed == (set(), set())
            os.setresuid(0, 0, 0)
            assert netns.kill_processes() == [sleeper.pid]
        print("done")
    """
    assert run_python(source).strip() == "done"


def test_kill_programs_kills_programs_and_leaves_no_zombie(netns):
    netns.run(["true"])
    sleeper = netns.popen(["sleep", "1000"], stdout=subprocess.PIPE)
    pid = sleeper.pid
    del sleeper
    assert netns.kill_programs() == [pid]
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    assert netns.kill_programs() == []


def test_kill_programs_ignores_program_that_has_exited(netns):
    ended = netns.popen(["true"])
    assert ended.wait() == 0
    assert netns.kill_programs() == []


def test_run_after_timeout_keeps_no_reference_to_program(netns):
    with pytest.raises(subprocess.TimeoutExpired):
        netns.run(["sleep", "1000"], timeout=0.01)
    assert netns._programs == []
