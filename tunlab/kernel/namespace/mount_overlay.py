"""What a program sees of the machine: files of its own laid over the others, the /sys of its namespace, a host name.

Source: mount_namespaces(7), mount(2); ip-netns(8) lays files over /etc and mounts /sys anew in the same way. Nothing
holds the mount namespace but the program itself: it is made in the thread that starts it, and inherited.
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

# A directory that is everywhere, and that is covered at the end anyway.
_WORKBENCH = Path("/sys")

CREATABLE_BELOW = ("/etc", "/opt", "/srv", "/usr")
"""Where directories that are not there are made, for the program alone. What is covered for that takes what the program
writes, too, and nobody else sees it: in other places, as /tmp, it may well be meant for somebody."""


class MountOverlay(Struct, frozen=True):
    """What lies where: texts by the path of the file that they are the content of, and files in the place of others.

    hostname  "" leaves the machine's
    texts     {"/etc/hosts": "127.0.0.1 localhost\\n"}
    files     (path inside, the file's own path)
    """

    hostname: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()

    def enter(self) -> None:
        """Give the calling thread this view: for a throw-away thread, or a process that is about to exec.

        Where there is no file to be covered, its directory is covered by a copy that has one; below CREATABLE_BELOW a
        directory that is missing is made in a copy of the one above.
        Raises PrivilegeError without CAP_SYS_ADMIN, KernelError for a file that is not there.
        """
        denied = (
            "mounting is not allowed here",
            "in a container, add --security-opt apparmor=unconfined, or run it with --privileged",
        )
        reasons = {errno.EACCES: denied}
        with translate_os_errors("make a mount namespace", needs="CAP_SYS_ADMIN", reasons=reasons):
            libc.unshare(libc.CLONE_NEWNS | (libc.CLONE_NEWUTS if self.hostname else 0))
            if self.hostname:
                socket.sethostname(self.hostname)
            # Slaves, not private: what is unmounted outside must not live on in here.
            libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
            if self.texts or self.files:
                libc.mount("tunlab", str(_WORKBENCH), "tmpfs", 0, "mode=755")
        if self.texts or self.files:
            sources = [(path, _write(number, text)) for number, (path, text) in enumerate(self.texts.items())]
            laid = [*sources, *self.files]
            with translate_os_errors("make place for a file", needs="CAP_SYS_ADMIN"):
                _make_place([target for target, _ in laid])
            for target, source in laid:
                with translate_os_errors(f"lay {source} over {target}", needs="CAP_SYS_ADMIN"):
                    _lay(source, target)
        with translate_os_errors("mount /sys", needs="CAP_SYS_ADMIN"):
            if self.texts or self.files:
                libc.umount2(str(_WORKBENCH), libc.MNT_DETACH)
            _mount_sysfs()


def _write(number: int, text: str) -> str:
    path = _WORKBENCH / f"text{number}"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _make_place(targets: Sequence[str]) -> None:
    """Let there be a file at each path, in a copy of its directory, or of one above, where there is none."""
    # What is not to be found by open(2) is covered by no bind mount: a symbolic link that leads nowhere, too, as
    # /etc/resolv.conf often is. An overlay hides what is mounted below it, so that these come first.
    missing: dict[Path, list[Path]] = {}
    for path in map(Path, targets):
        if not path.exists() and (above := overlay_directory(path)) is not None:
            missing.setdefault(above, []).append(path)
    # Those that are above others first.
    for number, (parent, paths) in enumerate(sorted(missing.items(), key=lambda each: len(each[0].parts))):
        upper, work = _WORKBENCH / f"upper{number}", _WORKBENCH / f"work{number}"
        upper.mkdir(mode=0o755)
        work.mkdir()
        libc.mount("overlay", str(parent), "overlay", 0, f"lowerdir={parent},upperdir={upper},workdir={work}")
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.touch()


def overlay_directory(path: Path) -> Path | None:
    """The directory of which a copy is made to lay a file there: its own, or one above; None for none."""
    if path.parent.is_dir():
        return path.parent
    above = next((each for each in path.parents if each.exists()), Path("/"))
    below = any(above.is_relative_to(each) for each in CREATABLE_BELOW)
    return above if below and above.is_dir() else None


def _lay(source: str, target: str) -> None:
    try:
        libc.mount(source, target, "", libc.MS_BIND)
    except OSError as error:
        # A machine without /etc has no programs that look for its files.
        if error.errno == errno.ENOENT and source.startswith(f"{_WORKBENCH}/"):
            return
        raise


def _mount_sysfs() -> None:
    cgroups = _opened("/sys/fs/cgroup")
    try:
        libc.mount("sysfs", "/sys", "sysfs", 0)
    except OSError as error:
        # In a user namespace it may not be mounted where the machine's own is not seen whole: the program sees that.
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
    else:
        if cgroups is not None:  # or the program would find no limits of its own
            libc.mount(f"/proc/thread-self/fd/{cgroups}", "/sys/fs/cgroup", "", libc.MS_BIND | libc.MS_REC)
    finally:
        if cgroups is not None:
            os.close(cgroups)


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
