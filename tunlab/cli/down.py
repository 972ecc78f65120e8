"""`tunlab down` and `gc`: remove labs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.lab import Removed

_SHOWN = 4
"""TUNs that are named one by one."""


@click.command("down", short_help="Remove a lab, whole or half-made.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--all", "everything", is_flag=True, help="Every lab there is.")
def down_command(name: str | None, everything: bool) -> None:
    """Remove a lab, whole or half-made, and end what runs inside it.

    LAB may be left out if there is only one.

    Example: tunlab down vpn
    """
    from tunlab.cli.containers import remove_containers
    from tunlab.errors import LabError, TunlabError
    from tunlab.lab.lab import Lab

    if everything and name:
        raise click.UsageError("--all takes down every lab: name none")
    if name:
        labs = [Lab(name)]
    else:
        labs = Lab.all()
        if not labs:
            if everything:
                click.echo("there is no lab", err=True)
                return
            raise LabError("", "there is no lab to take down")
        if len(labs) > 1 and not everything:
            names = ", ".join(lab.name for lab in labs)
            remedy = f"name one of them, as tunlab down {labs[0].name}, or give --all"
            raise LabError("", f"there are {len(labs)} labs: {names}", remedy=remedy)
    failed: TunlabError | None = None
    for lab in labs:
        try:
            click.echo(f"{lab.name} is down: {_removed(lab.down(remove_containers))}")
        except TunlabError as error:  # the others are to go all the same
            if failed is not None:
                click.echo(f"tunlab: {failed}", err=True)
            failed = error
    if failed is not None:
        raise failed


@click.command("gc", short_help="Remove what is left of labs that nobody made whole.")
def gc_command() -> None:
    """Remove every lab that is broken (its maker was killed half-way) or gone (its namespaces are no more).

    What is up, or coming up, is left alone.

    Example: tunlab gc
    """
    from tunlab.cli.containers import remove_containers
    from tunlab.lab.lab import Lab

    for removed in Lab.gc(remove_containers):
        click.echo(f"{removed.name} is down: {_removed(removed)}")


def _removed(removed: Removed) -> str:
    what = list(removed.tuns) if len(removed.tuns) <= _SHOWN else [f"{len(removed.tuns)} TUNs"]
    if removed.namespace:
        what.append("its namespace" if len(removed.nodes) == 1 else f"{len(removed.nodes)} namespaces")
    if removed.containers:
        ids = ", ".join(each[:12] for each in removed.containers)
        what.append(f"{len(removed.containers)} container{'s' * (len(removed.containers) > 1)} ({ids})")
    if removed.processes:
        many = "es" if len(removed.processes) > 1 else ""
        what.append(f"{len(removed.processes)} process{many} ({', '.join(map(str, removed.processes))})")
    return f"removed {', '.join(what)}" if what else "nothing of it was there but its directory"
