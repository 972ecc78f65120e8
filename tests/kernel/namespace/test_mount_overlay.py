"""Mount overlays: files, /sys, the host name, and their invisibility to other processes."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def netns():
    with Netns.create() as made, Rtnl(made) as rtnl:
        rtnl.add_veth("here", "there")
        yield made


def run(netns, view, *program):
    return netns.run(program, prepare=view.enter, capture_output=True, text=True, check=True).stdout


def test_mount_overlay_mounts_text_and_file(netns, tmp_path):
    source = tmp_path / "source"
    source.write_text("from a file\n")
    before = {name: Path(name).read_text() for name in ("/etc/hosts", "/etc/passwd")}
    view = MountOverlay(texts={"/etc/hosts": "10.0.0.1 somewhere\n"}, files=(("/etc/passwd", str(source)),))
    assert run(netns, view, "cat", "/etc/hosts", "/etc/passwd") == "10.0.0.1 somewhere\nfrom a file\n"
    assert {name: Path(name).read_text() for name in before} == before


def test_mount_overlay_creates_missing_file(netns, tmp_path):
    source = tmp_path / "source"
    source.write_text("two\n")
    view = MountOverlay(
        texts={"/etc/hosts": "10.0.0.1 somewhere\n", "/etc/tunlab-one": "one\n"},
        files=(("/etc/tunlab-two", str(source)),),
    )
    shown = run(netns, view, "cat", "/etc/tunlab-one", "/etc/tunlab-two", "/etc/hosts")
    assert shown == "one\ntwo\n10.0.0.1 somewhere\n"
    assert not Path("/etc/tunlab-one").exists()
    assert not Path("/etc/tunlab-two").exists()


def test_mount_overlay_replaces_dangling_symbolic_link(netns, tmp_path):
    link = tmp_path / "resolv.conf"
    link.symlink_to("/nowhere/resolv.conf")
    assert run(netns, MountOverlay(texts={str(link): "nameserver\n"}), "cat", str(link)) == "nameserver\n"
    assert link.is_symlink()


def test_mount_overlay_skips_text_file_in_missing_directory(netns):
    assert run(netns, MountOverlay(texts={"/no/such/directory/x": "x"}), "echo", "runs") == "runs\n"


def test_mount_overlay_creates_no_directories_on_the_machine(netns, tmp_path):
    source = tmp_path / "source"
    source.write_text("configured\n")
    targets = ["/etc/tunlab-new/one/x.conf", "/etc/tunlab-new/y.conf", "/etc/tunlab-z", "/usr/lib/tunlab-new/z"]
    shown = run(
        netns, MountOverlay(files=tuple((target, str(source)) for target in targets)), "cat", *targets, "/etc/passwd"
    )
    assert shown == "configured\n" * 4 + Path("/etc/passwd").read_text()
    assert not any(Path(made).exists() for made in ("/etc/tunlab-new", "/etc/tunlab-z", "/usr/lib/tunlab-new"))


def test_mount_overlay_in_missing_directory_below_tmp_raises(netns, tmp_path):
    source = tmp_path / "source"
    source.write_text("")
    target = tmp_path / "new" / "x"  # /tmp is not in CREATABLE_BELOW, so tunlab does not create the directory.
    with pytest.raises(KernelError, match=f"mount {source} over {target}: "):
        run(netns, MountOverlay(files=((str(target), str(source)),)), "true")


def test_mount_overlay_of_missing_source_file_raises(netns, tmp_path):
    with pytest.raises(KernelError, match="mount /no/such over "):
        run(netns, MountOverlay(files=((str(tmp_path / "x"), "/no/such"),)), "true")


def test_mount_overlay_mounts_sys_of_namespace(netns):
    assert run(netns, MountOverlay(), "ls", "/sys/class/net").split() == ["here", "lo", "there"]
    assert os.listdir("/sys/fs/cgroup") == run(netns, MountOverlay(), "ls", "-U", "/sys/fs/cgroup").split()  # noqa: PTH208


def test_mount_overlay_sets_host_name(netns):
    before = socket.gethostname()
    assert run(netns, MountOverlay(hostname="router"), "hostname") == "router\n"
    assert socket.gethostname() == before


def test_mount_overlay_is_invisible_to_other_processes(netns):
    before = Path("/proc/self/mountinfo").read_text()
    program = netns.popen(
        ["sh", "-c", "echo; exec sleep 600"],
        prepare=MountOverlay(texts={"/etc/hosts": "x\n"}, hostname="x").enter,
        stdout=subprocess.PIPE,
    )
    program.stdout.readline()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert " /etc rw,relatime - overlay " in Path(f"/proc/{program.pid}/mountinfo").read_text()
    netns.kill_programs()
