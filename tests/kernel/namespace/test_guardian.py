"""The guardian process, which kills programs in namespaces when their owner exits."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tunlab.kernel.namespace import guardian, processes
from tunlab.kernel.namespace.netns import Netns


def has_ended(pidfd):
    """Wait until the process of a pidfd ends; return False after a timeout."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(30_000))


@pytest.fixture
def start_owner():
    """Return a function that runs Python source in a new process, which creates namespaces.

    The source prints process ids. The function returns the new process, and a pidfd for each printed id.
    """
    started, pidfds = [], []

    def start(source, *arguments):
        path = str(Path(__file__).parents[3])
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=environment)
        started.append(process)
        pidfds.extend(os.pidfd_open(int(pid)) for pid in process.stdout.readline().split())
        return process, pidfds

    yield start
    for pidfd in pidfds:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
    for process in started:
        process.kill()
        process.stdin.close()
        process.stdout.close()  # Only one line was read, and a surviving program keeps the pipe open.
        process.wait()


FAMILY = """
    import subprocess, sys
    from tunlab.kernel.namespace import guardian
    from tunlab.kernel.namespace.netns import Netns
    netns = Netns.create()
    child = netns.popen(["sleep", "1000"])
    shell = netns.popen(["sh", "-c", "setsid sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE)
    grandchild = int(shell.stdout.readline())
    print(child.pid, shell.pid, grandchild, guardian.guardian_pid(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_programs_of_killed_process_are_killed(start_owner, number):
    process, pidfds = start_owner(FAMILY + "    sys.stdin.read()")
    assert len(pidfds) == 4
    process.send_signal(number)
    process.wait()
    assert all(map(has_ended, pidfds))


def test_programs_of_exited_process_are_killed(start_owner):
    process, pidfds = start_owner(FAMILY + "    sys.stdin.read()")
    process.stdin.close()
    assert process.wait() == 0
    assert all(map(has_ended, pidfds))


def test_programs_of_process_that_calls_os_exit_are_killed(start_owner):
    process, pidfds = start_owner(FAMILY + "    sys.stdin.read()\n    import os; os._exit(3)")
    process.stdin.close()
    assert process.wait() == 3
    assert all(map(has_ended, pidfds))


def test_forked_child_does_not_keep_programs_alive(start_owner):
    source = FAMILY.replace(", flush=True)", ", end=' ', flush=True)") + textwrap.indent(
        textwrap.dedent("""
            import os
            pid = os.fork()
            if not pid:
                os.close(1)
                assert guardian.guardian_pid() == 0
                while True:
                    os.sched_yield() if False else __import__("signal").pause()
            print(pid, flush=True)
            sys.stdin.read()
        """),
        "    ",
    )
    process, pidfds = start_owner(source)
    assert len(pidfds) == 5
    process.kill()
    process.wait()
    assert all(map(has_ended, pidfds[:4]))
    # The fifth process survives, because it is outside the watched namespace.
    assert not select.select([pidfds[4]], [], [], 0)[0]


def test_forked_child_exit_kills_no_program(start_owner):
    source = FAMILY + textwrap.indent(
        textwrap.dedent("""
            import os
            pid = os.fork()
            if not pid:
                sys.exit(0)
            os.waitpid(pid, 0)
            sys.stdin.readline()
            print(child.poll(), shell.poll(), len(netns.processes()), flush=True)
        """),
        "    ",
    )
    process, _ = start_owner(source)
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline().split() == [b"None", b"None", b"3"]


def test_programs_in_closed_namespace_outlive_process(start_owner):
    source = """
        import sys
        from tunlab.kernel.namespace.netns import Netns
        netns = Netns.create()
        child = netns.popen(["sleep", "1000"])
        netns.close()
        print(child.pid, flush=True)
    """
    process, pidfds = start_owner(source)
    process.wait()
    assert not select.select(pidfds, [], [], 0)[0]


def test_programs_in_pinned_namespace_outlive_process(start_owner, tmp_path):
    source = """
        import sys
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.handle import unpin
        netns = Netns.create()
        first = netns.popen(["sleep", "1000"])
        netns.pin(sys.argv[1])
        second = netns.popen(["sleep", "1000"])
        print(first.pid, second.pid, flush=True)
        unpin(sys.argv[1])
    """
    process, pidfds = start_owner(source, tmp_path / "net")
    process.wait()
    assert not select.select(pidfds, [], [], 0)[0]


def test_programs_in_namespace_of_other_process_are_not_killed(start_owner, netns):
    with netns.popen(["sleep", "1000"]) as sleeper:
        source = """
            import sys
            from tunlab.kernel.namespace import guardian
            from tunlab.kernel.namespace.netns import Netns
            netns = Netns.of_process(int(sys.argv[1]))
            child = netns.popen(["sleep", "1000"])
            assert guardian.guardian_pid() == 0
            print(child.pid, flush=True)
        """
        process, pidfds = start_owner(source, sleeper.pid)
        process.wait()
        assert not select.select(pidfds, [], [], 0)[0]
        assert sleeper.poll() is None
        assert len(netns.kill_processes()) == 2


def test_guardian_is_one_process_in_its_own_session(netns, other_netns):
    for namespace in (netns, other_netns):
        namespace.run(["true"])
    pid = guardian.guardian_pid()
    assert pid
    assert os.getsid(pid) == pid
    for namespace in (netns, other_netns):
        assert pid not in namespace.processes()
    netns.run(["true"])
    assert guardian.guardian_pid() == pid


def test_guardian_is_not_started_without_program(start_owner):
    source = """
        from tunlab.kernel.namespace import guardian
        from tunlab.kernel.namespace.netns import Netns
        Netns.create().close()
        assert guardian.guardian_pid() == 0
        print()
    """
    process, _ = start_owner(source)
    assert process.wait() == 0


def test_stop_of_guardian_kills_programs_and_ends_its_process(start_owner):
    source = """
        from tunlab.kernel.namespace import guardian
        from tunlab.kernel.namespace.netns import Netns
        with Netns.create() as netns, netns.popen(["sleep", "1000"]) as sleeper:
            pid = guardian.guardian_pid()
            guardian.stop()
            assert sleeper.wait() == -9
            assert guardian.guardian_pid() == 0
            guardian.stop()
            with netns.popen(["sleep", "1000"]) as another:
                assert guardian.guardian_pid() not in (0, pid)
                assert netns.kill_processes() == [another.pid]
        print()
    """
    process, _ = start_owner(source)
    assert process.wait() == 0


def test_killed_guardian_process_is_replaced(start_owner):
    source = """
        import os, signal
        from tunlab.kernel.namespace import guardian
        from tunlab.kernel.namespace.netns import Netns
        first, second = Netns.create(), Netns.create()
        first.run(["true"])
        pid = guardian.guardian_pid()
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        child = second.popen(["sleep", "1000"])
        assert guardian.guardian_pid() not in (0, pid)
        first.close()
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    process, pidfds = start_owner(source)
    process.wait()
    assert all(map(has_ended, pidfds))


def test_guardian_closes_inherited_descriptors(start_owner):
    source = """
        import os, sys
        from tunlab.kernel.namespace import guardian
        from tunlab.kernel.namespace.netns import Netns
        os.set_inheritable(os.open("/etc/hostname", os.O_RDONLY), True)
        with Netns.create() as netns:
            netns.run(["true"])
            pid = guardian.guardian_pid()
            print(pid, flush=True)
            sys.stdin.readline()
    """
    process, pidfds = start_owner(source)
    pid = int(Path(f"/proc/self/fdinfo/{pidfds[0]}").read_text().partition("Pid:\t")[2].split()[0])
    links = {}
    # When the guardian waits in poll, it has closed its inherited descriptors.
    while not any(link.startswith("anon_inode:[pidfd]") for link in links.values()):
        links = held_by(pid)
    assert "/etc/hostname" not in links.values()
    assert links["0"].startswith("socket:")
    assert links["1"] == links["2"] == os.devnull
    process.communicate(b"\n")


def test_guardian_releases_namespace_after_close(start_owner):
    source = """
        import os, sys
        from tunlab.kernel.namespace import guardian
        from tunlab.kernel.namespace.netns import Netns
        namespaces = [Netns.create() for _ in range(30)]
        for netns in namespaces:
            netns.run(["true"])
        for netns in namespaces:
            netns.close()
        last = Netns.create()
        last.run(["true"])
        assert guardian._state.watched == {last.identity}
        print(guardian.guardian_pid(), flush=True)
        sys.stdin.readline()
    """
    process, pidfds = start_owner(source)
    pid = int(Path(f"/proc/self/fdinfo/{pidfds[0]}").read_text().partition("Pid:\t")[2].split()[0])
    held = None
    while held != 1:  # The guardian handles messages asynchronously, so wait.
        held = sum(link.startswith("net:") for link in held_by(pid).values())
    process.communicate(b"\n")


def held_by(pid):
    links = {}
    for fd in (entry.name for entry in Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # The process has closed the descriptor.
            links[fd] = str(Path(f"/proc/{pid}/fd/{fd}").readlink())
    return links


def test_find_processes_returns_processes_in_given_namespaces(netns):
    assert processes.find_processes(()) == []
    with netns.popen(["sleep", "100"]) as sleeper:
        assert processes.find_processes({netns.identity}) == [sleeper.pid]
        assert processes.find_processes({(0, 0)}) == []
        assert processes.kill_processes({netns.identity}, spare={sleeper.pid}) == (set(), set())
        assert processes.kill_processes({netns.identity}) == ({sleeper.pid}, set())


def test_find_processes_ignores_zombies(netns):
    process = netns.popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert netns.processes() == []
    process.wait()


@pytest.mark.parametrize("name", ["guardian", "node_init", "processes"])
def test_guardian_modules_load_without_other_packages(name):
    source = f"import sys; sys.path.insert(0, {str(Path(guardian.__file__).parents[3])!r});"
    source += f"import tunlab.kernel.namespace.{name}; print(not {{'msgspec', 'ctypes'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_forked_child_does_not_watch_namespace_of_its_parent(start_owner):
    source = """
        import os, sys
        from tunlab.kernel.namespace import guardian
        from tunlab.kernel.namespace.netns import Netns
        netns = Netns.create()
        sleeper = netns.popen(["sleep", "1000"])
        pid = os.fork()
        if not pid:
            netns.run(["true"])
            os._exit(guardian.guardian_pid() != 0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sleeper.poll(), flush=True)
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        check=True,
    )
    assert process.stdout.split() == [b"0", b"None"]


def test_second_watch_of_a_namespace_does_not_register_it_again():
    with Netns.create() as netns:
        guardian.watch(netns.fd)
        guardian.watch(netns.fd)
        assert netns.identity in guardian._state.watched
    assert netns.identity not in guardian._state.watched
