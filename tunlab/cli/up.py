"""`tunlab up`: make a lab that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from tunlab.lab import Lab
    from tunlab.topology import LabSpec
    from tunlab.topology.plan import LabPlan, NodePlan

_SHOWN = 20
"""Nodes of a lab that are told one by one."""


@click.command("up", short_help="Make a lab that stays.")
@click.argument("which", required=False, metavar="[FILE|READY]")
@click.option("--name", metavar="LAB", help="What to call it: 1 to 15 of a-z, 0-9 and -.  [default: lab]")
@click.option("--address", metavar="ADDRESS/LENGTH", help="Of the TUN device.  [default: 10.1.2.1/24]")
@click.option("--ifname", metavar="NAME", help="Of the TUN device.  [default: tun0]")
@click.option("--mtu", type=int, metavar="OCTETS", help="Of the TUN device.  [default: 1500]")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def up_command(
    which: str | None,
    name: str | None,
    address: str | None,
    ifname: str | None,
    mtu: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a lab that stays until `tunlab down`: by default a namespace with a configured TUN device.

    FILE is a lab file (TOML), READY the name of one that comes with tunlab: two-hosts, router, nat, bridge,
    dual-stack, two-stacks. Options go before what the file says; those of the TUN device are for labs of one node.

    Example: tunlab up router --name mine
    """
    spec, file = _spec(which, name, address, ifname, mtu, here=not dry_run)
    from tunlab.topology import plan

    planned = plan(spec)
    if dry_run:
        from tunlab.cli.plan_text import plan_text

        click.echo(_json(planned) if as_json else plan_text(planned))
        click.echo("nothing was made", err=True)
        return
    from tunlab.cli.containers import containers_of, remove_containers
    from tunlab.cli.progress import Progress
    from tunlab.cli.signals import SignalPipe
    from tunlab.errors import TopologyError
    from tunlab.lab.lab import Lab

    pinned = Lab(spec.name).directory / "nodes"

    def progress() -> str:
        return f"{spec.name} is coming up: {sum(1 for _ in pinned.glob('*'))} of {len(planned.nodes)} nodes"

    with SignalPipe() as signals, Progress(progress), containers_of(planned) as containers:
        try:
            lab = Lab.up(planned, base=file.parent if file else "", containers=containers)
        except TopologyError as error:  # what only the kernel knew
            raise TopologyError(problems=[each._replace(file=str(file or "")) for each in error.problems]) from error
    if signals.number is not None:  # Ctrl-C can wait, and finds a whole lab to remove
        lab.down(remove_containers)
        raise click.exceptions.Exit(128 + signals.number)
    if len(spec.nodes) == 1 and spec.node.tun:
        _say_tun(lab, spec, as_json)
    else:
        _say_lab(lab, planned, as_json)
    for failure in lab.failures:
        click.echo(f"tunlab: {failure}", err=True)


def _say_tun(lab: Lab, spec: LabSpec, as_json: bool) -> None:
    import json

    node = spec.node
    if as_json:
        said = {"name": lab.name, "ifname": node.ifname, "address": node.tun, "mtu": node.mtu}
        click.echo(json.dumps({**said, "directory": str(lab.directory)}))
        return
    click.echo(f"{lab.name} is up: {node.ifname} {node.tun}")
    peer = _peer(node.tun)
    _say_next(
        (f"tunlab dump {lab.name}", "watch what its kernel sends"),
        (f"tunlab exec {lab.name} -- ping -c 1 {peer}", "in another terminal: make it send"),
        (f"tunlab down {lab.name}", "remove it"),
    )


def _say_lab(lab: Lab, plan: LabPlan, as_json: bool) -> None:
    from tunlab.cli.plan_text import size

    if as_json:
        click.echo(_json(plan, str(lab.directory)))
        return
    click.echo(f"{lab.name} is up: {size(plan)}")
    named = [node for node in plan.nodes if not node.implicit]
    width = max(len(node.name) for node in named[:_SHOWN])
    for node in named[:_SHOWN]:
        addresses = [f"{each.ifname} {' '.join(each.addresses)}" for each in node.interfaces if each.addresses]
        click.echo(f"  {node.name:<{width}}  {', '.join(addresses) or node.kind}")
    if len(named) > _SHOWN:
        click.echo(f"  … and {len(named) - _SHOWN} more")
    _say_next(
        _use(lab.name, named),
        (f"tunlab graph {lab.name}", "draw it"),
        (f"tunlab ping-all {lab.name}", "see who reaches whom"),
        (f"tunlab down {lab.name}", "remove it"),
    )


def _use(name: str, nodes: list[NodePlan]) -> tuple[str, str]:
    linked = [node.name for node in nodes if any(each.link >= 0 and each.addresses for each in node.interfaces)]
    if len(linked) > 1:
        return f"tunlab exec {name}/{linked[0]} -- ping -c 1 {linked[-1]}", "run a program on a node"
    stack = next((node for node in nodes if node.tun), nodes[0])
    return f"tunlab shell {name}/{stack.name}", "work on a node"


def _say_next(*commands: tuple[str, str]) -> None:
    width = max(len(command) for command, _ in commands)
    for command, what in commands:
        click.echo(f"  {command:<{width}}  {what}", err=True)


def _json(plan: LabPlan, directory: str = "") -> str:
    """The whole plan; where the lab is kept, once it is."""
    import msgspec

    said = {**({"directory": directory} if directory else {}), **msgspec.to_builtins(plan)}
    return msgspec.json.encode(said).decode()


def _spec(
    which: str | None, name: str | None, address: str | None, ifname: str | None, mtu: int | None, *, here: bool
) -> tuple[LabSpec, Path | None]:
    """What is to be made, and the file that says so; `here` as read_spec has it."""
    from tunlab.errors import Problem, TopologyError
    from tunlab.lab.lab_files import find_lab_file, read_spec
    from tunlab.topology import LabSpec

    file = find_lab_file(which) if which is not None else None
    spec = read_spec(file, here=here) if file is not None else LabSpec()
    try:
        return spec.changed(name=name, tun=address, ifname=ifname, mtu=mtu), file
    except TopologyError as error:
        # The keys are the options' here, and the file is not at fault.
        said = [
            Problem(each.problem, key=f"--{'address' if each.key == 'tun' else each.key}", hint=each.hint)
            for each in error.problems
        ]
        raise TopologyError(problems=said) from None


def _peer(cidr: str) -> str:
    from ipaddress import IPv4Interface

    own = IPv4Interface(cidr)
    hosts = (own.network.network_address + n for n in range(own.network.prefixlen < 31, 4))
    return next((str(host) for host in hosts if host in own.network and host != own.ip), str(own.ip))
