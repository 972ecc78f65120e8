"""The program of a worker's container: it reports what is installed, then becomes a worker of pytest-xdist.

The container runs this file with `python3 -u -c`. It imports only the standard library, so that it can report an image
that lacks tunlab or pytest.

The container exits soon after its standard input closes. Docker closes it when the attached client disconnects, even if
that was killed. Without this, a worker that is running a test would exit only after execnet's timeout of 15 seconds.

Source: poll(2), POLLHUP; fcntl(2), F_SETPIPE_SZ.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

HELLO = "tunlab-worker "
"""The first line of the output is this prefix and a JSON object: the result of `installed_versions`."""

# seconds to wait for pytest-xdist to connect, because images may have to be built on other engines first
_CLAIM_TIMEOUT = 300
_EXIT_DELAY = 2.0  # seconds that the worker has to exit by itself before it is killed
_FLUSH_DELAY = 0.02  # maximum number of seconds for which output is collected before it is sent
_PIPE_SIZE = 1 << 20  # size of the pipe in bytes


def installed_versions() -> dict[str, Any]:
    """Return the versions that the controller compares, and the distributions that provide pytest plugins."""
    from importlib import metadata

    versions: dict[str, str] = {}
    for name in ("pytest", "pytest-xdist", "tunlab"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = ""
    plugins = {point.dist.name: point.dist.version for point in metadata.entry_points(group="pytest11") if point.dist}
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "kernel": os.uname().release,
        "versions": versions,
        "plugins": plugins,
        "tun": Path("/dev/net/tun").exists(),
    }


def exit_when_closed(descriptor: int) -> None:
    """Kill this process soon after the other end of a pipe or socket has closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # No event is requested, because POLLHUP and POLLERR are always reported.
    poll.poll()
    threading.Event().wait(_EXIT_DELAY)
    os.kill(os.getpid(), signal.SIGKILL)


class BufferedStdout:
    """A buffer between file descriptor 1 and the container's output.

    Each write to a container's output wakes four processes on its way to the controller, so writes are collected until
    `send` is called, for at most a few milliseconds.
    """

    def __init__(self) -> None:
        """Replace file descriptor 1 by a pipe."""
        self._out = os.dup(1)
        self._source, sink = os.pipe()
        with contextlib.suppress(OSError):  # If the size exceeds the user's limit, the pipe keeps its default size.
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        os.set_blocking(self._source, False)
        os.dup2(sink, 1)
        os.close(sink)
        self._lock = threading.Lock()
        threading.Thread(target=self._send_periodically, daemon=True).start()

    def send(self) -> bool:
        """Write the collected data to the container's output. Return False if the pipe was closed."""
        with self._lock:
            while True:
                try:
                    data = os.read(self._source, _PIPE_SIZE)
                except BlockingIOError:
                    return True
                if not data:
                    return False
                while data:
                    data = data[os.write(self._out, data) :]

    def _send_periodically(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        pause = threading.Event()
        while poll.poll():
            pause.wait(_FLUSH_DELAY)
            if not self.send():
                return


if __name__ == "__main__":
    threading.Thread(target=exit_when_closed, args=(os.dup(0),), daemon=True).start()
    signal.alarm(_CLAIM_TIMEOUT)
    sys.stdout.write(HELLO + json.dumps(installed_versions()) + "\n")
    sys.stdout.flush()
    _line = sys.stdin.readline()
    signal.alarm(0)
    if _line:
        buffered_stdout = BufferedStdout()
        try:
            exec(eval(_line))  # Run execnet's first line, which execnet normally passes to `python -c`.
        finally:
            buffered_stdout.send()
