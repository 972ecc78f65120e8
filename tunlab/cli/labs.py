"""`tunlab down`, `ls` and `gc`: the labs that stay after the command that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.lab import Removed, Status

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
    from tunlab.lab.live import Lab

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
    from tunlab.lab.live import Lab

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


@click.command("ls", short_help="List the labs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def ls_command(as_json: bool) -> None:
    """List the labs: what is up, since when, its addresses, who is inside.

    \b
    up          ready
    coming up   being made at this moment
    broken      its maker was killed half-way: tunlab down removes it
    gone        its namespaces are no more, as after a reboot: tunlab down removes it

    tunlab gc removes all that are broken or gone.

    Example: tunlab ls --json
    """
    from tunlab.lab.live import Lab

    looked = [(lab, lab.status()) for lab in Lab.all()]
    statuses = [status for lab, status in looked if lab.directory.is_dir()]  # not taken down while we looked
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(statuses))
        return
    if not statuses:
        click.echo("no lab is up; tunlab up makes one", err=True)
        return
    rows = [("LAB", "STATE", "SINCE", "NODES", "DEVICE", "ADDRESSES", "READER", "PROCESSES"), *map(_row, statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(status: Status) -> tuple[str, ...]:
    reader = (
        {True: "yes", False: "no", None: "?"}[status.attached] if status.condition == "up" and status.ifname else ""
    )
    processes = " ".join(map(str, status.processes))
    nodes = str(len(status.nodes)) if status.nodes else ""
    cells = (status.since, nodes, status.ifname, " ".join(status.addresses), reader, processes)
    return (status.name, status.condition, *(cell or "-" for cell in cells))
