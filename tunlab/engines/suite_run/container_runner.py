"""The program that runs pytest inside a container, and tells the one outside when it is done and what it has written.

Its life is bound to its standard input: when whoever started it is gone, however that ended, so is all in the
container, and the engine removes that.

    in     one line: begin, the project is here; the end of the input: kill all
    out    what pytest prints, and at its end NUL, "tunlab-", the word that we were given, the exit status, a line break
    file   what the run has created or changed, as a tar that waits to be fetched until the input ends

Rule for editors: this file is also the program's source, run by `python3 -c` of whatever image: the standard library
only, and nothing of tunlab.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from types import FrameType

JUNK = {".git", "__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", "node_modules"}
"""Caches stay inside."""

PROJECT, OUTSIDE = "project", "outside"
"""The directories in the tar: what is below the project, and the other places by their number."""

Known = dict[str, tuple[int, int]]


def end_of_output(word: str) -> bytes:
    """What comes before the exit status."""
    return f"\0tunlab-{word} ".encode()


def changes_file(word: str) -> str:
    """Where the tar is."""
    return f"/tmp/tunlab-{word}.tar"


def main(arguments: list[str]) -> int:
    """Run a command; arguments: one JSON object with word, project, outside and command."""
    given = json.loads(arguments[0])
    if not sys.stdin.buffer.readline():
        return 1
    threading.Thread(target=_die_with_the_input, daemon=True).start()
    for place in given["outside"]:
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
    before = _files(given["project"])
    status = _run(given["command"])
    _pack(given, before)
    sys.stdout.buffer.write(end_of_output(given["word"]) + f"{status}\n".encode())
    sys.stdout.buffer.flush()
    while True:
        signal.pause()


def _die_with_the_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(128 + signal.SIGKILL)  # and with its first process the container ends


def _run(command: list[str]) -> int:
    wanted: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: FrameType | None) -> None:
        if child is None:  # not begun: it gets it then
            wanted.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)  # as a terminal does

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, forward)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    for number in wanted:
        forward(number, None)
    status = child.wait()
    return status if status >= 0 else 128 - status


def _files(root: str) -> Known:
    found = {}
    for path in _walk(root):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _walk(root: str) -> Iterator[str]:
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if name not in JUNK and not name.endswith(".egg-info")]
        yield from (os.path.join(directory, name) for name in names)  # noqa: PTH118


def _pack(given: dict[str, object], before: Known) -> None:
    root, outside = str(given["project"]), given["outside"]
    with tarfile.open(changes_file(str(given["word"])), "w") as tar:
        for path, seen in sorted(_files(root).items()):
            if before.get(path) != seen:
                tar.add(path, f"{PROJECT}/{os.path.relpath(path, root)}", recursive=False)
        for number, place in enumerate(outside if isinstance(outside, list) else []):
            if os.path.exists(place):  # noqa: PTH110
                tar.add(place, f"{OUTSIDE}/{number}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
