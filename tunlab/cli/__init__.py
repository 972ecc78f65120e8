"""The command `tunlab`. Data goes to standard output, everything else to standard error; an error is a sentence.

Rule for editors: nothing here, nor at the top of a command's module, imports more than click and tunlab.errors. What
a command needs it imports when it runs, so that `tunlab --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

_TOLD = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv by default); returns the exit code, and raises nothing for a user's mistake."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # outside a command: while something is imported
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
        return _say(error, error.exit_code)
    except click.exceptions.Abort:  # Ctrl-C outside a command
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:
        discard_output()  # it may be the output that failed, and would fail once more at Python's end
        what = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        return _say(what, 71)  # EX_OSERR
    return status if isinstance(status, int) else 0


def _replace_closed_streams() -> None:
    """Give each standard stream that we were started without (>&-) to /dev/null: else a socket would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _say(error: object, status: int) -> int:
    try:
        for sentence in _sentences(error):
            print(f"tunlab: {sentence}", file=sys.stderr)  # noqa: T201
    except OSError:  # nobody listens; the exit code says it too
        discard_output()
    return status


def _sentences(error: object) -> Iterator[object]:
    """A lab file's mistakes are told all at once, a line each; of very many in one file the first."""
    problems = getattr(error, "problems", None)
    if not problems:
        yield error
        return
    by_file: dict[str, list[object]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    for file, told in by_file.items():
        yield from told[:_TOLD]
        if len(told) > _TOLD:
            yield f"{file + ': ' if file else ''}… and {len(told) - _TOLD} more"


def discard_output() -> None:
    """Let what is still buffered for a reader that has gone go nowhere: Python would complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
