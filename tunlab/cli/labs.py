"""`tunlab up`, `down` and `ls`: labs that stay after the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.lab import Removed, Status
    from tunlab.topology import LabSpec


@click.command("up", short_help="Make a lab that stays.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--name", metavar="LAB", help="What to call it: 1 to 15 of a-z, 0-9 and -.  [default: lab]")
@click.option("--address", metavar="ADDRESS/LENGTH", help="Of the TUN device.  [default: 10.1.2.1/24]")
@click.option("--ifname", metavar="NAME", help="Of the TUN device.  [default: tun0]")
@click.option("--mtu", type=int, metavar="OCTETS", help="Of the TUN device.  [default: 1500]")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def up_command(
    file: Path | None, name: str | None, address: str | None, ifname: str | None, mtu: int | None, as_json: bool
) -> None:
    """Make a lab: a namespace with a configured TUN device that stays until `tunlab down`.

    FILE is a lab file (TOML); options go before what it says.

    Example: tunlab up --name vpn --address 192.0.2.1/24
    """
    spec = _spec(file, name, address, ifname, mtu)
    from tunlab.cli.signals import Signals
    from tunlab.lab.live import Lab

    with Signals() as signals:  # it takes a tenth of a second: Ctrl-C can wait, and finds a whole lab to remove
        lab = Lab.up(spec)
    if signals.number is not None:
        lab.down()
        raise click.exceptions.Exit(128 + signals.number)
    node = spec.node
    if as_json:
        said = {"name": lab.name, "ifname": node.ifname, "address": node.tun, "mtu": node.mtu}
        click.echo(json.dumps({**said, "directory": str(lab.directory)}))
        return
    click.echo(f"{lab.name} is up: {node.ifname} {node.tun}")
    peer = _peer(node.tun)
    width = len(lab.name) + len(peer)
    for command, what in (
        (f"tunlab dump {lab.name}", "watch what its kernel sends"),
        (f"tunlab exec {lab.name} -- ping -c 1 {peer}", "in another terminal: make it send"),
        (f"tunlab down {lab.name}", "remove it"),
    ):
        click.echo(f"  {command:<{30 + width}}  {what}", err=True)


def _spec(file: Path | None, name: str | None, address: str | None, ifname: str | None, mtu: int | None) -> LabSpec:
    from tunlab.errors import TopologyError
    from tunlab.topology import LabSpec, parse_lab

    spec = LabSpec()
    if file is not None:
        try:
            spec = parse_lab(file.read_text(encoding="utf-8"), str(file))
        except OSError as error:
            raise TopologyError(f"{error.strerror}", file=str(file), hint="give a lab file, or none") from error
        except UnicodeDecodeError as error:
            raise TopologyError("no text", file=str(file), hint="give a lab file, TOML in UTF-8") from error
    try:
        return spec.changed(name=name, tun=address, ifname=ifname, mtu=mtu)
    except TopologyError as error:
        # The key is the option's here, and the file is not at fault.
        key = {"tun": "address"}.get(error.key, error.key)
        raise TopologyError(error.problem, key=f"--{key}", hint=error.hint) from None


def _peer(cidr: str) -> str:
    from ipaddress import IPv4Interface

    own = IPv4Interface(cidr)
    hosts = (own.network.network_address + n for n in range(own.network.prefixlen < 31, 4))
    return next((str(host) for host in hosts if host in own.network and host != own.ip), str(own.ip))


@click.command("down", short_help="Remove a lab, whole or half-made.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--all", "everything", is_flag=True, help="Every lab there is.")
def down_command(name: str | None, everything: bool) -> None:
    """Remove a lab, whole or half-made, and end what runs inside it.

    LAB may be left out if there is only one.

    Example: tunlab down vpn
    """
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
            click.echo(f"{lab.name} is down: {_removed(lab.down())}")
        except TunlabError as error:  # the others are to go all the same
            if failed is not None:
                click.echo(f"tunlab: {failed}", err=True)
            failed = error
    if failed is not None:
        raise failed


def _removed(removed: Removed) -> str:
    what = [removed.ifname] if removed.ifname else []
    if removed.namespace:
        what.append("its namespace")
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
    gone        its namespace is no more, as after a reboot: tunlab down removes it

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
    rows = [("LAB", "STATE", "SINCE", "DEVICE", "ADDRESSES", "READER", "PROCESSES"), *map(_row, statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(status: Status) -> tuple[str, ...]:
    reader = {True: "yes", False: "no", None: "?"}[status.attached] if status.condition == "up" else "-"
    processes = " ".join(map(str, status.processes))
    cells = (status.since, status.ifname, " ".join(status.addresses), reader, processes)
    return (status.name, status.condition, *(cell or "-" for cell in cells))
