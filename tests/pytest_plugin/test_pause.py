"""The option --tunlab-pause, in real pytest runs with a pseudo-terminal."""

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
    """A pytest run in a pseudo-terminal."""

    def __init__(self, *arguments, cwd):
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        self.run = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, start_new_session=True)
        os.close(slave)
        self.text = ""

    def read_until(self, wanted):
        """Wait until the output contains `wanted` or the run ends, and return the output."""
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        while wanted not in self.text:
            assert poll.poll(SECONDS * 1000), self.text
            try:
                data = os.read(self.master, 65_536)
            except OSError:  # Reading fails with EIO after the run has ended.
                break
            self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return self.text

    def close(self):
        self.run.kill()
        self.run.wait()
        os.close(self.master)


@pytest.fixture
def terminal(pytester):
    """Return a function that starts pytest in a pseudo-terminal."""
    opened = []

    def start(*arguments):
        opened.append(Terminal(*arguments, cwd=pytester.path))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_pause_prints_commands_that_enter_the_namespace_and_ends_at_enter_key(pytester, terminal, need, capture):
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
    text = run.read_until("Press Enter to continue: ")
    assert "assert '10.1.2.1' == 'nowhere'" in text
    assert "test_x failed; its namespaces are still up" in text
    (enter,) = re.findall(r"^  (nsenter .*) bash$", text, re.MULTILINE)
    assert f"  {enter} tcpdump -ni tun0\n  {enter} ping -c 1 10.1.2.2\n" in text
    for kind, name in (("recorded", "test_x.pcapng"), ("page", "test_x.html")):
        (named,) = re.findall(rf"^{kind} +(\S*{name})$", text, re.MULTILINE)
        assert (pytester.path / named).exists(), "the file exists while the run is paused"
    inside = subprocess.run([*enter.split(), "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
    assert "tun0:" in inside
    os.write(run.master, b"\n")
    text = run.read_until("no such text")
    assert "1 failed, 1 passed" in text
    assert "Captured" not in text
    assert run.run.wait(SECONDS) == 1


def test_pause_interrupted_by_sigint_keeps_the_recording(pytester, terminal):
    pytester.makepyfile("def test_x(tun):\n    tun.ping(tun.peer)\n    assert False\n")
    run = terminal("--tunlab-pause")
    run.read_until("Press Enter to continue: ")
    run.run.send_signal(signal.SIGINT)
    run.read_until("no such text")
    assert run.run.wait(SECONDS) == pytest.ExitCode.INTERRUPTED
    assert sorted(path.suffix for path in (pytester.path / ".tunlab/records").glob("test_*")) == [".html", ".pcapng"]


def test_pause_after_failed_subtest_captures_later_output(pytester, terminal):
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
        run.read_until("Press Enter to continue: ")
        run.text = ""
        os.write(run.master, b"\n")
    text = run.read_until("no such text")
    assert re.search(r"- Captured stdout call -+\nsaid said", text)


def test_pause_in_lab_test_prints_commands_for_each_node(pytester, terminal):
    pytester.makepyfile('import pytest\n@pytest.mark.lab("two-hosts")\ndef test_x(lab): assert False\n')
    run = terminal("--tunlab-pause")
    text = run.read_until("Press Enter to continue: ")
    assert len(re.findall(r"^(\w+):\n  nsenter", text, re.MULTILINE)) == 2
    os.write(run.master, b"\n")
    run.read_until("no such text")


def test_namespace_can_be_entered_at_pause_after_teardown_failure(pytester, terminal, need):
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
    text = run.read_until("Press Enter to continue: ")
    (enter,) = re.findall(r"^  (nsenter .*) bash$", text, re.MULTILINE)
    assert "tun0:" in subprocess.run([*enter.split(), "cat", "/proc/net/dev"], capture_output=True, text=True).stdout
    os.write(run.master, b"\n")
    run.read_until("no such text")


def test_pause_option_with_passing_test_does_not_pause(pytester, terminal):
    pytester.makepyfile("def test_x(tun): pass\n")
    run = terminal("--tunlab-pause")
    assert "1 passed" in run.read_until("no such text")


def test_pause_option_with_xdist_or_without_terminal_is_a_usage_error(pytester, run):
    pytester.makepyfile("def test_x(tun): pass\n")
    result = run("--tunlab-pause", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tunlab-pause does not work with parallel tests. Run pytest without -n.*"])
    result = run("--tunlab-pause")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tunlab-pause waits for Enter, but standard input is not a terminal*"])
