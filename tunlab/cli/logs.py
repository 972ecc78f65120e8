"""`tunlab logs`: the output of the programs that a node runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tunlab.lab import PersistentLab

_INTERVAL = 100  # milliseconds between reads with --follow; at most CHECK_INTERVAL of down_watcher


@click.command("logs", short_help="Print the output of a lab's programs.")
@click.argument("target", required=False, default="", metavar="[LAB|NODE|LAB/NODE]")
@click.option("--follow", "-f", is_flag=True, help="Print new output too, until Ctrl-C or tunlab down.")
def logs_command(target: str, follow: bool) -> None:
    """Print the output of the programs that a node runs (key run of the lab file), standard error included. Of a long
    output, the beginning and the end are kept.

    Example: tunlab logs router/server -f
    """
    from tunlab.lab import resolve

    lab, node = resolve(target, prefix="tunlab logs")
    directory = lab.node_directory(node)
    programs = lab.plan.node(node).run
    files = [directory / f"program{number}.log" for number in range(1, len(programs) + 1)]
    titles = [f"==> {' '.join(each.arguments)} <==" for each in programs] if len(programs) > 1 else []
    if not programs:
        click.echo(f"node {node} of lab {lab.name} runs no program", err=True)
        return
    printer = _Printer(files, titles)
    printer.print_new()
    if follow:
        _follow(lab, printer)


def _follow(lab: PersistentLab, printer: _Printer) -> None:
    import errno
    import select

    from tunlab.cli.signals import SignalPipe
    from tunlab.lab.persistent.down_watcher import DownWatcher

    with SignalPipe() as signals, DownWatcher(lab) as ending:
        poll = select.poll()
        poll.register(signals.fileno(), select.POLLIN)
        poll.register(sys.stdout.fileno(), 0)  # poll(2) reports an error if the reader of a pipe has ended
        poll.register(ending, 0)
        while signals.number is None and not ending.is_down:
            if sys.stdout.fileno() in dict(poll.poll(_INTERVAL)):
                raise BrokenPipeError(errno.EPIPE, "")
            printer.print_new()


class _Printer:
    """A printer of what is new in several files, with the title of a file where the file changes."""

    def __init__(self, files: list[Path], titles: list[str]) -> None:
        self._files, self._titles = files, titles
        self._offsets = [0] * len(files)
        self._last = -1

    def print_new(self) -> None:
        for index, file in enumerate(self._files):
            try:
                with file.open("rb") as opened:
                    size = os.fstat(opened.fileno()).st_size
                    if size < self._offsets[index]:  # The init of the node has removed the middle of the output.
                        self._offsets[index] = 0
                    opened.seek(self._offsets[index])
                    data = opened.read()
                    self._offsets[index] = opened.tell()
            except FileNotFoundError:  # The program has not been started, or the lab was taken down.
                continue
            if data:
                if self._titles and self._last != index:
                    click.echo(self._titles[index])
                self._last = index
                click.echo(data, nl=False)
        sys.stdout.flush()
