"""System calls through libc: namespaces, mounts and capabilities."""

import errno
from pathlib import Path

import pytest

from tunlab.kernel import libc
from tunlab.kernel.namespace.netns_thread import run_in_thread


def test_unshare_moves_thread_into_new_namespace():
    def inside():
        libc.unshare(libc.CLONE_NEWNET)
        return Path("/proc/thread-self/ns/net").stat().st_ino

    assert run_in_thread(inside) != Path("/proc/thread-self/ns/net").stat().st_ino


def test_setns_with_descriptor_that_is_not_a_namespace_raises_einval():
    with Path("/dev/null").open() as file, pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.setns(file.fileno(), libc.CLONE_NEWNET))
    assert raised.value.errno == errno.EINVAL


def test_setns_with_wrong_namespace_type_raises_einval():
    with Path("/proc/self/ns/uts").open() as file, pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.setns(file.fileno(), libc.CLONE_NEWNET))
    assert raised.value.errno == errno.EINVAL


def test_unshare_of_user_namespace_in_process_with_threads_raises():
    with pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.unshare(libc.CLONE_NEWUSER))
    assert raised.value.errno == errno.EINVAL


def test_failed_mount_raises_oserror_with_errno(tmp_path):
    with pytest.raises(OSError) as raised:
        libc.mount("none", str(tmp_path / "nowhere"), "tmpfs", 0)
    assert raised.value.errno == errno.ENOENT


def test_umount2_of_directory_that_is_not_a_mount_point_raises(tmp_path):
    with pytest.raises(OSError) as raised:
        libc.umount2(str(tmp_path), libc.MNT_DETACH)
    assert raised.value.errno == errno.EINVAL


def test_mount_in_private_namespace_is_invisible_outside(tmp_path):
    (tmp_path / "marker").touch()

    def inside():
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("none", str(tmp_path), "tmpfs", 0)
        return list(tmp_path.iterdir())

    assert run_in_thread(inside) == []
    assert (tmp_path / "marker").exists()


def test_executed_program_has_capabilities_of_capset_and_ambient_set(run_python):
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


def test_adding_non_inheritable_capability_to_ambient_set_fails():
    with pytest.raises(OSError) as raised:
        run_in_thread(lambda: libc.raise_ambient(12))
    assert raised.value.errno == errno.EPERM


def test_import_of_libc_does_not_load_ctypes(run_python):
    assert run_python("import sys, tunlab.kernel.namespace.netns; print('ctypes' in sys.modules)").strip() == "False"
