"""`tunlab down` and `gc`: remove labs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.lab import Removed

_MAX_NAMED_TUNS = 4
"""With more TUNs, only their number is printed."""


@click.command("down", short_help="Remove a lab.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--all", "everything", is_flag=True, help="Remove all labs.")
def down_command(name: str | None, everything: bool) -> None:
    """Remove a lab and kill the processes in it. An incomplete lab is removed, too.

    LAB may be omitted if only one lab exists.

    Example: tunlab down vpn
    """
    from tunlab.cli.lab_containers import remove_containers
    from tunlab.errors import LabError, TunlabError
    from tunlab.lab.persistent.lab import PersistentLab

    if everything and name:
        raise click.UsageError("--all removes every lab. Omit LAB.")
    if name:
        labs = [PersistentLab(name)]
    else:
        labs = PersistentLab.ls()
        if not labs:
            if everything:
                click.echo("no lab exists", err=True)
                return
            raise LabError("", "no lab exists, so there is nothing to remove", remedy="`tunlab up` creates one")
        if len(labs) > 1 and not everything:
            names = ", ".join(lab.name for lab in labs)
            remedy = f"name one of them, for example `tunlab down {labs[0].name}`, or give --all"
            raise LabError("", f"{len(labs)} labs exist: {names}", remedy=remedy)
    failed: TunlabError | None = None
    for lab in labs:
        try:
            click.echo(f"{lab.name} is down: {_removal_text(lab.down(remove_containers))}")
        except TunlabError as error:  # remove the other labs before raising the error
            if failed is not None:
                click.echo(f"tunlab: {failed}", err=True)
            failed = error
    if failed is not None:
        raise failed


@click.command("gc", short_help="Remove broken and gone labs.")
def gc_command() -> None:
    """Remove every lab that is broken (tunlab up was killed before it finished) or gone (its namespaces no longer
    exist, for example after a reboot). Labs that are up or coming up stay.

    Example: tunlab gc
    """
    from tunlab.cli.lab_containers import remove_containers
    from tunlab.lab.persistent.lab import PersistentLab

    for removed in PersistentLab.gc(remove_containers):
        click.echo(f"{removed.name} is down: {_removal_text(removed)}")


def _removal_text(removed: Removed) -> str:
    parts = list(removed.tuns) if len(removed.tuns) <= _MAX_NAMED_TUNS else [f"{len(removed.tuns)} TUNs"]
    if removed.namespace:
        parts.append("its namespace" if len(removed.nodes) == 1 else f"{len(removed.nodes)} namespaces")
    if removed.containers:
        ids = ", ".join(each[:12] for each in removed.containers)
        parts.append(f"{len(removed.containers)} container{'s' * (len(removed.containers) > 1)} ({ids})")
    if removed.processes:
        many = "es" if len(removed.processes) > 1 else ""
        parts.append(f"{len(removed.processes)} process{many} ({', '.join(map(str, removed.processes))})")
    return f"removed {', '.join(parts)}" if parts else "only its directory was left"
