"""The command group `tunlab`, which imports a command's module when the command is used."""

from __future__ import annotations

import errno
from importlib import import_module

import click

from tunlab.cli import INTERRUPTED

_MODULES = {
    "up": "up",
    "down": "down",
    "ls": "ls",
    "gc": "down",
    "exec": "exec",
    "shell": "exec",
    "logs": "logs",
    "restart": "restart",
    "graph": "graph",
    "check": "check",
    "ping-all": "ping_all",
    "watch": "watch",
    "dump": "dump",
    "ping": "ping",
    "inject": "inject",
    "report": "report",
    "replay": "replay",
    "demo": "demo",
    "test": "test",
    "doctor": "doctor",
}


class _OutputClosed(Exception):  # noqa: N818 - not an error
    """An exception that replaces BrokenPipeError while click runs, because click would exit with 1 on that."""


class Commands(click.Group):
    """A command group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(
            import_module(f"tunlab.cli.{_MODULES[cmd_name]}"), f"{cmd_name.replace('-', '_')}_command"
        )
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise _OutputClosed from error
            raise

    def main(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        try:
            return super().main(*args, **kwargs)  # type: ignore[call-overload]
        except _OutputClosed as closed:
            raise BrokenPipeError from closed


def _print_version(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"tunlab {version('tunlab')}")
        except PackageNotFoundError:
            click.echo("tunlab (not installed, run from source)")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='To enable completion: eval "$(_TUNLAB_COMPLETE=bash_source tunlab)" (or zsh_source, fish_source).',
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def tunlab() -> None:
    """Create network labs on this machine's kernel: nodes, links and TUN devices in network namespaces.

    \b
    tunlab demo                                see what tunlab does, in one command
    tunlab up                                  create a lab with a TUN device
    tunlab exec lab -- ping -c 1 10.1.2.1      run a program in it
    tunlab dump lab                            show its packets
    tunlab down lab                            remove it
    """
