"""What a lab leaves on disk: one small directory, with a file that says what there is to remove.

    /run/tunlab/NAME/lab.json     what was made so far, and by whom; replaced whole before each step
    /run/tunlab/NAME/net          the namespace, bind-mounted
    /run/tunlab/NAME/tun0.door    while a `tunlab dump` reads the device
    /run/tunlab/NAME/program1.log  what the first of the node's own programs has printed

The last three are a node's. A lab of several has them in a directory for each: /run/tunlab/NAME/nodes/NODE/net.

Source: rename(2) and mkdir(2) for what is atomic, flock(2).
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
from tunlab.kernel.namespace.guardian import Identity
from tunlab.kernel.namespace.netns import unpin
from tunlab.kernel.process import process_start_time
from tunlab.lab.build.containers import ContainersRecord, Found
from tunlab.lab.persistent.privilege import NEEDS_ROOT
from tunlab.topology import LabPlan, LabSpec, plan

RUN = "/run/tunlab"
RUN_VARIABLE = "TUNLAB_RUN"
"""The environment variable that names another directory than /run/tunlab."""

_FILE, _NEW_FILE = "lab.json", "lab.json.new"
NET, _NODES = "net", "nodes"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a lab.

    plan                what it is made from
    created             when it was asked for, UTC, as RFC 3339 has it
    owner               the process that makes it, and
    owner_started       when that started, in clock ticks after the machine did: the two name it for good
    containers          by what those that were started for it are found; None for none
    resolver            the process that answers for the nodes' names; 0 for none
    namespaces          (st_dev, st_ino) of nsfs for each node; none before they are made
    """

    name: str
    plan: LabPlan
    created: str
    owner: int
    owner_started: int
    containers: ContainersRecord | None = None
    resolver: int = 0
    namespaces: dict[str, Identity] = msgspec.field(default_factory=dict)
    phase: Literal["coming up", "up"] = "coming up"

    @classmethod
    def first(cls, lab: LabSpec | LabPlan, containers: Found | None = None) -> Self:
        """What is recorded before anything is made; this process is the owner."""
        pid = os.getpid()
        return cls(
            name=lab.name,
            plan=plan(lab) if isinstance(lab, LabSpec) else lab,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            owner=pid,
            owner_started=process_start_time(pid) or 0,
            containers=ContainersRecord(containers.engine, containers.run) if containers else None,
        )

    @property
    def namespace(self) -> Identity | None:
        """That of its first node; None before it is made."""
        return next(iter(self.namespaces.values()), None)

    def owner_lives(self) -> bool:
        """Whether the process that makes the lab is still there."""
        return process_start_time(self.owner) == self.owner_started


def run_directory() -> Path:
    """Where the labs' directories are."""
    directory = Path(os.environ.get(RUN_VARIABLE) or RUN)
    if not directory.is_absolute():  # from another working directory the labs would be gone
        raise LabError("", f"{RUN_VARIABLE}={directory} is relative", remedy="give a path that begins with /")
    return directory


def node_directory(directory: Path, plan: LabPlan, node: str) -> Path:
    """Where a node's part of what is on disk is: in the lab's directory if it is the only one."""
    return directory if len(plan.nodes) == 1 else directory / _NODES / node


def all_there(directory: Path, state: State) -> bool:
    """Whether the namespaces that are recorded are those that are pinned."""
    for node in state.plan.nodes:
        try:
            status = (node_directory(directory, state.plan, node.name) / NET).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if (status.st_dev, status.st_ino) != state.namespaces.get(node.name):
            return False
    return True


def log(directory: Path, number: int) -> Path:
    """Where the output of a node's program goes, counted from 1; `directory` is the node's."""
    return directory / f"program{number}.log"


@contextlib.contextmanager
def claimed(name: str) -> Iterator[Path]:
    """Make the lab's directory, and be the one who makes the lab: of two who try, one succeeds.

    Raises FileExistsError, PrivilegeError, KernelError.
    """
    directory = run_directory() / name
    try:
        directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _alone():
            directory.mkdir(mode=0o755)
            fd = _open(directory)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    try:
        yield directory
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the one process that makes or removes the lab. Raises LabError if another is."""
    name = directory.name
    try:
        with _alone():
            fd = _open(directory)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                problem = f"another tunlab is making or removing lab {name!r} right now"
                raise LabError(name, problem, remedy="try again when it is done") from None
            try:
                there = os.path.samestat(os.fstat(fd), directory.stat())
            except FileNotFoundError:
                there = False
            if not there:  # whoever removed it had not let go of it when we opened it
                os.close(fd)
                raise FileNotFoundError(errno.ENOENT, "removed", str(directory))
    except FileNotFoundError:
        raise LabError(name, f"lab {name!r} was removed meanwhile", remedy="tunlab ls shows what is up") from None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """For the moment between a directory's making and its lock, in which it would look like one left broken."""
    fd = _open(run_directory())
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def is_locked(directory: Path) -> bool:
    """Whether somebody makes or removes the lab at this moment."""
    try:
        with locked(directory):
            return False
    except LabError:
        return True


def let_go(pinned: Path) -> None:
    """Unpin a namespace, if it was pinned and still is. Raises KernelError."""
    try:
        unpin(pinned)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


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
    nodes = directory / _NODES
    for each in (*nodes.glob("*"), directory):
        for ours in (*each.glob("*.door"), *each.glob("program*.log")):
            ours.unlink(missing_ok=True)
    (directory / _NEW_FILE).unlink(missing_ok=True)
    for each in (*nodes.glob("*"), nodes):
        with contextlib.suppress(OSError):  # it holds what is not ours, is none, or is not there
            each.rmdir()
    leaves = [path for path in directory.rglob("*") if not (path.is_dir() and any(path.iterdir()))]
    others = sorted(str(path.relative_to(directory)) for path in leaves if path != directory / _FILE)
    if others:
        problem = f"{directory} holds what tunlab has not put there: {', '.join(others)}"
        pinned = [str(directory / each) for each in others if os.path.ismount(directory / each)]
        away = f"unmount what is mounted there (umount {' '.join(pinned)})" if pinned else "take that away"
        raise LabError(directory.name, problem, remedy=f"{away} and try again")
    (directory / _FILE).unlink(missing_ok=True)
    directory.rmdir()
