"""A user namespace for work without root: same user and group, every capability.

    python -m tunlab.kernel.namespace.userns PROGRAM ARGUMENTS…

Source: user_namespaces(7), capabilities(7) for the ambient set. Root must still allow access to /dev/net/tun, and on
some distributions user namespaces.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from tunlab.errors import KernelError, PrivilegeError, TunlabError
from tunlab.kernel import libc
from tunlab.kernel.os_errors import effective_capabilities, has_capability, translate_os_errors

_SETGROUPS, _UID_MAP, _GID_MAP = "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"
_PROC_SYS = Path("/proc/sys")
_SYSCTLS = {
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor forbids unprivileged user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)",
        "run as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "kernel/unprivileged_userns_clone": (
        "0",
        "this kernel forbids unprivileged user namespaces (kernel.unprivileged_userns_clone=0)",
        "run as root: sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    "user/max_user_namespaces": (
        "0",
        "the limit of user namespaces is 0 (user.max_user_namespaces=0)",
        "run as root: sysctl -w user.max_user_namespaces=10000",
    ),
}


def find_obstacle() -> tuple[str, str] | None:
    """Return why this machine's sysctls forbid a user namespace, and the advice; None if they allow it."""
    for name, (bad, reason, remedy) in _SYSCTLS.items():
        try:
            value = (_PROC_SYS / name).read_text(encoding="ascii").strip()
        except OSError:  # The kernel lacks the sysctl.
            continue
        if value == bad:
            return reason, remedy
    return None


def enter_user_namespace() -> None:
    """Move this process into a new user namespace, where it and its programs have every capability.

    User and group stay the same.

    Call it before any thread is started. Known obstacles are checked first, because a process cannot leave a user
    namespace again.

    Raises:
        KernelError: EINVAL if threads are running, EPERM or ENOSPC if user namespaces are not allowed, EROFS if /proc
            is read-only.
        PrivilegeError: Root lacks CAP_SETFCAP.
    """
    operation = "enter a user namespace"
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        reason = f"this process has {threads} threads and must have one"
        remedy = "start the program with `python -m tunlab.kernel.namespace.userns PROGRAM`"
        raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy)
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and not has_capability("CAP_SETFCAP"):  # Since Linux 5.12, mapping user 0 needs CAP_SETFCAP.
        raise PrivilegeError(
            errno.EPERM,
            operation,
            missing="CAP_SETFCAP",
            reason="mapping user 0 needs CAP_SETFCAP (user_namespaces(7)), which is missing",
            remedy="run as another user, or in a container with --cap-add SETFCAP",
        )
    seccomp = (
        "a seccomp filter or a security module forbids it",
        "start the container with --security-opt seccomp=unconfined",
    )
    confined = (
        "a security module takes away the capabilities inside the user namespace",
        "run as root, or allow user namespaces to this program in the security module's policy",
    )
    known = find_obstacle() or seccomp
    reasons = {errno.EPERM: known, errno.EACCES: known, errno.ENOSPC: known, errno.EUSERS: known}
    mapping = "map the user and group into the user namespace"
    with translate_os_errors(mapping):
        for name in (_UID_MAP, _GID_MAP):
            # Check that uid_map and gid_map can be opened. setgroups can be opened only inside the new user namespace.
            os.close(os.open(name, os.O_WRONLY | os.O_CLOEXEC))
    with translate_os_errors(operation, reasons=reasons):
        libc.unshare(libc.CLONE_NEWUSER)
    with translate_os_errors(mapping, reasons={errno.EPERM: find_obstacle() or confined}):
        # An unprivileged process may map only its own ids, and its group only after setgroups is denied
        # (user_namespaces(7), "Defining user and group ID mappings").
        Path(_SETGROUPS).write_text("deny", encoding="ascii")
        Path(_UID_MAP).write_text(f"{uid} {uid} 1", encoding="ascii")
        Path(_GID_MAP).write_text(f"{gid} {gid} 1", encoding="ascii")
    with translate_os_errors(
        "keep the capabilities of the user namespace", reasons={errno.EPERM: find_obstacle() or confined}
    ):
        _keep_capabilities()


def _keep_capabilities() -> None:
    # A program executed by a user other than root keeps only the ambient capabilities.
    every = effective_capabilities()
    libc.capset(effective=every, permitted=every, inheritable=every)
    for capability in range(every.bit_length()):
        if every >> capability & 1:
            libc.raise_ambient(capability)


def main(arguments: list[str]) -> int:
    """Enter a user namespace and execute the program; return an exit status only if that fails."""
    if not arguments:
        sys.stderr.write("usage: python -m tunlab.kernel.namespace.userns PROGRAM [ARGUMENT…]\n")
        return 64  # EX_USAGE of sysexits.h
    program = arguments[0]
    absent = f"there is no program {program!r} on this machine", "install it, or give its full path"
    try:
        enter_user_namespace()
        with translate_os_errors(f"run {program}", reasons={errno.ENOENT: absent}):
            os.execvp(program, arguments)
    except TunlabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
