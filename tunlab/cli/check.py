"""`tunlab check`: find everything wrong with lab files before anything is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.errors import Problem
    from tunlab.topology.plan import LabPlan


@click.command("check", short_help="Say what is wrong with lab files.")
@click.argument("files", nargs=-1, metavar="FILE…")
@click.option("--schema", "schema_only", is_flag=True, help="Print the JSON schema of lab files instead, for editors.")
def check_command(files: tuple[str, ...], schema_only: bool) -> None:
    """Say what is wrong with lab files, all of it, before anything is made, and what this machine lacks for them:
    programs that nodes run, files that they are given, netem, an engine, a container that is to run already. A ready
    lab's name will do for a file.

    Ends with 0 if nothing is, else with 78.

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
        raise click.UsageError("name a lab file: tunlab check FILE")
    problems: list[Problem] = []
    for which in files:
        try:
            file = find_lab_file(which)
            planned = plan(read_spec(file, here=True))
        except TopologyError as error:
            problems += error.problems
            continue
        lacking = list(_lacking(planned, str(file)))
        problems += lacking
        if not lacking:
            click.echo(f"{file}: nothing is wrong: lab {planned.name}, {size(planned)}")
    for problem in problems:  # here all of them: `up` tells the first twenty
        click.echo(f"tunlab: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(TopologyError.exit_code)


def _lacking(plan: LabPlan, file: str) -> Iterator[Problem]:
    """What the lab needs that is not here, as far as whoever asks may look."""
    from tunlab.cli.containers import refuse_missing
    from tunlab.errors import EngineError, KernelError, PrivilegeError, Problem
    from tunlab.lab.build.namespaces import check_netem

    for refuse in (check_netem, refuse_missing):
        try:
            refuse(plan)
        except PrivilegeError:
            pass
        except (KernelError, EngineError) as error:
            yield Problem(str(error), file)
