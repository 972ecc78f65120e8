"""Check, before a lab is built, that this machine has the programs and files that its nodes need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from tunlab.errors import Problem, TopologyError
from tunlab.kernel.namespace.mount_overlay import CREATABLE_BELOW, overlay_directory
from tunlab.topology.plan import CommandPlan, LabPlan
from tunlab.topology.spec import NodeSpec

_SYSTEM = Path("/sys")


def missing_requirements(nodes: Mapping[str, NodeSpec], file: Path) -> list[Problem]:
    """Return a problem for each file or program that the nodes need and this machine does not have.

    Paths in `files` are relative to the lab file. A container's programs and mount points are not checked.
    """
    found: list[Problem] = []
    for name, node in nodes.items():
        is_container = bool(node.image or node.container)
        found += _check_files(f"nodes.{name}", node.files, file.parent, str(file), is_container=is_container)
        if not is_container:
            found += _check_programs(f"nodes.{name}", node.run, node.files, str(file))
    return found


def resolve_files(plan: LabPlan, base: Path) -> LabPlan:
    """Return the plan with absolute paths in `files`; relative paths start at the directory `base`.

    Raises TopologyError with every file that does not exist or cannot be mounted at its path.
    """
    found: list[Problem] = []
    nodes = []
    for node in plan.nodes:
        is_container = node.kind == "container"
        found += _check_files(f"nodes.{node.name}", dict(node.files), base, "", is_container=is_container)
        nodes.append(replace(node, files=tuple((path, str((base / each).absolute())) for path, each in node.files)))
    if found:
        raise TopologyError(problems=found)
    return replace(plan, nodes=tuple(nodes))


def _check_files(
    table: str, files: Mapping[str, str], base: Path, file: str, *, is_container: bool
) -> Iterator[Problem]:
    for target, source in files.items():
        path = (base / source).absolute()
        if not path.is_file():
            problem = f"is {source!r}; there is no file {path}"
            yield Problem(problem, file, f"{table}.files", target, "Give a path relative to the lab file.")
        if not is_container and (found := _check_mount_point(Path(target))):
            problem, hint = found
            yield Problem(problem, file, f"{table}.files", target, hint)


def _check_mount_point(target: Path) -> tuple[str, str] | None:
    """Return a problem and a hint if a file cannot be mounted at this path, else None."""
    if target.is_relative_to(_SYSTEM):
        return "is below /sys, where each node mounts its own", "Choose another path."
    if target.is_dir():
        return "is a directory on this machine", "Name a file in it."
    if target.exists() or overlay_directory(target) is not None:
        return None
    problem = f"needs the directory {target.parent}, which this machine does not have"
    return problem, f"Create it (mkdir -p {target.parent}), or choose a path below {', '.join(CREATABLE_BELOW)}."


def _check_programs(table: str, run: tuple[CommandPlan, ...], files: Mapping[str, str], file: str) -> Iterator[Problem]:
    for index, command in enumerate(run):
        program = command.arguments[0]
        if program not in files and shutil.which(program) is None:
            problem = f"runs {program!r}, which is not on this machine"
            yield Problem(problem, file, table, f"run[{index}]", "Install it, or give its full path.")
