"""`tunlab down` and `gc`: they remove labs completely and leave everything else alone."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunlab.kernel.namespace.netns import Netns


@pytest.mark.usefixtures("lab")
def test_down_removes_the_lab_and_all_its_files(tunlab, run_directory):
    result = tunlab("down", "lab")
    assert (result.status, result.out) == (0, "lab is down: removed tun0, its namespace\n")
    assert list(run_directory.iterdir()) == []
    assert tunlab("up").status == 0


def test_down_kills_processes_in_the_lab(tunlab, start, need, list_labs):
    tunlab("up")
    inside = start("exec", "lab", "--", need("sh"), "-c", "echo ready >&2; exec sleep 600")
    inside.wait_for("ready")
    (pid,) = list_labs()["lab"]["processes"]
    assert b"ready" in Path(f"/proc/{pid}/cmdline").read_bytes() or Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    result = tunlab("down")
    assert result.out == f"lab is down: removed tun0, its namespace, 1 process ({pid})\n"
    assert inside.end().status == 128 + signal.SIGKILL


def test_down_makes_a_running_dump_exit_with_73(tunlab, dump):
    running = dump()
    assert tunlab("down").status == 0
    result = running.end()
    assert (result.status, result.err) == (
        73,
        "tunlab: tun0 in lab 'lab' was deleted or is down. `tunlab ls` lists the running labs.\n",
    )


def test_down_of_unknown_lab_exits_73(tunlab):
    result = tunlab("down", "nosuch")
    assert (result.status, result.err) == (
        73,
        "tunlab: there is no lab 'nosuch'. `tunlab up --name nosuch` creates it.\n",
    )
    assert tunlab("down").err == "tunlab: no lab exists, so there is nothing to remove. `tunlab up` creates one.\n"


def test_down_without_name_while_two_labs_are_up_exits_73(tunlab, list_labs):
    tunlab("up", "--name", "a")
    tunlab("up", "--name", "b")
    result = tunlab("down")
    assert (result.status, result.err) == (
        73,
        "tunlab: 2 labs exist: a, b. Name one of them, for example `tunlab down a`, or give --all.\n",
    )
    assert tunlab("down", "--all").out.count("is down: removed tun0") == 2
    assert (tunlab("down", "--all").status, list_labs()) == (0, {})


@pytest.mark.usefixtures("lab")
def test_down_from_inside_the_lab_exits_73(tunlab, start, list_labs):
    inside = start("exec", "lab", sys.executable, "-m", "tunlab", "down", "lab").end()
    assert (inside.status, inside.err) == (
        73,
        "tunlab: this process is inside lab 'lab'. Leave the lab (exit), then take it down.\n",
    )
    assert list_labs()["lab"]["condition"] == "up"


@pytest.mark.usefixtures("lab")
def test_down_of_a_lab_without_namespaces_removes_its_directory(tunlab, run_directory, list_labs):
    # After a reboot, the lab's files are still there if they are on disk, but the bind mount of its namespace is gone.
    subprocess.run(["umount", run_directory / "lab" / "net"], check=True)
    assert list_labs()["lab"]["condition"] == "gone"
    assert tunlab("up").err == (
        "tunlab: lab 'lab' was up, but its namespace no longer exists, as after a reboot."
        " `tunlab down lab` removes it.\n"
    )
    assert tunlab("exec", "lab", "true").err.startswith("tunlab: lab 'lab' was up, but its namespace no longer exists")
    result = tunlab("down")
    assert (result.status, result.out) == (0, "lab is down: only its directory was left\n")


@pytest.mark.usefixtures("lab")
def test_down_spares_processes_in_a_namespace_of_another_program(tunlab, run_directory, list_labs):
    pinned = run_directory / "lab" / "net"
    subprocess.run(["umount", pinned], check=True)
    with Netns.create() as other:
        other.pin(pinned)
        bystander = other.popen(["sleep", "600"])
        assert list_labs()["lab"]["condition"] == "gone"
        assert tunlab("down").status == 0
        assert bystander.poll() is None
        bystander.kill()
        bystander.wait()


@pytest.mark.usefixtures("lab")
def test_down_with_a_file_of_another_program_in_the_lab_directory_exits_73(tunlab, run_directory):
    foreign = run_directory / "lab" / "notes.txt"
    foreign.write_text("mine")
    result = tunlab("down")
    assert (result.status, result.err) == (
        73,
        (
            f"tunlab: {run_directory / 'lab'} holds files that tunlab did not create: notes.txt."
            " Move them away and try again.\n"
        ),
    )
    foreign.unlink()
    assert tunlab("down").status == 0


def test_error_of_down_with_an_unrecorded_namespace_mount_suggests_umount(tunlab, run_directory):
    pinned = run_directory / "lab" / "net"
    pinned.parent.mkdir(parents=True)
    with Netns.create() as other:
        other.pin(pinned)
    (run_directory / "lab" / "lab.json").write_text("not what was recorded")
    result = tunlab("down")
    assert (result.status, f". Unmount them (`umount {pinned}`) and try again" in result.err) == (
        73,
        True,
    )
    subprocess.run(["umount", pinned], check=True)
    pinned.unlink()
    assert tunlab("down").status == 0


def test_down_prints_every_removed_tun(tunlab):
    tunlab("up", "two-stacks")
    assert tunlab("down", "two-stacks").out == "two-stacks is down: removed tun0, tun1, its namespace\n"


def test_down_prints_how_many_namespaces_and_processes_it_removed(tunlab):
    tunlab("up", "bridge")
    assert tunlab("down", "bridge").out == "bridge is down: removed 5 namespaces\n"
    tunlab("up", "router")
    result = tunlab("down", "router").out
    assert re.fullmatch(r"router is down: removed tun0, 4 namespaces, 1 process \(\d+\)\n", result)


def test_gc_removes_only_unfinished_labs_and_labs_without_namespaces(tunlab, command, need, run_directory):
    strace = (need("strace"), "-f", "-qq", "-o", os.devnull, "-e", "trace=mount")
    killed = command("up", "bridge", prefix=(*strace, "-e", "inject=mount:signal=KILL:when=3"))
    assert killed.status == -signal.SIGKILL
    tunlab("up", "--name", "gone")
    subprocess.run(["umount", run_directory / "gone" / "net"], check=True)
    tunlab("up", "two-hosts")
    result = tunlab("gc")
    assert result.status == 0
    assert [line.partition(":")[0] for line in result.out.splitlines()] == ["bridge is down", "gone is down"]
    assert [each["name"] for each in json.loads(tunlab("ls", "--json").out)] == ["two-hosts"]
    assert tunlab("gc") == (0, "", "")
    assert tunlab("up", "bridge").status == 0
