"""What a lab needs of the machine that makes it, looked for before anything is made: programs, files."""

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
    """The files that nodes are given and the programs that they run, as far as this machine has them not.

    file   the lab file, beside which relative paths of files begin

    A container has programs and directories of its own, and they are not looked for.
    """
    found: list[Problem] = []
    for name, node in nodes.items():
        contained = bool(node.image or node.container)
        found += _files(f"nodes.{name}", node.files, file.parent, str(file), contained=contained)
        if not contained:
            found += _programs(f"nodes.{name}", node.run, node.files, str(file))
    return found


def resolve_files(plan: LabPlan, base: Path) -> LabPlan:
    """The plan with the paths of the files that its nodes are given made whole; `base` is where relative ones begin.

    Raises TopologyError with all those that are not there, or cannot be laid where they are to be.
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
            problem = f"it is to be {path}, and there is no such file"
            yield Problem(problem, file, f"{table}.files", target, "a relative path begins where the lab file is")
        if not contained and (said := _no_place(Path(target))):
            yield Problem(said[0], file, f"{table}.files", target, said[1])


def _no_place(target: Path) -> tuple[str, str] | None:
    """Why no file can be laid there, and what to do; None where one can be."""
    if target.is_relative_to(_SYSTEM):
        return "a node has a /sys of its own, and no file is laid there", "give it another path"
    if target.is_dir():
        return "there is a directory on this machine", "name a file in it"
    if target.exists() or overlay_directory(target) is not None:
        return None
    problem = f"this machine has no directory {target.parent}"
    return problem, f"make it (mkdir -p {target.parent}), or take a path below {', '.join(CREATABLE_BELOW)}"


def _programs(table: str, run: tuple[CommandPlan, ...], files: Mapping[str, str], file: str) -> Iterator[Problem]:
    for place, command in enumerate(run):
        program = command.arguments[0]
        if program not in files and shutil.which(program) is None:
            problem = f"there is no program {program!r} on this machine"
            yield Problem(problem, file, table, f"run[{place}]", "install it, or give its full path")
