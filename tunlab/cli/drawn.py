"""`tunlab graph` and `check`: what a lab file says, drawn and judged, before anything is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from tunlab.errors import Problem
    from tunlab.topology.plan import LabPlan

Form = Literal["text", "mermaid", "dot", "svg"]
_SUFFIXES: dict[str, Form] = {".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}


@click.command("graph", short_help="Draw a lab.")
@click.argument("which", metavar="FILE|LAB")
@click.option("--mermaid", is_flag=True, help="Mermaid, which GitHub shows in Markdown.")
@click.option("--dot", is_flag=True, help="DOT, for Graphviz.")
@click.option("--svg", is_flag=True, help="An SVG picture.")
@click.option(
    "-w", "--write", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write it there; .mmd, .dot and .svg choose the form.",
)  # fmt: skip
def graph_command(which: str, mermaid: bool, dot: bool, svg: bool, file: Path | None) -> None:
    """Draw a lab: in the terminal, or as Mermaid, DOT or SVG.

    FILE is a lab file or the name of a ready lab, LAB one that is up.

    Example: tunlab graph router --svg --write router.svg
    """
    from tunlab.errors import KernelError
    from tunlab.topology import graph

    wanted: dict[Form, bool] = {"mermaid": mermaid, "dot": dot, "svg": svg}
    forms = [form for form, given in wanted.items() if given]
    if len(forms) > 1:
        raise click.UsageError(f"{' and '.join(f'--{each}' for each in forms)} are forms of one drawing: give one")
    if forms:
        form = forms[0]
    else:
        form = _SUFFIXES.get(file.suffix.lower(), "text") if file is not None else "text"
    drawing = graph(_plan_of(which), form)
    if file is None:
        click.echo(drawing, nl=not drawing.endswith("\n"))
        return
    try:
        file.write_text(drawing if drawing.endswith("\n") else f"{drawing}\n", encoding="utf-8")
    except OSError as error:
        raise KernelError(error.errno or 0, f"write {file}", reason=error.strerror or "") from error
    click.echo(f"{file} is written", err=True)


def _plan_of(which: str) -> LabPlan:
    from tunlab.errors import LabError, TopologyError
    from tunlab.lab.files import find_lab_file, spec_of_file
    from tunlab.lab.live import Lab
    from tunlab.topology import plan

    if not Path(which).is_file():
        try:
            return Lab.open(which).plan
        except (LabError, TopologyError):  # none that is up, or no name of a lab at all
            pass
    return plan(spec_of_file(find_lab_file(which)))


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
    from tunlab.cli.planned import size
    from tunlab.errors import TopologyError
    from tunlab.lab.files import find_lab_file, spec_of_file
    from tunlab.topology import plan

    if schema_only:
        from tunlab.topology.schema import schema_text

        click.echo(schema_text(), nl=False)
        return
    if not files:
        raise click.UsageError("name a lab file: tunlab check FILE")
    problems: list[Problem] = []
    for which in files:
        try:
            file = find_lab_file(which)
            planned = plan(spec_of_file(file, here=True))
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
    from tunlab.lab.making import refuse_without_netem

    for refuse in (refuse_without_netem, refuse_missing):
        try:
            refuse(plan)
        except PrivilegeError:
            pass
        except (KernelError, EngineError) as error:
            yield Problem(str(error), file)
