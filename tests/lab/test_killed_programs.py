"""SIGKILL of `up`, `down`, a program or an init at many moments: no process of the lab is left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunlab.kernel.namespace.processes import has_ended, is_node_init
from tunlab.lab import PersistentLab

pytestmark = pytest.mark.slow

FAMILY = (
    "trap '' TERM; (setsid sleep 600 &) ; unshare -n sleep 600 & unshare -n -m setsid sleep 600 & sleep 600 &"
    " echo ready; wait; exec sleep 600"
)


@pytest.fixture
def lab_file(tmp_path):
    """Write a lab file whose programs leave their session and their network namespace, and return its path."""
    file = tmp_path / "family.toml"
    run = [{"command": ["sh", "-c", FAMILY], "ready": {"line": "ready"}}]
    text = json.dumps(run[0]["command"])
    node = f'{{ env = {{ TUNLAB_MARK = "{tmp_path}" }}, run = [{{ command = {text}, ready = {{ line = "ready" }} }}] }}'
    file.write_text(f"[nodes]\na = {node}\nb = {node}\n")
    return file


@pytest.fixture
def marked(tmp_path):
    """Return a function that returns the ids of the running programs of the lab."""

    def find():
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"TUNLAB_MARK={tmp_path}\0".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # It has ended, or is a zombie.
                continue
        return found

    return find


def wait_until_gone(marked):
    """Wait for the ends of processes that are being killed by the kernel, because their init was."""
    for pid in marked():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        assert has_ended(pidfd, timeout=20_000)
        os.close(pidfd)
    assert marked() == []


def tunlab(*arguments, kill=None, need=None):
    prefix = []
    if kill:
        call, when = kill
        prefix = [need("strace"), "-f", "-qq", "-b", "execve", "-o", os.devnull]
        prefix += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    command = [*prefix, sys.executable, "-m", "tunlab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).returncode


UP = [("sendmsg", n) for n in range(1, 8)] + [("recvmsg", n) for n in range(1, 8)]
UP += [("memfd_create", 1), ("memfd_create", 2), ("bind", 1), ("listen", 1), ("connect", 1), ("rename", 3)]


@pytest.mark.parametrize(("call", "when"), UP, ids=[f"{call}-{when}" for call, when in UP])
def test_killed_up_leaves_no_process_after_gc(lab_file, marked, run_directory, need, call, when):
    status = tunlab("up", str(lab_file), kill=(call, when), need=need)
    if status == 0:  # `up` makes fewer such calls.
        assert tunlab("down", "family") == 0
    else:
        assert status == -signal.SIGKILL
        assert tunlab("gc") == 0
    wait_until_gone(marked)
    assert list(run_directory.iterdir()) == []


DOWN = [("pidfd_open", n) for n in range(1, 6)] + [("pidfd_send_signal", n) for n in range(1, 6)]
DOWN += [("umount2", 1), ("umount2", 2), ("unlink", 1), ("unlink", 2), ("unlink", 3), ("unlink", 4), ("rmdir", 1)]
DOWN += [("rmdir", 2), ("rmdir", 3), ("poll", 1)]


@pytest.mark.parametrize(("call", "when"), DOWN, ids=[f"{call}-{when}" for call, when in DOWN])
def test_killed_down_is_finished_by_the_next_down(lab_file, marked, run_directory, need, call, when):
    assert tunlab("up", str(lab_file)) == 0
    assert len(marked()) >= 8
    if tunlab("down", "family", kill=(call, when), need=need):
        tunlab("down", "family")
        tunlab("gc")
    wait_until_gone(marked)
    assert list(run_directory.iterdir()) == []


def test_killed_init_ends_its_node_and_the_next_exec_starts_another(lab_file, marked, run_directory):
    assert tunlab("up", str(lab_file)) == 0
    lab = PersistentLab.open("family")
    with lab.netns("a") as netns:
        own = netns.processes()
        inits = [
            int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and is_node_init(int(each.name))
        ]
        spaces = {os.stat(f"/proc/{pid}/ns/pid").st_ino: pid for pid in inits}  # noqa: PTH116
        os.kill(spaces[os.stat(f"/proc/{own[0]}/ns/pid").st_ino], signal.SIGKILL)  # noqa: PTH116
    handles = [os.pidfd_open(pid) for pid in own if Path(f"/proc/{pid}").exists()]
    for handle in handles:
        assert has_ended(handle, timeout=20_000)
        os.close(handle)
    assert len(marked()) >= 4  # node b runs on
    assert tunlab("exec", "family/a", "--", "true") == 0
    assert tunlab("down", "family") == 0
    wait_until_gone(marked)
