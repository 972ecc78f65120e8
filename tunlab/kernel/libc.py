"""System calls that Python 3.11 lacks, by ctypes. Each raises OSError, as the functions of `os` do.

Source: unshare(2), setns(2), mount(2), umount(2), prctl(2), capset(2). The constants of <linux/sched.h>,
<linux/mount.h>, <linux/prctl.h> and <linux/capability.h> are the same on every architecture.
ctypes is imported inside the functions, because most runs from Python 3.12 on never need it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ctypes

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


@cache
def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    import ctypes

    if getattr(_libc(), name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if sys.version_info >= (3, 12):
    unshare: Callable[[int], None] = os.unshare
    setns: Callable[[int, int], None] = os.setns
else:

    def unshare(flags: int, /) -> None:
        """Move the calling thread into new namespaces."""
        _call("unshare", flags)

    def setns(fd: int, nstype: int, /) -> None:
        """Move the calling thread into the namespace of `fd`, which must be of the type `nstype` (CLONE_NEW*)."""
        _call("setns", fd, nstype)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Call mount(2); `data` has the file system's own options, as "lowerdir=/a,upperdir=/b"."""
    import ctypes

    names = (os.fsencode(name) for name in (source, target, kind))
    _call("mount", *names, ctypes.c_ulong(flags), os.fsencode(data) if data else None)


def umount2(target: str, flags: int) -> None:
    """Call umount2(2)."""
    _call("umount2", os.fsencode(target), flags)


def raise_ambient(capability: int) -> None:
    """Add `capability` to the ambient set, so that executed programs keep it. It must be permitted and inheritable."""
    import ctypes

    zero = ctypes.c_ulong(0)
    arguments = (ctypes.c_ulong(_PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(capability), zero, zero)
    _call("prctl", _PR_CAP_AMBIENT, *arguments)


def die_with_parent(number: int) -> None:
    """Have the kernel send signal `number` to this process when its parent ends."""
    import ctypes

    zero = ctypes.c_ulong(0)
    _call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(number), zero, zero, zero)


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capabilities, each a mask with bit n for capability n."""
    import struct

    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    halves = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in (effective, permitted, inheritable)]
    _call("capset", header, struct.pack("=6I", *halves))


# The system call numbers of perf_event_open(2), from <asm/unistd.h>: the C library has no wrapper for it.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "s390x": 331, "ppc64le": 319}


def perf_event_open(attributes: bytes, flags: int) -> int:
    """Return a descriptor of a perf event of the calling thread on any CPU; `attributes` is a perf_event_attr."""
    import ctypes
    import errno

    number = _PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    this_thread, any_cpu, no_group = ctypes.c_int(0), ctypes.c_int(-1), ctypes.c_int(-1)
    call = _libc().syscall
    fd = call(ctypes.c_long(number), attributes, this_thread, any_cpu, no_group, ctypes.c_ulong(flags))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(fd)


def map_shared(fd: int, size: int) -> memoryview:
    """Map the first `size` bytes of a descriptor for reading and writing, until `unmap`.

    Until Python 3.13, mmap.mmap would keep a duplicate of the descriptor.
    """
    import ctypes

    call = _libc().mmap
    call.restype = ctypes.c_void_p
    read_and_write, shared = 3, 1
    found = call(None, ctypes.c_size_t(size), read_and_write, shared, fd, ctypes.c_long(0))
    if found == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return memoryview((ctypes.c_char * size).from_address(found)).cast("B")


def unmap(mapped: memoryview) -> None:
    """Undo `map_shared`. The view must not be used afterwards."""
    import ctypes

    array: Any = mapped.obj
    mapped.release()
    _call("munmap", ctypes.c_void_p(ctypes.addressof(array)), ctypes.c_size_t(ctypes.sizeof(array)))
