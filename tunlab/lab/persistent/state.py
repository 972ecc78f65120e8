"""The record of a persistent lab on disk.

    /run/tunlab/NAME/lab.json       the record: what was built so far, and by which process
    /run/tunlab/NAME/net            bind mount of the node's namespace
    /run/tunlab/NAME/tun0.inject    the socket of `tunlab dump`, while it reads the TUN
    /run/tunlab/NAME/init.socket    the socket of the node's init, once a program was started in the node
    /run/tunlab/NAME/program1.log   the output of the node's first program

The last four belong to a node. In a lab of several nodes, each has its own directory: /run/tunlab/NAME/nodes/NODE/net.

Source: rename(2), mkdir(2) and flock(2), which are atomic. An update replaces lab.json by rename(2).
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
from tunlab.kernel.namespace.handle import unpin
from tunlab.kernel.namespace.processes import Identity
from tunlab.kernel.process import process_start_time
from tunlab.lab.build.containers import ContainersRecord, EngineRecord
from tunlab.lab.persistent.privilege import NEEDS_ROOT
from tunlab.lab.run_directory import RUN_VARIABLE, run_directory
from tunlab.topology import LabPlan, LabSpec, plan

_FILE, _NEW_FILE = "lab.json", "lab.json.new"
NET, INIT, _NODES = "net", "init.socket", "nodes"


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a lab.

    Attributes:
        name: the lab's name.
        plan: the plan it is built from.
        created: when `up` started, UTC, in the format of RFC 3339.
        owner: the PID of the process that builds the lab.
        owner_started: when that process started, in clock ticks since boot; with the PID it identifies the process.
        containers: how to find the containers started for the lab; None if there are none.
        namespaces: (st_dev, st_ino) of each node's namespace; empty before they are created.
        phase: "coming up", or "up" once the programs are ready.
    """

    name: str
    plan: LabPlan
    created: str
    owner: int
    owner_started: int
    containers: ContainersRecord | None = None
    namespaces: dict[str, Identity] = msgspec.field(default_factory=dict)
    phase: Literal["coming up", "up"] = "coming up"

    @classmethod
    def initial(cls, lab: LabSpec | LabPlan, containers: EngineRecord | None = None) -> Self:
        """Return the first record of a lab, written before anything is created; this process is its owner."""
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
        """(st_dev, st_ino) of the first node's namespace; None before it is created."""
        return next(iter(self.namespaces.values()), None)

    def is_owner_alive(self) -> bool:
        """Return True if the process that builds the lab still runs."""
        return process_start_time(self.owner) == self.owner_started


# ---- paths -----------------------------------------------------------------------------------------------------------


def lab_directory(name: str) -> Path:
    """Return the directory of a lab's record."""
    return run_directory() / name


def node_directory(directory: Path, plan: LabPlan, node: str) -> Path:
    """Return the directory of a node's files; in a lab with one node, the lab's own directory."""
    return directory if len(plan.nodes) == 1 else directory / _NODES / node


def log_path(directory: Path, number: int) -> Path:
    """Return the path of the output file of a node's program `number`, counted from 1; `directory` is the node's."""
    return directory / f"program{number}.log"


def has_all_namespaces(directory: Path, state: LabState) -> bool:
    """Return True if every recorded namespace is still bind-mounted."""
    for node in state.plan.nodes:
        try:
            status = (node_directory(directory, state.plan, node.name) / NET).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if (status.st_dev, status.st_ino) != state.namespaces.get(node.name):
            return False
    return True


# ---- locks -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def create_directory(name: str) -> Iterator[Path]:
    """Create a lab's directory and hold its lock; if two processes try at once, one gets FileExistsError.

    Raises:
        FileExistsError: if the lab exists.
        PrivilegeError, KernelError: if the directory cannot be created.
    """
    directory = lab_directory(name)
    try:
        directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _run_lock():
            directory.mkdir(mode=0o755)
            fd = _open(directory)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileExistsError:
        if not directory.parent.is_dir():
            reason = f"{directory.parent} is not a directory"
            raise KernelError(errno.ENOTDIR, f"create {directory}", reason=reason) from None
        raise
    except PermissionError as error:
        remedy = NEEDS_ROOT if os.geteuid() else f"name another directory in {RUN_VARIABLE}"
        reason = f"user {os.geteuid()} may not write to {directory.parent}"
        operation = f"create {directory}"
        raise PrivilegeError(
            error.errno or 0, operation, missing=str(directory.parent), reason=reason, remedy=remedy
        ) from error
    except OSError as error:
        raise KernelError(error.errno or 0, f"create {directory}", reason=error.strerror or "") from error
    try:
        yield directory
    finally:
        os.close(fd)


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the lock of an existing lab. Raises LabError if another process holds it, or has removed the lab."""
    name = directory.name
    try:
        with _run_lock():
            fd = _open(directory)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                problem = f"another process is creating or removing lab {name!r}"
                raise LabError(name, problem, remedy="try again when that process has ended") from None
            try:
                exists = os.path.samestat(os.fstat(fd), directory.stat())
            except FileNotFoundError:
                exists = False
            if not exists:  # another process removed the directory before it was locked here
                os.close(fd)
                raise FileNotFoundError(errno.ENOENT, "the lab was removed", str(directory))
    except FileNotFoundError:
        problem = f"lab {name!r} was removed by another process"
        raise LabError(name, problem, remedy="`tunlab ls` lists the running labs") from None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _run_lock() -> Iterator[None]:
    """Hold the lock of the run directory. Without it, a new lab would look broken between mkdir(2) and flock(2)."""
    fd = _open(run_directory())
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def is_locked(directory: Path) -> bool:
    """Return True if another process is creating or removing the lab."""
    try:
        with lock(directory):
            return False
    except LabError:
        return True


# ---- files of the record ---------------------------------------------------------------------------------------------


def write(directory: Path, state: LabState) -> None:
    """Write the record atomically. Raises KernelError."""
    new = directory / _NEW_FILE
    try:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
        new.rename(directory / _FILE)
    except OSError as error:
        raise KernelError(error.errno or 0, f"write {directory / _FILE}", reason=error.strerror or "") from error


def read(directory: Path) -> LabState | None:
    """Read the record; return None if it is missing or damaged. Raises KernelError."""
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=LabState)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise KernelError(error.errno or 0, f"read {directory / _FILE}", reason=error.strerror or "") from error


def unpin_namespace(path: Path) -> None:
    """Unmount a namespace's bind mount, if it exists. Raises KernelError."""
    try:
        unpin(path)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def remove(directory: Path) -> None:
    """Delete a lab's directory, the last step of its removal. Raises LabError if it has files of other programs."""
    nodes = directory / _NODES
    for each in (*nodes.glob("*"), directory):
        for file in (*each.glob("*.inject"), *each.glob("program*.log"), each / INIT):
            file.unlink(missing_ok=True)
    (directory / _NEW_FILE).unlink(missing_ok=True)
    for each in (*nodes.glob("*"), nodes):
        with contextlib.suppress(OSError):  # the directory has files of other programs, or does not exist
            each.rmdir()
    leaves = [path for path in directory.rglob("*") if not (path.is_dir() and any(path.iterdir()))]
    foreign = sorted(str(path.relative_to(directory)) for path in leaves if path != directory / _FILE)
    if foreign:
        problem = f"{directory} holds files that tunlab did not create: {', '.join(foreign)}"
        mounts = [str(directory / each) for each in foreign if os.path.ismount(directory / each)]
        action = f"unmount them (`umount {' '.join(mounts)}`)" if mounts else "move them away"
        raise LabError(directory.name, problem, remedy=f"{action} and try again")
    (directory / _FILE).unlink(missing_ok=True)
    directory.rmdir()
