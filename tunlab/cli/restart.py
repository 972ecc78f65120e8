"""`tunlab restart`: end the programs of a lab's nodes and start them again."""

from __future__ import annotations

import click


@click.command("restart", short_help="Start a lab's programs again.")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
def restart_command(target: str) -> None:
    """End every process of a node, and start the programs of its key run again. With LAB, restart all its nodes.

    Links, addresses, routes, the firewall and the files of a node stay as they are; setup does not run again.

    Example: tunlab restart router/server
    """
    from tunlab.lab import PersistentLab, resolve

    names = [each.name for each in PersistentLab.ls()]
    if target in names or not target:
        lab, nodes = PersistentLab.open(target or None, prefix="tunlab restart"), list[str]()
    else:
        lab, node = resolve(target, prefix="tunlab restart")
        nodes = [lab.node_name(node)]
    failures = lab.restart(nodes)
    click.echo(f"{lab.name} is restarted: {', '.join(nodes) or 'all nodes'}")
    for failure in failures:
        click.echo(f"tunlab: {failure}", err=True)
