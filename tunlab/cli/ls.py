"""`tunlab ls`: list the labs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.lab import Status


_HEAD = ("LAB", "STATE", "SINCE", "NODES", "DEVICE", "ADDRESSES", "READER", "PROCESSES", "ENDED")


@click.command("ls", short_help="List the labs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def ls_command(as_json: bool) -> None:
    """List the labs with their state, creation time, addresses and processes.

    \b
    up          ready
    coming up   being created
    broken      tunlab up was killed before it finished; remove it with tunlab down
    gone        its namespaces no longer exist, for example after a reboot; remove it with tunlab down

    ENDED names programs of run that have ended; tunlab logs shows their output, tunlab restart starts them again.

    tunlab gc removes all labs that are broken or gone.

    Example: tunlab ls --json
    """
    from tunlab.lab.persistent.lab import PersistentLab

    found = [(lab, lab.status()) for lab in PersistentLab.ls()]
    statuses = [status for lab, status in found if lab.directory.is_dir()]  # skip labs removed since `ls()`
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(statuses))
        return
    if not statuses:
        click.echo("no lab is up. `tunlab up` creates one.", err=True)
        return
    rows = [_HEAD, *map(_row, statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _exit_text(status: int) -> str:
    import signal

    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name


def _row(status: Status) -> tuple[str, ...]:
    reader = (
        {True: "yes", False: "no", None: "?"}[status.attached] if status.condition == "up" and status.ifname else ""
    )
    processes = " ".join(map(str, status.processes))
    nodes = str(len(status.nodes)) if status.nodes else ""
    ended = ", ".join(f"{each.node}: {each.command[0]} ({_exit_text(each.status)})" for each in status.ended)
    cells = (status.since, nodes, status.ifname, " ".join(status.addresses), reader, processes, ended)
    return (status.name, status.condition, *(cell or "-" for cell in cells))
