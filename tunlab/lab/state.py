"""What a lab leaves on disk: one small directory, with a file that says what there is to remove.

    /run/tunlab/NAME/lab.json     what was made so far, and by whom; replaced whole before each step
    /run/tunlab/NAME/net          the namespace, bind-mounted
    /run/tunlab/NAME/tun0.door    while a `tunlab dump` reads the device

Source: rename(2) and mkdir(2) for what is atomic, flock(2), proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import msgspec

from tunlab.errors import KernelError, LabError, PrivilegeError
from tunlab.kernel.guardian import Identity
from tunlab.lab.privilege import NEEDS_ROOT
from tunlab.topology import LabSpec

RUN = "/run/tunlab"
RUN_VARIABLE = "TUNLAB_RUN"
"""The environment variable that names another directory than /run/tunlab."""

_FILE, _NEW_FILE, NET = "lab.json", "lab.json.new", "net"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a lab.

    created             when it was asked for, UTC, as RFC 3339 has it
    owner               the process that makes it, and
    owner_started       when that started, in clock ticks after the machine did: the two name it for good
    namespace           (st_dev, st_ino) of nsfs; None before it is made
    """

    name: str
    ifname: str
    address: str
    mtu: int
    created: str
    owner: int
    owner_started: int
    namespace: Identity | None = None
    phase: Literal["coming up", "up"] = "coming up"

    @classmethod
    def first(cls, spec: LabSpec) -> Self:
        """What is recorded before anything is made; this process is the owner."""
        node, pid = spec.node, os.getpid()
        return cls(
            name=spec.name,
            ifname=node.ifname,
            address=node.tun,
            mtu=node.mtu,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            owner=pid,
            owner_started=_started(pid) or 0,
        )

    def owner_lives(self) -> bool:
        """Whether the process that makes the lab is still there."""
        return _started(self.owner) == self.owner_started


def run_directory() -> Path:
    """Where the labs' directories are."""
    return Path(os.environ.get(RUN_VARIABLE) or RUN)


def claim(name: str) -> Path:
    """Make the lab's directory: of two who try, one succeeds. Raises FileExistsError, PrivilegeError, KernelError."""
    directory = run_directory() / name
    try:
        directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.mkdir(mode=0o755)
    except FileExistsError:
        if not directory.parent.is_dir():
            raise KernelError(
                errno.ENOTDIR, f"make {directory}", reason=f"{directory.parent} is no directory"
            ) from None
        raise
    except PermissionError as error:
        remedy = NEEDS_ROOT if os.geteuid() else f"name another directory in {RUN_VARIABLE}"
        reason = f"user {os.geteuid()} may not write to {directory.parent}"
        operation = f"make {directory}"
        raise PrivilegeError(
            error.errno or 0, operation, missing=str(directory.parent), reason=reason, remedy=remedy
        ) from error
    except OSError as error:
        raise KernelError(error.errno or 0, f"make {directory}", reason=error.strerror or "") from error
    return directory


@contextlib.contextmanager
def locked(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Be the one process that makes or removes the lab. Raises LabError if another is and we do not `wait` for it."""
    name = directory.name
    meanwhile = LabError(name, f"lab {name!r} was removed meanwhile", remedy="tunlab ls shows what is up")
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise meanwhile from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            problem = f"another tunlab is making or removing lab {name!r} right now"
            raise LabError(name, problem, remedy="try again when it is done") from None
        if not _is(fd, directory):
            raise meanwhile
        yield
    finally:
        os.close(fd)


def is_locked(directory: Path) -> bool:
    """Whether somebody makes or removes the lab at this moment."""
    try:
        with locked(directory):
            return False
    except LabError:
        return True


def _is(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def write(directory: Path, state: State) -> None:
    """Record `state`, whole or not at all. Raises KernelError."""
    new = directory / _NEW_FILE
    try:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
        new.rename(directory / _FILE)
    except OSError as error:
        raise KernelError(error.errno or 0, f"write {directory / _FILE}", reason=error.strerror or "") from error


def read(directory: Path) -> State | None:
    """What was recorded last; None where nothing was, or nothing that can be read. Raises KernelError."""
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise KernelError(error.errno or 0, f"read {directory / _FILE}", reason=error.strerror or "") from error


def remove(directory: Path) -> None:
    """Delete the directory of a lab of which nothing else is left. Raises LabError if there are others' files in it."""
    for door in directory.glob("*.door"):
        door.unlink(missing_ok=True)
    (directory / _NEW_FILE).unlink(missing_ok=True)
    others = sorted(path.name for path in directory.iterdir() if path.name != _FILE)
    if others:
        problem = f"{directory} holds what tunlab has not put there: {', '.join(others)}"
        raise LabError(directory.name, problem, remedy="take that away and try again")
    (directory / _FILE).unlink(missing_ok=True)
    directory.rmdir()


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks after the machine did; None if there is none of that id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The 22nd field; the second, the program's name, ends at the last parenthesis and may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
