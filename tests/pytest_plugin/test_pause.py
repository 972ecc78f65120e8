"""A stop at a failure, at a terminal, with the namespaces alive."""

import os
import pty
import re
import select
import signal
import subprocess
import sys

import pytest

SECONDS = 60


class Terminal:
    """A pytest run at the other end of a terminal."""

    def __init__(self, *arguments, cwd):
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        self.run = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, start_new_session=True)
        os.close(slave)
        self.text = ""

    def read_until(self, wanted):
        """Everything up to `wanted`, or to the end."""
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        while wanted not in self.text:
            assert poll.poll(SECONDS * 1000), self.text
            try:
                octets = os.read(self.master, 65_536)
            except OSError:  # EIO: the run has ended
                break
            self.text += octets.decode(errors="replace").replace("\r\n", "\n")
        return self.text

    def close(self):
        self.run.kill()
        self.run.wait()
        os.close(self.master)


@pytest.fixture
def terminal(pytester):
    opened = []

    def start(*arguments):
        opened.append(Terminal(*arguments, cwd=pytester.path))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_the_lines_work_as_they_are_printed_and_enter_goes_on(pytester, terminal, need, capture):
    need("nsenter")
    pytester.makepyfile(
        """
        def test_x(tun):
            tun.ping(tun.peer)
            assert tun.address == "nowhere"
        def test_y(tun): pass
        """
    )
    run = terminal("--tunlab-pause", f"--capture={capture}")
    text = run.read_until("Enter goes on: ")
    assert "assert '10.1.2.1' == 'nowhere'" in text
    assert "test_x has failed, and stays as it is" in text
    (enter,) = re.findall(r"^  (nsenter .*) bash$", text, re.MULTILINE)
    assert f"  {enter} tcpdump -ni tun0\n  {enter} ping -c 1 10.1.2.2\n" in text
    for kind, name in (("recorded", "test_x.pcapng"), ("page", "test_x.html")):
        (named,) = re.findall(rf"^{kind} +(\S*{name})$", text, re.MULTILINE)
        assert (pytester.path / named).exists(), "what is named is there to be looked at"
    inside = subprocess.run([*enter.split(), "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
    assert "tun0:" in inside
    os.write(run.master, b"\n")
    text = run.read_until("no such text")
    assert "1 failed, 1 passed" in text
    assert "Captured" not in text
    assert run.run.wait(SECONDS) == 1


def test_after_an_interruption_the_files_are_there(pytester, terminal):
    pytester.makepyfile("def test_x(tun):\n    tun.ping(tun.peer)\n    assert False\n")
    run = terminal("--tunlab-pause")
    run.read_until("Enter goes on: ")
    run.run.send_signal(signal.SIGINT)
    run.read_until("no such text")
    assert run.run.wait(SECONDS) == pytest.ExitCode.INTERRUPTED
    assert sorted(path.suffix for path in (pytester.path / ".tunlab/records").glob("test_*")) == [".html", ".pcapng"]


def test_in_a_subtest_what_is_printed_afterwards_is_captured_again(pytester, terminal):
    pytester.makepyfile(
        """
        def test_x(tun, subtests):
            with subtests.test():
                assert False
            print("said " * 2)
            assert 0
        """
    )
    run = terminal("--tunlab-pause")
    for _ in range(2):
        run.read_until("Enter goes on: ")
        run.text = ""
        os.write(run.master, b"\n")
    text = run.read_until("no such text")
    assert re.search(r"- Captured stdout call -+\nsaid said", text)


def test_each_node_of_a_lab_has_its_line(pytester, terminal):
    pytester.makepyfile('import pytest\n@pytest.mark.lab("two-hosts")\ndef test_x(lab): assert False\n')
    run = terminal("--tunlab-pause")
    text = run.read_until("Enter goes on: ")
    assert len(re.findall(r"^(\w+):\n  nsenter", text, re.MULTILINE)) == 2
    os.write(run.master, b"\n")
    run.read_until("no such text")


def test_a_failure_of_the_teardown_can_be_entered_too(pytester, terminal, need):
    need("nsenter")
    pytester.makepyfile(
        """
        import pytest
        @pytest.fixture
        def late():
            yield
            assert False
        def test_x(late, tun): pass
        """
    )
    run = terminal("--tunlab-pause")
    text = run.read_until("Enter goes on: ")
    (enter,) = re.findall(r"^  (nsenter .*) bash$", text, re.MULTILINE)
    assert "tun0:" in subprocess.run([*enter.split(), "cat", "/proc/net/dev"], capture_output=True, text=True).stdout
    os.write(run.master, b"\n")
    run.read_until("no such text")


def test_a_passing_run_does_not_stop(pytester, terminal):
    pytester.makepyfile("def test_x(tun): pass\n")
    run = terminal("--tunlab-pause")
    assert "1 passed" in run.read_until("no such text")


def test_in_parallel_and_without_a_terminal_it_is_refused(pytester, run):
    pytester.makepyfile("def test_x(tun): pass\n")
    result = run("--tunlab-pause", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tunlab-pause stops at one failure at a time: run without -n*"])
    result = run("--tunlab-pause")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tunlab-pause waits for Enter, and standard input is no terminal*"])
