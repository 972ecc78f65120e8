"""Without root: a user namespace of one's own, in which one stays who one is and has every capability.

    python -m tunlab.kernel.namespace.userns PROGRAM ARGUMENTS…

Source: user_namespaces(7), capabilities(7) for the ambient set. What is left for root to allow is the mode of
/dev/net/tun, and on some distributions the user namespace itself.
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
        "AppArmor keeps user namespaces from unprivileged programs (kernel.apparmor_restrict_unprivileged_userns=1)",
        "let root do: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "kernel/unprivileged_userns_clone": (
        "0",
        "this kernel keeps user namespaces from unprivileged programs (kernel.unprivileged_userns_clone=0)",
        "let root do: sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    "user/max_user_namespaces": (
        "0",
        "no user namespace may be made (user.max_user_namespaces=0)",
        "let root do: sysctl -w user.max_user_namespaces=10000",
    ),
}


def find_obstacle() -> tuple[str, str] | None:
    """What of this machine's settings stands against a user namespace, and what to do; None if nothing does."""
    for name, (bad, reason, remedy) in _SYSCTLS.items():
        try:
            value = (_PROC_SYS / name).read_text(encoding="ascii").strip()
        except OSError:  # not every kernel has each
            continue
        if value == bad:
            return reason, remedy
    return None


def enter_user_namespace() -> None:
    """Move this process into a new user namespace: same user and group, every capability, kept by programs it runs.

    Before any thread is started: at the top of a program, or by the launcher above. What can be known is asked first:
    a process that has entered, and cannot go on from there, cannot come back either.

    Raises KernelError: EINVAL with threads running, EPERM or ENOSPC where user namespaces are not allowed, EROFS
    where /proc is not writable. PrivilegeError for root without CAP_SETFCAP.
    """
    operation = "enter a user namespace"
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        reason = f"this process has {threads} threads, and only one that has a single one may"
        remedy = "start it by: python -m tunlab.kernel.namespace.userns PROGRAM"
        raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy)
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and not has_capability("CAP_SETFCAP"):  # of the process that makes the namespace, since Linux 5.12
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
        "the kernel lets us in, and a security module takes the rights away that we have there",
        "run as root, or have the security module's policy allow user namespaces to this program",
    )
    known = find_obstacle() or seccomp
    reasons = {errno.EPERM: known, errno.EACCES: known, errno.ENOSPC: known, errno.EUSERS: known}
    mapping = "map our user and group into the user namespace"
    with translate_os_errors(mapping):
        for name in (_UID_MAP, _GID_MAP):  # the third opens only for who is inside
            os.close(os.open(name, os.O_WRONLY | os.O_CLOEXEC))
    with translate_os_errors(operation, reasons=reasons):
        libc.unshare(libc.CLONE_NEWUSER)
    with translate_os_errors(mapping, reasons={errno.EPERM: find_obstacle() or confined}):
        # Of a map with one line an unprivileged process may write only its own id, and the group only after setgroups
        # is given up (user_namespaces(7), "Defining user and group ID mappings").
        Path(_SETGROUPS).write_text("deny", encoding="ascii")
        Path(_UID_MAP).write_text(f"{uid} {uid} 1", encoding="ascii")
        Path(_GID_MAP).write_text(f"{gid} {gid} 1", encoding="ascii")
    with translate_os_errors(
        "keep the capabilities of the user namespace", reasons={errno.EPERM: find_obstacle() or confined}
    ):
        _keep_capabilities()


def _keep_capabilities() -> None:
    # A program executed by anybody but uid 0 loses all of them but the ambient ones.
    every = effective_capabilities()
    libc.capset(effective=every, permitted=every, inheritable=every)
    for capability in range(every.bit_length()):
        if every >> capability & 1:
            libc.raise_ambient(capability)


def main(arguments: list[str]) -> int:
    """Enter a user namespace and become the program; returns an exit status only if that fails."""
    if not arguments:
        sys.stderr.write("usage: python -m tunlab.kernel.namespace.userns PROGRAM [ARGUMENT…]\n")
        return 64  # EX_USAGE
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
