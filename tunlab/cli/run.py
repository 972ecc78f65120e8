"""`tunlab exec` and `shell`: become a program inside a lab."""

from __future__ import annotations

import os

import click


@click.command(
    "exec",
    short_help="Run a command inside a lab.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("target", metavar="LAB|NODE|LAB/NODE")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND…")
def exec_command(target: str, command: tuple[str, ...]) -> None:
    """Run a command inside a node of a lab. Its exit code is the command's own.

    LAB will do where a lab has one node only, or only one with a TUN; NODE where one lab only has a node of that name.
    The command sees the nodes' names in /etc/hosts, and its lab and node in $TUNLAB_LAB and $TUNLAB_NODE.

    Example: tunlab exec router/client -- curl http://server/
    """
    from tunlab.lab import resolve

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("name a command: tunlab exec LAB -- COMMAND")
    lab, node = resolve(target)
    lab.exec(command, node)


@click.command("shell", short_help="Start your shell inside a lab.")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
def shell_command(target: str) -> None:
    """Start your $SHELL inside a node of a lab; LAB may be left out if only one is up.

    $TUNLAB_LAB there is the lab's name and $TUNLAB_NODE the node's, for your prompt, and tunlab's own commands take the
    lab for theirs.

    Example: tunlab shell router/client
    """
    from tunlab.lab import resolve

    lab, node = resolve(target, naming="tunlab shell")
    where = f"node {node} of lab {lab.name}" if len(lab.plan.nodes) > 1 else f"lab {lab.name}"
    click.echo(f"in {where}; leave it with exit", err=True)
    lab.exec([os.environ.get("SHELL") or "/bin/sh"], node)
