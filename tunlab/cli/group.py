"""The group of commands, each loaded from its module when it is asked for."""

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


class _Closed(Exception):  # noqa: N818 - no error: the reader of our output has seen enough
    """A BrokenPipeError that click does not take for its own: it would exit with 1."""


class Commands(click.Group):
    """Commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
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
                raise _Closed from error
            raise

    def main(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        try:
            return super().main(*args, **kwargs)  # type: ignore[call-overload]
        except _Closed as closed:
            raise BrokenPipeError from closed


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"tunlab {version('tunlab')}")
        except PackageNotFoundError:
            click.echo("tunlab, not installed: run from its source")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Completion for your shell: eval "$(_TUNLAB_COMPLETE=bash_source tunlab)" (or zsh_source, fish_source).',
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def tunlab() -> None:
    """A lab on your kernel: a TUN device in a network namespace, and everything that crosses it.

    \b
    tunlab demo                                see what it does, in one command
    tunlab up                                  make a lab that stays
    tunlab dump                                watch it
    tunlab exec lab -- ping -c 1 10.1.2.2      let its kernel speak
    tunlab down                                remove it
    """
