"""A view of the file system for the programs of a node: own files, private directories, /sys, and a host name.

Source: mount_namespaces(7), mount(2). ip-netns(8) mounts files over /etc and remounts /sys in the same way. A mount
namespace ends with the last program in it, or with the last descriptor of it (`Machine` holds one).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from tunlab.kernel import libc
from tunlab.kernel.namespace.private_directories import Directory, change_owner, hide
from tunlab.kernel.os_errors import translate_os_errors

# Temporary files go to a tmpfs that is mounted on /sys. Every machine has this directory, and sysfs is mounted over the
# tmpfs afterwards.
_SCRATCH = Path("/sys")

CREATABLE_BELOW = ("/etc", "/opt", "/srv", "/usr")
"""Directories in which an overlay may create missing directories. A program's writes to an overlay are private to it,
which would be wrong in directories such as /tmp."""


class MountOverlay(Struct, frozen=True):
    """Files to mount over others, private directories, and a host name.

    Attributes:
        hostname: The host name; "" keeps the machine's.
        texts: File contents by path, as {"/etc/hosts": "127.0.0.1 localhost\\n"}. Such a file is a copy: programs may
            write to it, rename and remove it.
        files: Pairs of the path that the program sees and the path of the real file or directory. What programs write
            there is written to the real file.
        owners: Owner and mode by path of `texts` and `files`, as {"/etc/frr": ("frr:frr", 0o750)}; "" and 0 keep those
            of the file. A path of `files` that is in here is a copy.
        private: Directories hidden by a tmpfs that has the machine's directories, but not its files and sockets.
        directories: More directories to create in the private ones: path, owner and mode.
        visible: Files and directories that stay visible and writable although they are in a private directory.
    """

    hostname: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    owners: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    directories: tuple[Directory, ...] = ()
    visible: tuple[str, ...] = ()

    def enter(self) -> None:
        """Move the calling thread into a new mount namespace with this view.

        Call it in a short-lived thread, or in a process that is about to exec. If a path does not exist, an overlay
        over its directory gets the file; below CREATABLE_BELOW missing directories are created in the overlay as well.

        Raises:
            PrivilegeError: CAP_SYS_ADMIN is missing.
            KernelError: A source file does not exist, or a mount is refused.
        """
        denied = (
            "a security module forbids mounting",
            "start the container with --security-opt apparmor=unconfined or --privileged",
        )
        reasons = {errno.EACCES: denied}
        with translate_os_errors("create a mount namespace", needs="CAP_SYS_ADMIN", reasons=reasons):
            libc.unshare(libc.CLONE_NEWNS | (libc.CLONE_NEWUTS if self.hostname else 0))
            if self.hostname:
                socket.sethostname(self.hostname)
            # Use MS_SLAVE, not MS_PRIVATE, so that a file system that is unmounted outside is unmounted here too.
            libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
        devices: set[int] = set()
        if self.private:
            with translate_os_errors(f"make {', '.join(self.private)} private", needs="CAP_SYS_ADMIN"):
                devices = hide(self.private, directories=self.directories, visible=self.visible)
        if self.texts or self.files:
            with translate_os_errors("mount a tmpfs", needs="CAP_SYS_ADMIN"):
                libc.mount("tunlab", str(_SCRATCH), "tmpfs", 0, "mode=755")
            self._mount_files(devices)
        with translate_os_errors("mount /sys", needs="CAP_SYS_ADMIN"):
            if self.texts or self.files:
                libc.umount2(str(_SCRATCH), libc.MNT_DETACH)
            _mount_sysfs()

    def _mount_files(self, devices: Collection[int]) -> None:
        """Put the files in place; `devices` are the file systems of the private directories."""
        mounts: list[tuple[Path, Path]] = []
        for number, (target, text) in enumerate(self.texts.items()):
            copy = _SCRATCH / f"text{number}"
            copy.write_text(text, encoding="utf-8")
            mounts.append((Path(target), copy))
        for number, (target, source) in enumerate(self.files):
            mounts.append((Path(target), Path(source)))
            if target in self.owners:
                with translate_os_errors(f"copy {source} to {target}"):
                    mounts[-1] = Path(target), _copy(Path(source), _SCRATCH / f"copy{number}")
        for path, origin in mounts:
            if _is_copy(origin):
                with translate_os_errors(f"set the owner of {path}", needs="CAP_CHOWN"):
                    _set_owner(origin, path, *self.owners.get(str(path), ("", 0)))
        with translate_os_errors("create mount points", needs="CAP_SYS_ADMIN"):
            placed = _create_files(mounts, devices)
        for path, origin in mounts:
            if path not in placed:
                with translate_os_errors(f"mount {origin} over {path}", needs="CAP_SYS_ADMIN"):
                    _bind_mount(origin, path)


def _is_copy(source: Path) -> bool:
    return source.is_relative_to(_SCRATCH)


def _copy(source: Path, copy: Path) -> Path:
    if source.is_dir():
        shutil.copytree(source, copy, symlinks=True)
    else:
        shutil.copy2(source, copy)
    return copy


def _set_owner(copy: Path, target: Path, owner: str, mode: int) -> None:
    """Set owner and mode of a copy; by default a text has those of the file that it replaces."""
    if copy.name.startswith("text") and target.is_file():
        _take_owner(copy, target.stat())
    for path in (copy, *copy.rglob("*")) if owner else ():
        change_owner(path, owner)
    if mode:
        copy.chmod(mode)


def _take_owner(path: Path, status: os.stat_result) -> None:
    with contextlib.suppress(OSError):  # The user namespace does not map this user or group.
        os.chown(path, status.st_uid, status.st_gid)
    path.chmod(stat.S_IMODE(status.st_mode))


def _create_files(mounts: Sequence[tuple[Path, Path]], devices: Collection[int]) -> set[Path]:
    """Create a file or directory at each missing path, in an overlay over its directory or over a parent directory.

    A copied file is put into the overlay itself, because a program cannot rename or remove a mount point. Return the
    paths of these.
    """
    # A bind mount needs an existing file, so a dangling symbolic link counts as missing; /etc/resolv.conf often is one.
    # An overlay hides mounts below it, so overlays are mounted first.
    created: dict[Path, list[tuple[Path, Path]]] = {}
    for path, source in mounts:
        is_replaced = _is_copy(source) and not path.is_dir() and _is_creatable(path)
        if (is_replaced or not path.exists()) and (directory := overlay_directory(path, devices)) is not None:
            created.setdefault(directory, []).append((path, source))
    placed: set[Path] = set()
    private = set(devices)
    # Overlays of parent directories are mounted before those of their children, which then need none: the kernel allows
    # two overlays above each other, and the root of a container is one.
    for number, (parent, added) in enumerate(sorted(created.items(), key=lambda each: len(each[0].parts))):
        if parent.stat().st_dev not in private:
            try:
                _mount_overlay(parent, number)
            except OSError:
                if all(path.exists() for path, _ in added):  # Existing files need no overlay, only bind mounts.
                    continue
                raise
            private.add(parent.stat().st_dev)
        for path, source in added:
            path.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                path.mkdir(exist_ok=True)
                continue
            path.unlink(missing_ok=True)
            if _is_copy(source):
                shutil.copyfile(source, path)
                _take_owner(path, source.stat())
                placed.add(path)
            else:
                path.touch()
    return placed


def _is_creatable(path: Path) -> bool:
    return any(path.is_relative_to(each) for each in CREATABLE_BELOW)


def _mount_overlay(parent: Path, number: int) -> None:
    upper, work = _SCRATCH / f"upper{number}", _SCRATCH / f"work{number}"
    upper.mkdir()
    work.mkdir()
    _take_owner(upper, parent.stat())  # An overlay's root has the owner and mode of `upper`.
    libc.mount("overlay", str(parent), "overlay", 0, f"lowerdir={parent},upperdir={upper},workdir={work}")


def overlay_directory(path: Path, devices: Collection[int] = ()) -> Path | None:
    """Return the directory that needs an overlay to create a file at `path`; None if it cannot be created.

    Missing directories are created below CREATABLE_BELOW, and on the file systems `devices`.
    """
    if path.parent.is_dir():
        return path.parent
    existing = next((each for each in path.parents if each.exists()), Path("/"))
    allowed = existing.stat().st_dev in devices or _is_creatable(existing)
    return existing if allowed and existing.is_dir() else None


def _bind_mount(source: Path, path: Path) -> None:
    try:
        libc.mount(str(source), str(path), "", libc.MS_BIND)
    except OSError as error:
        # If the directory does not exist, such as /etc in a minimal container, no program reads this file.
        if error.errno == errno.ENOENT and _is_copy(source):
            return
        raise


def _mount_sysfs() -> None:
    cgroups = _open_directory("/sys/fs/cgroup")
    try:
        libc.mount("sysfs", "/sys", "sysfs", 0)
    except OSError as error:
        # A user namespace may not mount sysfs if parts of the machine's /sys are hidden.
        # The program then sees the machine's /sys.
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
    else:
        if cgroups is not None:  # Keep /sys/fs/cgroup, so that the program can read its resource limits.
            libc.mount(f"/proc/thread-self/fd/{cgroups}", "/sys/fs/cgroup", "", libc.MS_BIND | libc.MS_REC)
    finally:
        if cgroups is not None:
            os.close(cgroups)


def _open_directory(path: str) -> int | None:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
