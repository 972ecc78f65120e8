"""Machines: the mount, UTS and PID namespace of a node, its init, and the programs in it."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace import node_init
from tunlab.kernel.namespace.machine import Machine, kill_machine
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.processes import has_ended

VIEW = MountOverlay(hostname="node", texts={"/etc/hosts": "10.0.0.1 node\n"}, private=("/run",))


@pytest.fixture
def machine():
    with Netns.create() as netns, Machine(netns, lambda: VIEW) as made:
        yield made
        made.kill()


def text(machine, *arguments):
    return machine.run(arguments, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def spawn(machine):
    """Function that starts a program of the init; it returns the pidfd and a function that reads its output."""
    opened = []

    def start(*arguments, **settings):
        output = os.memfd_create("output")
        opened.append(output)
        pidfd = machine.spawn(arguments, output, environment=dict(os.environ), **settings)
        opened.append(pidfd)
        return pidfd, lambda: os.pread(output, 1 << 22, 0)

    yield start
    for fd in opened:
        os.close(fd)


class TestNamespaces:
    def test_programs_of_a_machine_share_the_files_that_they_write(self, machine):
        text(machine, "sh", "-c", "echo lease >/run/lease; echo changed >>/etc/hosts; mv /etc/hosts /etc/hosts.old")
        assert text(machine, "cat", "/run/lease", "/etc/hosts.old") == "lease\n10.0.0.1 node\nchanged\n"
        assert not Path("/run/lease").exists()
        assert not Path("/etc/hosts.old").exists()

    def test_program_sees_host_name_and_processes_of_its_own_node_only(self, machine):
        before = socket.gethostname()
        sleeper = machine.popen(["sleep", "600"])
        names = text(machine, "sh", "-c", "hostname; for each in /proc/[0-9]*; do cat $each/comm; done").split()
        assert names == ["node", "tunlab-init", "sleep", "sh"]
        assert sleeper.poll() is None
        assert socket.gethostname() == before

    def test_program_in_a_machine_keeps_the_working_directory(self, machine, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert text(machine, "pwd") == f"{tmp_path}\n"

    def test_two_machines_have_separate_run_directories(self, machine):
        text(machine, "touch", "/run/one.socket")
        with Netns.create() as netns, Machine(netns, lambda: VIEW) as other:
            assert "one.socket" not in text(other, "ls", "/run")
            other.kill()

    def test_orphaned_processes_are_reaped_by_the_init_process(self, machine):
        text(machine, "sh", "-c", "(sleep 0 & ) ; true")
        while "(sleep)" in text(machine, "sh", "-c", "cat /proc/[0-9]*/stat || true"):
            assert machine.is_running


class TestKill:
    FAMILY = (
        "sleep 600 & setsid sleep 600 & unshare -n sleep 600 & (trap '' TERM; exec sleep 600) & (setsid sh -c '"
        "sleep 600 & echo >/dev/null' &) ; unshare -n -m setsid sleep 600 & echo; wait"
    )

    def members(self, machine):
        """Return pidfds of all processes of the node."""
        shown = text(machine, "sh", "-c", "readlink /proc/self/ns/pid").strip()
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        found = []
        for pid in pids:
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == shown:  # noqa: PTH115
                    found.append(os.pidfd_open(pid))
            except OSError:
                continue
        return found

    def test_kill_of_machine_ends_programs_that_left_the_network_namespace(self, machine):
        shell = machine.popen(["sh", "-c", self.FAMILY], stdout=subprocess.PIPE)
        shell.stdout.readline()
        members = self.members(machine)
        assert len(members) >= 5
        machine.kill()
        for pidfd in members:
            assert has_ended(pidfd)
            os.close(pidfd)
        assert shell.returncode == -signal.SIGKILL

    def test_kill_of_init_process_ends_every_program_and_the_next_program_starts_a_new_init(self, machine):
        text(machine, "touch", "/run/kept")
        sleeper = machine.popen(["sleep", "600"])
        os.kill(int(init_of(sleeper.pid)), signal.SIGKILL)
        assert sleeper.wait() == -signal.SIGKILL
        assert text(machine, "sh", "-c", "cat /proc/1/comm; ls -d /run/kept") == "tunlab-init\n/run/kept\n"

    def test_init_process_cannot_be_killed_from_inside_the_machine(self, machine):
        text(machine, "sh", "-c", "kill -KILL 1; kill -TERM 1; true")
        assert machine.is_running

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_kill_of_owner_process_ends_all_programs_of_the_machine(self, number):
        source = f"""
            import os, subprocess, sys
            from tunlab.kernel.namespace.machine import Machine
            from tunlab.kernel.namespace.mount_overlay import MountOverlay
            from tunlab.kernel.namespace.netns import Netns
            machine = Machine(Netns.create(), MountOverlay)
            shell = machine.popen(["sh", "-c", {self.FAMILY!r}], stdout=subprocess.PIPE)
            shell.stdout.readline()
            print(os.stat(f"/proc/{{shell.pid}}/ns/pid").st_ino, flush=True)
            sys.stdin.read()
        """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as owner:
            inode = int(owner.stdout.readline())
            members = [os.pidfd_open(pid) for pid in pids_in(inode)]
            assert len(members) >= 5
            owner.send_signal(number)
            owner.wait()
            for pidfd in members:
                has_ended(pidfd, timeout=None)
                os.close(pidfd)
        assert pids_in(inode) == []


def pids_in(inode):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and (entry / "ns/pid").stat().st_ino == inode
                and ") Z" not in (entry / "stat").read_text()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def init_of(pid):
    inode = Path(f"/proc/{pid}/ns/pid").stat().st_ino
    (init,) = (each for each in pids_in(inode) if Path(f"/proc/{each}/comm").read_text() == "tunlab-init\n")
    return init


class TestSpawn:
    def test_spawn_runs_as_user_in_directory_with_environment(self, spawn, machine):
        environment = {"MODE": "test", "PATH": os.environ["PATH"]}
        output = os.memfd_create("output")
        pidfd = machine.spawn(
            ["sh", "-c", "id -un; pwd; echo $MODE; echo error >&2; exit 3"],
            output,
            environment=environment,
            number=7,
            directory="/usr",
            user="nobody",
        )
        has_ended(pidfd, timeout=None)
        (status, ended) = machine.statuses()[7]
        assert (status, os.pread(output, 100, 0)) == (3, b"nobody\n/usr\ntest\nerror\n")
        assert ended > 0
        for fd in (pidfd, output):
            os.close(fd)

    def test_spawned_program_is_a_session_leader_but_not_process_1(self, spawn):
        pidfd, output = spawn("sh", "-c", "echo $PPID; test $$ -ne 1 && ps -o sid= -p $$ | grep -qw $$ && echo leads")
        has_ended(pidfd, timeout=None)
        assert wait_for_output(output, b"leads\n") == b"1\nleads\n"

    @pytest.mark.parametrize(
        ("arguments", "settings", "message", "code"),
        [
            (("no-such",), {}, "there is no program 'no-such'", errno.ENOENT),
            (("true",), {"directory": "/no/such"}, "node has no directory '/no/such'", errno.ENOENT),
            (("true",), {"user": "no-such"}, "this machine has no user 'no-such'", errno.ENOENT),
        ],
    )
    def test_error_of_spawn_names_the_cause(self, spawn, arguments, settings, message, code):
        with pytest.raises(KernelError, match=message) as caught:
            spawn(*arguments, **settings)
        assert caught.value.errno == code

    def test_long_output_of_program_is_cut_to_head_and_tail_with_number_of_missing_bytes(self, spawn, machine):
        numbers = 1_000_000
        pidfd, output = spawn("seq", "-f", "%08.0f", str(numbers))
        has_ended(pidfd, timeout=None)
        machine.statuses()
        shown = output()
        assert len(shown) < node_init.LIMIT
        head, _, rest = shown.partition(b"\n[tunlab left out ")
        count, _, tail = rest.partition(b" bytes]\n")
        assert head.startswith(b"00000001\n00000002\n")
        assert tail.endswith(b"%08d\n" % numbers)
        assert len(head) + int(count) + len(tail) == numbers * 9

    def test_kill_programs_keeps_the_init_process_and_the_files(self, spawn, machine):
        pidfd, output = spawn("sh", "-c", "touch /run/kept; echo; sleep 600 & exec sleep 600")
        wait_for_output(output, b"\n")
        machine.kill_programs()
        assert has_ended(pidfd)
        assert machine.statuses() == {}
        assert text(machine, "ls", "/run/kept") == "/run/kept\n"


def wait_for_output(output, end):
    while not (shown := output()).endswith(end):
        continue
    return shown


class TestDetached:
    def test_detached_machine_outlives_its_owner_and_can_be_joined(self, tmp_path):
        source = """
            import os, sys
            from pathlib import Path
            from tunlab.kernel.namespace.machine import Machine
            from tunlab.kernel.namespace.mount_overlay import MountOverlay
            from tunlab.kernel.namespace.netns import Netns
            netns = Netns.create()
            machine = Machine(netns, lambda: MountOverlay(private=("/run",)))
            machine.run(["touch", "/run/file"])
            output = os.memfd_create("output")
            machine.spawn(["sleep", "600"], output, environment=dict(os.environ))
            machine.detach(Path(sys.argv[1]))
        """
        path = tmp_path / "init.socket"
        subprocess.run([sys.executable, "-c", textwrap.dedent(source), str(path)], check=True)
        with Netns.create() as netns, Machine(netns, MountOverlay, path=path) as machine:
            assert machine.join()
            assert machine.statuses()[0][0] is None
            assert "/run/file" in text(machine, "sh", "-c", "ls /run/file; cat /proc/[0-9]*/comm")
        kill_machine(path)
        with Netns.create() as netns, Machine(netns, MountOverlay, path=path) as machine:
            assert not machine.join()

    def test_two_processes_that_use_a_node_at_once_create_one_machine(self, tmp_path):
        with Netns.create() as netns:
            netns.pin(tmp_path / "net")
        source = """
            import sys
            from pathlib import Path
            from tunlab.kernel.namespace.machine import Machine
            from tunlab.kernel.namespace.mount_overlay import MountOverlay
            from tunlab.kernel.namespace.netns import Netns
            directory = Path(sys.argv[1])
            with Netns.open(directory / "net") as netns:
                machine = Machine(netns, MountOverlay, path=directory / "init.socket")
                machine.run(["readlink", "/proc/1/ns/pid"])
        """
        command = [sys.executable, "-c", textwrap.dedent(source), str(tmp_path)]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        names = {each.communicate()[0] for each in started}
        assert len(names) == 1
        assert names.pop().startswith("pid:[")
        kill_machine(tmp_path / "init.socket")
        subprocess.run(["umount", str(tmp_path / "net")], check=True)
