"""`tunlab exec` and `shell`: run a program inside a node of a lab."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, Self

import click

if TYPE_CHECKING:
    from tunlab.lab import PersistentLab

_FORWARDED = (signal.SIGINT, signal.SIGTERM)


@click.command(
    "exec",
    short_help="Run a command inside a lab.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("target", metavar="LAB|NODE|LAB/NODE")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND…")
def exec_command(target: str, command: tuple[str, ...]) -> None:
    """Run a command inside a node of a lab and exit with the command's exit code: 128 + N if signal N ended it, 127 if
    the program does not exist, 126 if it cannot be executed.

    LAB is enough if the lab has one node, or one node with a TUN. NODE is enough if only one lab has a node of that
    name. The command finds the nodes' names in /etc/hosts, and its lab and node in $TUNLAB_LAB and $TUNLAB_NODE.

    Example: tunlab exec router/client -- curl http://server/
    """
    from tunlab.lab import resolve

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("no command given. Write `tunlab exec LAB -- COMMAND`.")
    lab, node = resolve(target)
    lab.exec(command, node)


@click.command("shell", short_help="Start your shell inside a lab.")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
def shell_command(target: str) -> None:
    """Start your $SHELL inside a node of a lab. LAB may be omitted if only one lab is up.

    In the shell, $TUNLAB_LAB is the lab's name and $TUNLAB_NODE the node's, for example for your prompt. Other tunlab
    commands started there use this lab by default.

    Example: tunlab shell router/client
    """
    from tunlab.lab import resolve

    lab, node = resolve(target, prefix="tunlab shell")
    where = f"node {node} of lab {lab.name}" if len(lab.plan.nodes) > 1 else f"lab {lab.name}"
    click.echo(f"shell in {where}; type exit to leave", err=True)
    lab.exec([os.environ.get("SHELL") or "/bin/sh"], node)


class ChildProcess:
    """A command running in a node of a lab, as a child of this process.

    As a context manager it terminates the command on exit if the command is still running.
    """

    def __init__(self, lab: PersistentLab, node: str, command: Sequence[str]) -> None:
        self._exit_code: int | None = None
        # Block signals during the fork: until the child resets the handlers, a signal would run those of this process.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        self._pid = os.fork()
        if self._pid == 0:
            for number in _FORWARDED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _execute_after_fork(lab, node, command)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._pidfd = os.pidfd_open(self._pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._exit_code is None:
            self.send_signal(signal.SIGTERM)
            self.wait()
        os.close(self._pidfd)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the command ends."""
        return self._pidfd

    def send_signal(self, number: int) -> None:
        """Send a signal to the command, which must not have been waited for."""
        os.kill(self._pid, number)

    def wait(self) -> int:
        """Wait for the command to end and return its exit code: 128 + N if signal N ended it, as in a shell."""
        if self._exit_code is None:
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            self._exit_code = code if code >= 0 else 128 - code
        return self._exit_code


def _execute_after_fork(lab: PersistentLab, node: str, command: Sequence[str]) -> NoReturn:
    from tunlab.errors import TunlabError

    code = 70  # EX_SOFTWARE in <sysexits.h>, for an unexpected exception
    try:
        lab.exec(command, node)
    except TunlabError as error:
        click.echo(f"tunlab: {error}", err=True)
        code = error.exit_code
    finally:
        os._exit(code)  # skip exit handlers and buffered output, which belong to the parent process
