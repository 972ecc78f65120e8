"""What a lab needs of the machine that makes it, looked for before anything is made: programs, files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tunlab.errors import Problem
from tunlab.topology.plan import LabPlan, NodePlan


def absent(plan: LabPlan, file: Path) -> list[Problem]:
    """The files that nodes are given and the programs that they run, as far as this machine has them not.

    file   the lab file, beside which relative paths of files begin

    A container has programs of its own, and they are not looked for.
    """
    return [problem for node in plan.nodes for problem in (*_files(node, file), *_programs(node, file))]


def _files(node: NodePlan, file: Path) -> Iterator[Problem]:
    for target, source in node.files:
        path = file.parent / source
        if not path.is_file():
            problem = f"{target} is to be {path}, and there is no such file"
            yield Problem(
                problem, str(file), f"nodes.{node.name}", "files", "a relative path begins where the lab file is"
            )


def _programs(node: NodePlan, file: Path) -> Iterator[Problem]:
    if node.kind == "container":
        return
    given = dict(node.files)
    for command in node.run:
        program = command.arguments[0]
        if program not in given and shutil.which(program) is None:
            problem = f"there is no program {program!r} on this machine"
            yield Problem(problem, str(file), f"nodes.{node.name}", "run", "install it, or give its full path")
