"""Checks before a lab is built: the programs and files that its nodes name."""

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
    """Return a problem for each file or program of the nodes that this machine does not have.

    Paths in `files` are relative to the lab file. Programs and directories of containers are not checked.
    """
    found: list[Problem] = []
    for name, node in nodes.items():
        contained = bool(node.image or node.container)
        found += _files(f"nodes.{name}", node.files, file.parent, str(file), contained=contained)
        if not contained:
            found += _programs(f"nodes.{name}", node.run, node.files, str(file))
    return found


def resolve_files(plan: LabPlan, base: Path) -> LabPlan:
    """Return the plan with absolute paths in `files`; `base` is the directory of relative ones.

    Raises TopologyError with every file that does not exist or cannot be mounted at its path.
    """
    found: list[Problem] = []
    nodes = []
    for node in plan.nodes:
        contained = node.kind == "container"
        found += _files(f"nodes.{node.name}", dict(node.files), base, "", contained=contained)
        nodes.append(replace(node, files=tuple((path, str((base / each).absolute())) for path, each in node.files)))
    if found:
        raise TopologyError(problems=found)
    return replace(plan, nodes=tuple(nodes))


def _files(table: str, files: Mapping[str, str], base: Path, file: str, *, contained: bool) -> Iterator[Problem]:
    for target, source in files.items():
        path = (base / source).absolute()
        if not path.is_file():
            problem = f"is {source!r}; there is no file {path}"
            yield Problem(problem, file, f"{table}.files", target, "Give a path relative to the lab file.")
        if not contained and (refused := _check_mount_point(Path(target))):
            yield Problem(refused[0], file, f"{table}.files", target, refused[1])


def _check_mount_point(target: Path) -> tuple[str, str] | None:
    """Return why no file can be mounted there, and a hint; None if one can."""
    if target.is_relative_to(_SYSTEM):
        return "is below /sys, which each node has for itself", "Choose another path."
    if target.is_dir():
        return "is a directory on this machine", "Name a file in it."
    if target.exists() or overlay_directory(target) is not None:
        return None
    problem = f"needs the directory {target.parent}, which this machine does not have"
    return problem, f"Create it (mkdir -p {target.parent}), or choose a path below {', '.join(CREATABLE_BELOW)}."


def _programs(table: str, run: tuple[CommandPlan, ...], files: Mapping[str, str], file: str) -> Iterator[Problem]:
    for place, command in enumerate(run):
        program = command.arguments[0]
        if program not in files and shutil.which(program) is None:
            problem = f"runs {program!r}, which is not on this machine"
            yield Problem(problem, file, table, f"run[{place}]", "Install it, or give its full path.")
