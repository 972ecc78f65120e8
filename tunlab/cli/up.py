"""`tunlab up`: create a lab that exists until `tunlab down`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from tunlab.lab import PersistentLab
    from tunlab.topology import LabSpec
    from tunlab.topology.plan import LabPlan, NodePlan

_MAX_NODES = 20
"""Nodes that are listed."""


@click.command("up", short_help="Create a lab.")
@click.argument("source", required=False, metavar="[FILE|READY]")
@click.option("--name", metavar="LAB", help="Name of the lab: 1 to 15 characters of a-z, 0-9 and -.  [default: lab]")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="CIDR",
    help="Address and prefix of the TUN device, IPv4 or IPv6; repeat it for more.  [default: 10.1.2.1/24]",
)
@click.option("--ifname", metavar="NAME", help="Name of the TUN device.  [default: tun0]")
@click.option("--mtu", type=int, metavar="BYTES", help="MTU of the TUN device.  [default: 1500]")
@click.option("--dry-run", is_flag=True, help="Print what would be created, and create nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the created lab as JSON.")
def up_command(
    source: str | None,
    name: str | None,
    addresses: tuple[str, ...],
    ifname: str | None,
    mtu: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Create a lab that exists until `tunlab down`: by default a network namespace with a TUN device.

    FILE is a lab file (TOML). READY is the name of a lab that comes with tunlab: two-hosts, router, nat, bridge,
    dual-stack, two-stacks, dnsmasq. Options override the file. --address, --ifname and --mtu need a lab with one node.

    Example: tunlab up router --name mine
    """
    spec, file = _read_spec(source, name, addresses, ifname, mtu, here=not dry_run)
    from tunlab.topology import plan

    planned = plan(spec)
    if dry_run:
        from tunlab.cli.plan_text import plan_text

        click.echo(_json(planned) if as_json else plan_text(planned))
        click.echo("dry run: nothing was created", err=True)
        return
    from tunlab.cli.lab_containers import containers_of, remove_containers
    from tunlab.cli.progress import Progress
    from tunlab.cli.signals import SignalPipe
    from tunlab.errors import TopologyError
    from tunlab.lab.persistent.lab import PersistentLab

    pinned = PersistentLab(spec.name).directory / "nodes"

    def progress() -> str:
        return f"{spec.name} is coming up: {sum(1 for _ in pinned.glob('*'))} of {len(planned.nodes)} nodes"

    with SignalPipe() as signals, Progress(progress), containers_of(planned) as containers:
        try:
            lab = PersistentLab.up(planned, base=file.parent if file else "", containers=containers)
        except TopologyError as error:  # the kernel rejected a value that tunlab cannot check itself
            raise TopologyError(problems=[each._replace(file=str(file or "")) for each in error.problems]) from error
    if signals.number is not None:  # Ctrl-C is handled only now: removing a complete lab is simpler than a partial one
        lab.down(remove_containers)
        raise click.exceptions.Exit(128 + signals.number)
    if len(spec.nodes) == 1 and spec.node.tun:
        _print_tun_lab(lab, spec, as_json)
    else:
        _print_lab(lab, planned, as_json)
    for failure in lab.failures:
        click.echo(f"tunlab: {failure}", err=True)


def _print_tun_lab(lab: PersistentLab, spec: LabSpec, as_json: bool) -> None:
    import json

    node = spec.node
    if as_json:
        result = {"name": lab.name, "ifname": node.ifname, "address": node.tun[0], "addresses": node.tun}
        click.echo(json.dumps({**result, "mtu": node.mtu, "directory": str(lab.directory)}))
        return
    click.echo(f"{lab.name} is up: {node.ifname} {' '.join(node.tun)}")
    peer = _peer(node.tun[0])
    _print_next_steps(
        (f"tunlab dump {lab.name}{' --all' * (':' in peer)}", "show packets on the TUN"),  # the default is IPv4 only
        (f"tunlab exec {lab.name} -- ping -c 1 {peer}", "send one, from another terminal"),
        (f"tunlab down {lab.name}", "remove the lab"),
    )


def _print_lab(lab: PersistentLab, plan: LabPlan, as_json: bool) -> None:
    from tunlab.cli.plan_text import size

    if as_json:
        click.echo(_json(plan, str(lab.directory)))
        return
    click.echo(f"{lab.name} is up: {size(plan)}")
    named = [node for node in plan.nodes if not node.implicit]
    width = max(len(node.name) for node in named[:_MAX_NODES])
    for node in named[:_MAX_NODES]:
        addresses = [f"{each.ifname} {' '.join(each.addresses)}" for each in node.interfaces if each.addresses]
        click.echo(f"  {node.name:<{width}}  {', '.join(addresses) or node.kind}")
    if len(named) > _MAX_NODES:
        click.echo(f"  … and {len(named) - _MAX_NODES} more")
    _print_next_steps(
        _first_step(lab.name, named),
        (f"tunlab graph {lab.name}", "draw the lab"),
        (f"tunlab ping-all {lab.name}", "test which nodes reach each other"),
        (f"tunlab down {lab.name}", "remove the lab"),
    )


def _first_step(name: str, nodes: list[NodePlan]) -> tuple[str, str]:
    linked = [node.name for node in nodes if any(each.link >= 0 and each.addresses for each in node.interfaces)]
    if len(linked) > 1:
        return f"tunlab exec {name}/{linked[0]} -- ping -c 1 {linked[-1]}", "run a program on a node"
    stack = next((node for node in nodes if node.tun), nodes[0])
    return f"tunlab shell {name}/{stack.name}", "start a shell on a node"


def _print_next_steps(*commands: tuple[str, str]) -> None:
    width = max(len(command) for command, _ in commands)
    for command, purpose in commands:
        click.echo(f"  {command:<{width}}  {purpose}", err=True)


def _json(plan: LabPlan, directory: str = "") -> str:
    """Return the plan as JSON, with the lab's directory if it has one."""
    import msgspec

    result = {**({"directory": directory} if directory else {}), **msgspec.to_builtins(plan)}
    return msgspec.json.encode(result).decode()


def _read_spec(
    source: str | None,
    name: str | None,
    addresses: tuple[str, ...],
    ifname: str | None,
    mtu: int | None,
    *,
    here: bool,
) -> tuple[LabSpec, Path | None]:
    """Return the lab's definition, with the command-line options applied, and its file.

    Args:
        here: Also report programs and files that this machine does not have.
    """
    from tunlab.errors import Problem, TopologyError
    from tunlab.lab.lab_files import find_lab_file, read_spec
    from tunlab.topology import LabSpec

    file = find_lab_file(source) if source is not None else None
    spec = read_spec(file, check_machine=here) if file is not None else LabSpec()
    try:
        return spec.override(name=name, tun=addresses, ifname=ifname, mtu=mtu), file
    except TopologyError as error:
        # The error is in a command-line option, not in the lab file, so name the option instead of the file's key.
        problems = [
            Problem(each.problem, key=f"--{'address' if each.key == 'tun' else each.key}", hint=each.hint)
            for each in error.problems
        ]
        raise TopologyError(problems=problems) from None


def _peer(cidr: str) -> str:
    from ipaddress import ip_interface

    own = ip_interface(cidr)
    hosts = (own.network.network_address + n for n in range(own.network.prefixlen < own.max_prefixlen - 1, 4))
    return next((str(host) for host in hosts if host in own.network and host != own.ip), str(own.ip))
