"""A program's own view of the file system: files mounted over others, the /sys of its namespace, a host name.

Source: mount_namespaces(7), mount(2). ip-netns(8) mounts files over /etc and remounts /sys in the same way. The mount
namespace is created in the thread that starts the program, inherited by the program, and ends with it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from tunlab.kernel import libc
from tunlab.kernel.os_errors import translate_os_errors

# Temporary files go to a tmpfs that is mounted on /sys. Every machine has this directory, and sysfs is mounted over the
# tmpfs afterwards.
_SCRATCH = Path("/sys")

CREATABLE_BELOW = ("/etc", "/opt", "/srv", "/usr")
"""Directories in which an overlay may create missing directories. A program's writes to an overlay are private to it,
which would be wrong in directories such as /tmp."""


class MountOverlay(Struct, frozen=True):
    """Files to mount over others, and a host name.

    Attributes:
        hostname: The host name; "" keeps the machine's.
        texts: File contents by path, as {"/etc/hosts": "127.0.0.1 localhost\\n"}.
        files: Pairs of the path that the program sees and the path of the real file.
    """

    hostname: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()

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
            # Use slave, not private: a file system that is unmounted outside must not stay mounted here.
            libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
            if self.texts or self.files:
                libc.mount("tunlab", str(_SCRATCH), "tmpfs", 0, "mode=755")
        if self.texts or self.files:
            sources = [(path, _write(number, text)) for number, (path, text) in enumerate(self.texts.items())]
            mounts = [*sources, *self.files]
            with translate_os_errors("create mount points", needs="CAP_SYS_ADMIN"):
                _create_mount_points([target for target, _ in mounts])
            for target, source in mounts:
                with translate_os_errors(f"mount {source} over {target}", needs="CAP_SYS_ADMIN"):
                    _bind_mount(source, target)
        with translate_os_errors("mount /sys", needs="CAP_SYS_ADMIN"):
            if self.texts or self.files:
                libc.umount2(str(_SCRATCH), libc.MNT_DETACH)
            _mount_sysfs()


def _write(number: int, text: str) -> str:
    path = _SCRATCH / f"text{number}"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _create_mount_points(targets: Sequence[str]) -> None:
    """Create a file at each missing path, in an overlay over its directory or over a parent directory."""
    # A bind mount needs an existing file, so a dangling symbolic link counts as missing; /etc/resolv.conf often is one.
    # An overlay hides mounts below it, so overlays are mounted first.
    missing: dict[Path, list[Path]] = {}
    for path in map(Path, targets):
        if not path.exists() and (directory := overlay_directory(path)) is not None:
            missing.setdefault(directory, []).append(path)
    # Overlays of parent directories are mounted before those of their children.
    for number, (parent, paths) in enumerate(sorted(missing.items(), key=lambda each: len(each[0].parts))):
        upper, work = _SCRATCH / f"upper{number}", _SCRATCH / f"work{number}"
        upper.mkdir(mode=0o755)
        work.mkdir()
        libc.mount("overlay", str(parent), "overlay", 0, f"lowerdir={parent},upperdir={upper},workdir={work}")
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.touch()


def overlay_directory(path: Path) -> Path | None:
    """Return the directory that needs an overlay to create a file at `path`; None if it cannot be created."""
    if path.parent.is_dir():
        return path.parent
    existing = next((each for each in path.parents if each.exists()), Path("/"))
    allowed = any(existing.is_relative_to(each) for each in CREATABLE_BELOW)
    return existing if allowed and existing.is_dir() else None


def _bind_mount(source: str, target: str) -> None:
    try:
        libc.mount(source, target, "", libc.MS_BIND)
    except OSError as error:
        # If the directory does not exist, such as /etc in a minimal container, no program reads this file.
        if error.errno == errno.ENOENT and source.startswith(f"{_SCRATCH}/"):
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
