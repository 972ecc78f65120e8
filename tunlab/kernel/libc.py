"""The system calls that Python 3.11 has no name for, by ctypes; each raises OSError as `os` does.

Source: unshare(2), setns(2), mount(2), umount(2), prctl(2), capset(2); the numbers are those of the kernel's
<linux/sched.h>, <linux/mount.h>, <linux/prctl.h> and <linux/capability.h>, the same on every architecture.
Rule for editors: ctypes is loaded at the first call only; from Python 3.12 most runs never load it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ctypes

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

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
        """Give the calling thread namespaces of its own."""
        _call("unshare", flags)

    def setns(fd: int, nstype: int, /) -> None:
        """Put the calling thread into the namespace behind `fd`, which must be of the kind `nstype`."""
        _call("setns", fd, nstype)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2); `data` is the options that the file system knows, "lowerdir=/a,upperdir=/b"."""
    import ctypes

    names = (os.fsencode(name) for name in (source, target, kind))
    _call("mount", *names, ctypes.c_ulong(flags), os.fsencode(data) if data else None)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _call("umount2", os.fsencode(target), flags)


def raise_ambient(capability: int) -> None:
    """Let programs executed from now on keep `capability`, which must be permitted and inheritable."""
    import ctypes

    zero = ctypes.c_ulong(0)
    arguments = (ctypes.c_ulong(_PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(capability), zero, zero)
    _call("prctl", _PR_CAP_AMBIENT, *arguments)


def die_with_parent(number: int) -> None:
    """Have the kernel send the calling process signal `number` when the process that started it ends."""
    import ctypes

    zero = ctypes.c_ulong(0)
    _call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(number), zero, zero, zero)


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capabilities, each a mask with bit n for capability n."""
    import struct

    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    halves = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in (effective, permitted, inheritable)]
    _call("capset", header, struct.pack("=6I", *halves))


# <asm/unistd.h>: perf_event_open(2) has no wrapper in the C library.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "s390x": 331, "ppc64le": 319}


def perf_event_open(attributes: bytes, flags: int) -> int:
    """The descriptor of an event of the calling thread, on whichever processor; `attributes` is a perf_event_attr."""
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
    """The first `size` octets behind a descriptor, to read and write, until `unmap`.

    As mmap.mmap, which keeps a descriptor of its own beside the one that it was given (until Python 3.13).
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
    """Undo `map_shared`: the view is of no use any more."""
    import ctypes

    array: Any = mapped.obj
    mapped.release()
    _call("munmap", ctypes.c_void_p(ctypes.addressof(array)), ctypes.c_size_t(ctypes.sizeof(array)))
