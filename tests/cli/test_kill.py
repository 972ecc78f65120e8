"""`tunlab up` and `down` killed by SIGKILL at any point: the next `tunlab down` removes the lab."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.slow


JSON, NET = "{run}/lab/lab.json.new", "{run}/lab/net"
TUN = "/dev/net/tun"
# Each entry is (system call, n, file): the command is killed before a thread makes the call for the n-th time. If a
# file is given, only calls on that file count.
POINTS = [
    ("flock", 2, ""),  # before the first flock(2), nothing has been created yet
    ("openat", 1, JSON),
    ("write", 1, JSON),
    ("close", 1, JSON),
    ("rename", 1, ""),
    ("unshare", 1, ""),
    ("openat", 1, "/proc/sys/net/ipv4/ip_forward"),
    ("write", 1, "/proc/sys/net/ipv4/ping_group_range"),
    ("write", 1, "/proc/sys/net/ipv6/conf/all/disable_ipv6"),
    ("write", 2, JSON),
    ("rename", 2, ""),
    ("openat", 1, NET),
    ("mount", 1, ""),
    ("setns", 1, ""),
    ("openat", 1, TUN),
    ("ioctl", 1, TUN),
    ("sendto", 1, ""),
    ("sendto", 2, ""),
    ("close", 1, TUN),
    ("write", 3, JSON),
    ("close", 3, JSON),
    ("rename", 3, ""),
]


@pytest.fixture
def killed_up(command, need, run_directory):
    def run(call, when, file):
        prefix = [need("strace"), "-f", "-qq", "-o", os.devnull]
        prefix += ["-P", file.format(run=run_directory)] if file else []
        prefix += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
        assert command("up", prefix=prefix).status == -signal.SIGKILL

    return run


@pytest.mark.parametrize(("call", "when", "file"), POINTS, ids=[f"{call}-{when}-{file}" for call, when, file in POINTS])
def test_up_killed_at_any_point_leaves_a_lab_that_down_removes(tunlab, killed_up, run_directory, call, when, file):
    killed_up(call, when, file)
    (seen,) = json.loads(tunlab("ls", "--json").out)
    assert (seen["name"], seen["condition"]) == ("lab", "broken")
    assert tunlab("up") == (
        73,
        "",
        "tunlab: lab 'lab' is broken: the process that built it was killed. `tunlab down lab` removes it.\n",
    )
    assert tunlab("exec", "lab", "true").status == 73
    assert tunlab("down", "lab").status == 0
    assert list(run_directory.iterdir()) == []
    assert tunlab("up").status == 0


def test_up_killed_before_it_creates_anything_leaves_no_lab(tunlab, killed_up):
    killed_up("mkdir", 2, "")
    assert tunlab("ls", "--json").out == "[]\n"
    assert tunlab("up").status == 0


@pytest.mark.parametrize("call", ["umount2", "unlink", "rmdir"])
def test_down_killed_at_any_point_is_completed_by_the_next_down(tunlab, command, need, lab, call):
    strace = (need("strace"), "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}")
    result = command("down", "lab", prefix=(*strace, "-e", f"inject={call}:signal=KILL:when=1"))
    assert result.status == -signal.SIGKILL
    assert tunlab("up").status == 73
    assert tunlab("down", "lab").status == 0
    assert tunlab("up").status == 0
