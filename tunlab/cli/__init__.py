"""The command `tunlab`. It prints data to standard output and everything else to standard error.

For contributors: this file and the top level of a command's module import only the standard library, click and
tunlab.errors. A command imports the rest when it runs, so that `tunlab --help` is fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

INTERRUPTED = 130
"""Exit code after Ctrl-C, 128 + SIGINT, as in a shell."""

_MAX_PROBLEMS = 20
"""Problems that are printed of one lab file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default sys.argv, and return its exit code."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # the user pressed Ctrl-C while Python imported a module
        return INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    _replace_closed_streams()
    import click

    from tunlab.cli.group import tunlab
    from tunlab.errors import TunlabError

    try:
        status = tunlab.main(arguments, prog_name="tunlab", standalone_mode=False)
        sys.stdout.flush()
    except TunlabError as error:
        return _print_error(error, error.exit_code)
    except click.exceptions.Abort:  # click raises this for Ctrl-C
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:
        discard_output()  # without this, Python flushes the output again at exit and prints a traceback
        message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        return _print_error(message, 71)  # EX_OSERR in <sysexits.h>
    return status if isinstance(status, int) else 0


def _replace_closed_streams() -> None:
    """Open /dev/null for each standard stream that is closed (>&-), so that no socket gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _print_error(error: object, exit_code: int) -> int:
    try:
        for line in _error_lines(error):
            print(f"tunlab: {line}", file=sys.stderr)  # noqa: T201
    except OSError:  # the message cannot be printed: standard error is closed
        discard_output()
    return exit_code


def _error_lines(error: object) -> Iterator[object]:
    """Yield the lines of an error message: one per problem of a lab file, at most _MAX_PROBLEMS per file."""
    problems = getattr(error, "problems", None)
    if not problems:
        yield error
        return
    by_file: dict[str, list[object]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    for file, found in by_file.items():
        yield from found[:_MAX_PROBLEMS]
        if len(found) > _MAX_PROBLEMS:
            yield f"{file + ': ' if file else ''}… and {len(found) - _MAX_PROBLEMS} more"


def discard_output() -> None:
    """Discard output that is still buffered for a closed pipe, because Python would print an error about it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, stream.fileno())
    os.close(null)
