"""`tunlab graph`: draw a lab, in the terminal or as Mermaid, DOT or SVG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from tunlab.topology.plan import LabPlan

Form = Literal["text", "mermaid", "dot", "svg"]
_SUFFIXES: dict[str, Form] = {".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}


@click.command("graph", short_help="Draw a lab.")
@click.argument("source", metavar="FILE|LAB")
@click.option("--mermaid", is_flag=True, help="Draw as Mermaid, which GitHub renders in Markdown.")
@click.option("--dot", is_flag=True, help="Draw as DOT, for Graphviz.")
@click.option("--svg", is_flag=True, help="Draw as an SVG image.")
@click.option(
    "-w", "--write", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write to a file; the suffixes .mmd, .dot and .svg choose the format.",
)  # fmt: skip
def graph_command(source: str, mermaid: bool, dot: bool, svg: bool, file: Path | None) -> None:
    """Draw a lab as text, Mermaid, DOT or SVG.

    FILE is a lab file or the name of a lab that comes with tunlab. LAB is a lab that is up.

    Example: tunlab graph router --svg --write router.svg
    """
    from tunlab.errors import KernelError
    from tunlab.topology import graph

    given: dict[Form, bool] = {"mermaid": mermaid, "dot": dot, "svg": svg}
    forms = [form for form, chosen in given.items() if chosen]
    if len(forms) > 1:
        raise click.UsageError(f"{' and '.join(f'--{each}' for each in forms)} exclude each other. Give one of them.")
    if forms:
        form = forms[0]
    else:
        form = _SUFFIXES.get(file.suffix.lower(), "text") if file is not None else "text"
    drawing = graph(_plan_of(source), form)
    if file is None:
        click.echo(drawing, nl=not drawing.endswith("\n"))
        return
    try:
        file.write_text(drawing if drawing.endswith("\n") else f"{drawing}\n", encoding="utf-8")
    except OSError as error:
        raise KernelError(error.errno or 0, f"write {file}", reason=error.strerror or "") from error
    click.echo(f"wrote {file}", err=True)


def _plan_of(source: str) -> LabPlan:
    from tunlab.errors import LabError, TopologyError
    from tunlab.lab.lab_files import find_lab_file, read_spec
    from tunlab.lab.persistent.lab import PersistentLab
    from tunlab.topology import plan

    if not Path(source).is_file():
        try:
            return PersistentLab.open(source).plan
        except (LabError, TopologyError):  # no lab of this name is up, so look for a lab file
            pass
    return plan(read_spec(find_lab_file(source)))
