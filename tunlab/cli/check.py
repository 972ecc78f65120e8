"""`tunlab check`: find everything wrong with lab files before anything is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.errors import Problem
    from tunlab.topology.plan import LabPlan


@click.command("check", short_help="Find mistakes in lab files.")
@click.argument("files", nargs=-1, metavar="FILE…")
@click.option("--schema", "schema_only", is_flag=True, help="Print the JSON schema of lab files, for editors.")
def check_command(files: tuple[str, ...], schema_only: bool) -> None:
    """Print every mistake in lab files, and everything they need that this machine lacks: programs, files, netem, a
    Docker Engine, running containers. FILE may be the name of a lab that comes with tunlab. Nothing is created.

    The exit code is 0 if no problem is found, else 78.

    Example: tunlab check mylab.toml
    """
    from tunlab.cli.plan_text import size
    from tunlab.errors import TopologyError
    from tunlab.lab.lab_files import find_lab_file, read_spec
    from tunlab.topology import plan

    if schema_only:
        from tunlab.topology.lab_file.schema import schema_text

        click.echo(schema_text(), nl=False)
        return
    if not files:
        raise click.UsageError("no lab file given. Write `tunlab check FILE`.")
    problems: list[Problem] = []
    for name in files:
        try:
            file = find_lab_file(name)
            planned = plan(read_spec(file, check_machine=True))
        except TopologyError as error:
            problems += error.problems
            continue
        missing = list(_missing_requirements(planned, str(file)))
        problems += missing
        if not missing:
            click.echo(f"{file}: no problems: lab {planned.name}, {size(planned)}")
    for problem in problems:  # print all problems; other commands print only the first 20
        click.echo(f"tunlab: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(TopologyError.exit_code)


def _missing_requirements(plan: LabPlan, file: str) -> Iterator[Problem]:
    """Yield a problem for each requirement of the lab that this machine lacks, as far as this user may check it."""
    from tunlab.cli.lab_containers import check_containers
    from tunlab.errors import EngineError, KernelError, PrivilegeError, Problem
    from tunlab.lab.build.limits import check_netem

    for check in (check_netem, check_containers):
        try:
            check(plan)
        except PrivilegeError:
            pass
        except (KernelError, EngineError) as error:
            yield Problem(str(error), file)
