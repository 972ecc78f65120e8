"""`tunlab exec` and `shell`: become a program inside a lab."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from tunlab.lab import Lab


@click.command(
    "exec",
    short_help="Run a command inside a lab.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("target", metavar="LAB|NODE|LAB/NODE")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND…")
def exec_command(target: str, command: tuple[str, ...]) -> None:
    """Run a command inside a node of a lab. Its exit code is the command's own; 127 if there is no such program,
    126 if it may not be run.

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
    _become(lab, command, node)


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
    _become(lab, [os.environ.get("SHELL") or "/bin/sh"], node)


def _become(lab: Lab, command: Sequence[str], node: str) -> NoReturn:
    """Run the command in place of ourselves; a program that cannot be run ends as in a shell, sh(1)."""
    from tunlab.errors import KernelError

    try:
        lab.exec(command, node)
    except KernelError as error:
        if error.operation != f"run {command[0]}":
            raise
        click.echo(f"tunlab: {error}", err=True)
        raise click.exceptions.Exit(127 if error.errno == errno.ENOENT else 126) from None
