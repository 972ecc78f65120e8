"""Check, before a lab is built, that this machine has the programs and files that its nodes need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from tunlab.errors import Problem, TopologyError
from tunlab.kernel.namespace.mount_overlay import CREATABLE_BELOW, overlay_directory
from tunlab.kernel.namespace.private_directories import user_and_group
from tunlab.topology.plan import CommandPlan, LabPlan, NodePlan
from tunlab.topology.spec import NodeSpec

_SYSTEM = Path("/sys")


def missing_requirements(nodes: Mapping[str, NodeSpec], file: Path) -> list[Problem]:
    """Return a problem for each file, directory, user or program that the nodes need and this machine does not have.

    Relative paths start at the lab file. A container's programs and mount points are not checked.
    """
    found: list[Problem] = []
    for name, node in nodes.items():
        table, is_container = f"nodes.{name}", bool(node.image or node.container)
        found += _check_files(table, node.files, file.parent, str(file), is_container, node.private)
        if not is_container:
            found += _check_directories(table, node, str(file))
            found += _check_owners(table, node, node.owners, str(file))
            for key, commands in (("setup", node.setup), ("run", node.run)):
                found += _check_programs(table, key, commands, {**node.files, **node.texts}, file)
    return found


def resolve_files(plan: LabPlan, base: Path) -> LabPlan:
    """Return the plan with absolute paths in `files` and of programs; relative paths start at the directory `base`.

    Raises TopologyError with every file, directory or user that does not exist, or cannot be used in a node.
    """
    found: list[Problem] = []
    nodes = []
    for node in plan.nodes:
        table, is_container = f"nodes.{node.name}", node.kind == "container"
        found += _check_files(table, dict(node.files), base, "", is_container, node.private)
        files = tuple((path, str((base / each).absolute())) for path, each in node.files)
        if is_container:
            nodes.append(replace(node, files=files))
            continue
        found += _check_directories(table, node, "")
        found += _check_owners(table, node, {path: (owner, mode) for path, owner, mode in node.owners}, "")
        run, setup = (tuple(_resolve_program(each, base) for each in commands) for commands in (node.run, node.setup))
        visible = (*node.visible, str(base.absolute()))
        nodes.append(replace(node, files=files, run=run, setup=setup, visible=visible))
    if found:
        raise TopologyError(problems=found)
    return replace(plan, nodes=tuple(nodes))


def _resolve_program(command: CommandPlan, base: Path) -> CommandPlan:
    """Return the command with an absolute path of the program, if it has a relative one with a slash."""
    program, *arguments = command.arguments
    if "/" not in program or program.startswith("/"):
        return command
    return replace(command, arguments=(str((base / program).absolute()), *arguments))


def _check_files(
    table: str, files: Mapping[str, str], base: Path, file: str, is_container: bool, private: tuple[str, ...]
) -> Iterator[Problem]:
    for target, source in files.items():
        path = (base / source).absolute()
        if not path.exists():
            problem = f"is {source!r}; there is no file {path}"
            yield Problem(problem, file, f"{table}.files", target, "Give a path relative to the lab file.")
        if not is_container and (found := _check_mount_point(Path(target), path, private)):
            problem, hint = found
            yield Problem(problem, file, f"{table}.files", target, hint)


def _check_directories(table: str, node: NodeSpec | NodePlan, file: str) -> Iterator[Problem]:
    for key in ("private", "share"):
        for index, each in enumerate(getattr(node, key)):
            path = Path(each)
            if not path.exists() or (key == "private" and not path.is_dir()):
                kind = "directory" if key == "private" else "file or directory"
                problem = f"is {each!r}; this machine has no such {kind}"
                yield Problem(problem, file, table, f"{key}[{index}]", "Create it, or choose another path.")


def _check_owners(
    table: str, node: NodeSpec | NodePlan, owners: Mapping[str, tuple[str, int]], file: str
) -> Iterator[Problem]:
    given = {f"files.{path}.owner": owner for path, (owner, _) in owners.items()}
    given |= {f"run_dirs[{index}].owner": each.owner for index, each in enumerate(node.run_dirs)}
    given |= {"user": node.user}
    for key, commands in (("setup", node.setup), ("run", node.run)):
        given |= {f"{key}[{index}].user": command.user for index, command in enumerate(commands)}
    for key, owner in given.items():
        try:
            user_and_group(owner or "0")
        except KeyError:
            problem = f"is {owner!r}; this machine has no such user or group"
            yield Problem(problem, file, table, key, "Name a user of /etc/passwd and a group of /etc/group.")


def _check_mount_point(target: Path, source: Path, private: tuple[str, ...]) -> tuple[str, str] | None:
    """Return a problem and a hint if a file or directory cannot be mounted at this path, else None."""
    if target.is_relative_to(_SYSTEM):
        return "is below /sys, where each node mounts its own", "Choose another path."
    if any(target.is_relative_to(each) for each in ("/run", "/var/run", *private)):
        return None
    if target.is_dir() and not source.is_dir():
        return "is a directory on this machine", "Name a file in it, or give a directory for it."
    if target.is_file() and source.is_dir():
        return f"is a file on this machine, and {source} is a directory", "Name a directory."
    if target.exists() or overlay_directory(target) is not None:
        return None
    problem = f"needs the directory {target.parent}, which this machine does not have"
    return problem, f"Create it (mkdir -p {target.parent}), or choose a path below {', '.join(CREATABLE_BELOW)}."


def _check_programs(
    table: str, key: str, commands: tuple[CommandPlan, ...], files: Mapping[str, str], file: Path
) -> Iterator[Problem]:
    for index, command in enumerate(commands):
        program = command.arguments[0]
        if program not in files and shutil.which(_resolve_program(command, file.parent).arguments[0]) is None:
            problem = f"runs {program!r}, which is not on this machine"
            yield Problem(problem, str(file), table, f"{key}[{index}]", "Install it, or give its full path.")
