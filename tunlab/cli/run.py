"""`tunlab exec` and `shell`: become a program inside a lab."""

from __future__ import annotations

import os

import click


@click.command(
    "exec",
    short_help="Run a command inside a lab.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("name", metavar="LAB")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND…")
def exec_command(name: str, command: tuple[str, ...]) -> None:
    """Run a command inside a lab. Its exit code is the command's own.

    Example: tunlab exec lab -- ping -c 1 10.1.2.2
    """
    from tunlab.lab.live import Lab

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("name a command: tunlab exec LAB -- COMMAND")
    Lab.open(name).exec(command)


@click.command("shell", short_help="Start your shell inside a lab.")
@click.argument("name", required=False, metavar="[LAB]")
def shell_command(name: str | None) -> None:
    """Start your $SHELL inside a lab; LAB may be left out if only one is up.

    $TUNLAB_LAB there is the lab's name, for your prompt, and tunlab's own commands take it for theirs.

    Example: tunlab shell lab
    """
    from tunlab.lab.live import Lab

    lab = Lab.open(name, naming="tunlab shell")
    click.echo(f"in lab {lab.name}; leave it with exit", err=True)
    lab.exec([os.environ.get("SHELL") or "/bin/sh"])
