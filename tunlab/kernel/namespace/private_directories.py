"""Directories of a node that hide the machine's: a tmpfs with the machine's directories, but not its files or sockets.

Source: mount(2), tmpfs(5). Call these functions in a new mount namespace only.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from tunlab.kernel import libc

_DEPTH = 2
"""Levels of the machine's directories that a private directory starts with, as /run/lock/lvm."""


Directory: TypeAlias = tuple[str, str, int]
"""A directory that a node gets besides those of the machine: its path, owner ("frr:frr", or "" for root) and mode."""


def user_and_group(owner: str) -> tuple[int, int]:
    """Return the ids of "user" or "user:group", by name or number. Raises KeyError if this machine has no such name."""
    import grp

    name, _, group = owner.partition(":")
    if name.isdigit():
        uid, gid = int(name), int(name)
    else:
        entry = pwd.getpwnam(name)
        uid, gid = entry.pw_uid, entry.pw_gid
    if group:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, gid


def change_owner(path: str | Path, owner: str) -> None:
    """Give a file or directory to "user" or "user:group"; do nothing if `owner` is ""."""
    if owner:
        os.chown(path, *user_and_group(owner))


def hide(paths: Sequence[str], *, directories: Iterable[Directory] = (), visible: Iterable[str] = ()) -> set[int]:
    """Mount a tmpfs over each directory of `paths`, with the machine's directories in it; return their device numbers.

    Args:
        paths: The directories to hide; one that does not exist is skipped.
        directories: More directories to create.
        visible: Files, sockets and directories that stay visible and writable although they are below one of `paths`.
    """
    covered = [path for path in dict.fromkeys(map(os.path.realpath, paths)) if Path(path).is_dir()]
    opened: list[tuple[str, int]] = []
    try:
        for path in dict.fromkeys(map(os.path.realpath, visible)):
            hidden = any(Path(path).is_relative_to(each) for each in covered)
            opened += [(path, os.open(path, os.O_PATH | os.O_CLOEXEC))] if hidden and Path(path).exists() else []
        devices = {_mount_tmpfs(path) for path in sorted(covered)}
        for name, owner, mode in directories:
            made = Path(name)
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(mode)
            change_owner(made, owner)
        # In sorted order, a directory is mounted before the directories in it.
        for path, fd in sorted(opened):
            _show(path, fd)
        return devices
    finally:
        for _, fd in opened:
            os.close(fd)


def _mount_tmpfs(path: str) -> int:
    own = Path(path).stat()
    found = list(_directories(path, _DEPTH))
    libc.mount("tunlab", path, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, f"mode={stat.S_IMODE(own.st_mode):o}")
    _chown(path, own)
    for name, status in found:
        os.mkdir(name, 0o700)  # noqa: PTH102
        os.chmod(name, stat.S_IMODE(status.st_mode))  # noqa: PTH101
        _chown(name, status)
    return Path(path).stat().st_dev


def _chown(path: str, status: os.stat_result) -> None:
    if (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()):
        return
    try:
        os.chown(path, status.st_uid, status.st_gid)
    except OSError:  # The user namespace does not map this user or group.
        return


def _directories(path: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the directories below `path`, each before those in it, without symbolic links."""
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:  # This user may not read the directory.
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield entry.path, entry.stat(follow_symlinks=False)
            if depth > 1:
                yield from _directories(entry.path, depth - 1)


def _show(path: str, fd: int) -> None:
    target = Path(path)
    if os.path.ismount(target) and os.path.samestat(os.fstat(fd), target.stat()):
        return
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    libc.mount(f"/proc/thread-self/fd/{fd}", path, "", libc.MS_BIND | libc.MS_REC)
