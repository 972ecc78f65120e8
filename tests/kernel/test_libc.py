import errno
from pathlib import Path

import pytest

from tunlab.kernel import libc
from tunlab.kernel.namespace.netns_thread import run_in_thread


def test_unshare_gives_the_thread_a_namespace_of_its_own():
    def inside():
        libc.unshare(libc.CLONE_NEWNET)
        return Path("/proc/thread-self/ns/net").stat().st_ino

    assert run_in_thread(inside) != Path("/proc/thread-self/ns/net").stat().st_ino


def test_setns_refuses_a_descriptor_that_is_no_namespace():
    with Path("/dev/null").open() as file, pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.setns(file.fileno(), libc.CLONE_NEWNET))
    assert raised.value.errno == errno.EINVAL


def test_setns_checks_the_kind():
    with Path("/proc/self/ns/uts").open() as file, pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.setns(file.fileno(), libc.CLONE_NEWNET))
    assert raised.value.errno == errno.EINVAL


def test_unshare_of_a_user_namespace_with_threads_is_refused():
    with pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.unshare(libc.CLONE_NEWUSER))
    assert raised.value.errno == errno.EINVAL


def test_mount_raises_the_errno(tmp_path):
    with pytest.raises(OSError) as raised:
        libc.mount("none", str(tmp_path / "nowhere"), "tmpfs", 0)
    assert raised.value.errno == errno.ENOENT


def test_umount2_of_what_is_no_mount_point_is_refused(tmp_path):
    with pytest.raises(OSError) as raised:
        libc.umount2(str(tmp_path), libc.MNT_DETACH)
    assert raised.value.errno == errno.EINVAL


def test_a_mount_in_a_private_namespace_is_seen_by_its_thread_only(tmp_path):
    (tmp_path / "marker").touch()

    def inside():
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("none", str(tmp_path), "tmpfs", 0)
        return list(tmp_path.iterdir())

    assert run_in_thread(inside) == []
    assert (tmp_path / "marker").exists()


def test_capset_and_ambient_capabilities_reach_an_executed_program(run_python):
    source = """
        import os
        from tunlab.kernel import libc
        mask = 1 << 12 | 1 << 6 | 1 << 7
        libc.capset(effective=mask, permitted=mask, inheritable=mask)
        libc.raise_ambient(12)
        os.setresuid(0, 0, 0)
        os.execvp("grep", ["grep", "CapAmb", "/proc/self/status"])
    """
    assert run_python(source).split() == ["CapAmb:", f"{1 << 12:016x}"]


def test_an_ambient_capability_that_is_not_inheritable_is_refused():
    with pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.raise_ambient(12))
    assert raised.value.errno == errno.EPERM


def test_ctypes_is_not_loaded_by_the_import(run_python):
    assert run_python("import sys, tunlab.kernel.namespace.netns; print('ctypes' in sys.modules)").strip() == "False"
