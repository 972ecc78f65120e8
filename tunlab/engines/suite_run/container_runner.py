"""The program in the container of `tunlab test`: it runs pytest and collects the files that the run has changed.

    stdin   One line: the project's files have been copied, start. End of file: kill all processes.
    stdout  pytest's output; after it NUL, "tunlab-", a random token, the exit status and a newline.
    file    A tar archive of the created and changed files; the program keeps running until it has been read.

The container exits when its standard input closes, so it does not outlive the process that started it.
The container runs this file with `python3 -c`, so it may import only the standard library.
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

IGNORED = {".git", "__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", "node_modules"}
"""Directories that are not copied from the container."""

PROJECT, OUTSIDE = "project", "outside"
"""The archive's directories: the project's files, and the paths outside the project by their index."""

FileTimes = dict[str, tuple[int, int]]
"""Modification time and size of each file."""


def end_marker(token: str) -> bytes:
    """Return the bytes in the output that precede the exit status."""
    return f"\0tunlab-{token} ".encode()


def archive_path(token: str) -> str:
    """Return the archive's path in the container."""
    return f"/tmp/tunlab-{token}.tar"


def main(arguments: list[str]) -> int:
    """Run a command. The only argument is a JSON object with the keys token, project, outside and command."""
    request = json.loads(arguments[0])
    if not sys.stdin.buffer.readline():
        return 1
    threading.Thread(target=_exit_when_stdin_closes, daemon=True).start()
    for path in request["outside"]:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    before = _file_times(request["project"])
    status = _run(request["command"])
    _pack_changes(request, before)
    sys.stdout.buffer.write(end_marker(request["token"]) + f"{status}\n".encode())
    sys.stdout.buffer.flush()
    while True:
        signal.pause()


def _exit_when_stdin_closes() -> None:
    while os.read(0, 4096):
        pass
    os._exit(128 + signal.SIGKILL)  # This is the container's first process, so the container exits with it.


def _run(command: list[str]) -> int:
    pending: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: FrameType | None) -> None:
        if child is None:  # The child has not started yet, so keep the signal for later.
            pending.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)  # Signal the process group, as a terminal does.

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, forward)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    for number in pending:
        forward(number, None)
    status = child.wait()
    return status if status >= 0 else 128 - status


def _file_times(root: str) -> FileTimes:
    found = {}
    for path in _walk(root):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _walk(root: str) -> Iterator[str]:
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if name not in IGNORED and not name.endswith(".egg-info")]
        yield from (os.path.join(directory, name) for name in names)  # noqa: PTH118


def _pack_changes(request: dict[str, object], before: FileTimes) -> None:
    root, outside = str(request["project"]), request["outside"]
    with tarfile.open(archive_path(str(request["token"])), "w") as tar:
        for path, after in sorted(_file_times(root).items()):
            if before.get(path) != after:
                tar.add(path, f"{PROJECT}/{os.path.relpath(path, root)}", recursive=False)
        for index, path in enumerate(outside if isinstance(outside, list) else []):
            if os.path.exists(path):  # noqa: PTH110
                tar.add(path, f"{OUTSIDE}/{index}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
