"""The program of a worker's container: it says what is installed here, then becomes the worker of pytest-xdist.

Its text is the container's command (`python3 -u -c …`), so it stands on the standard library alone: an image without
tunlab, or without pytest, is to be told in a sentence and not by a traceback.

BufferedStdout gathers what the worker writes: each write to a container's output wakes four processes on its way.

The container lives no longer than its standard input: Docker closes that when whoever attached goes away, however they
went, and a worker in the middle of a test would notice only after execnet's fifteen seconds.

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
_UNCLAIMED = 300  # seconds; a controller builds images and starts other containers meanwhile
_GRACE = 2.0  # seconds for a worker that is ending anyway
_GATHERING = 0.02  # seconds that anything may wait to be sent with what follows
_ROOM = 1 << 20


def installed() -> dict[str, Any]:
    """What the controller compares: versions, and which distribution brings which pytest plugin."""
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


def end_with(descriptor: int) -> None:
    """End this process soon after the other end of its standard input has gone."""
    poll = select.poll()
    poll.register(descriptor, 0)  # only what is reported unasked: POLLHUP, POLLERR
    poll.poll()
    threading.Event().wait(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


class BufferedStdout:
    """Stands between file descriptor 1 and the container's output.

    What is written waits for `send`, and no longer than a few milliseconds.
    """

    def __init__(self) -> None:
        """Take the place of descriptor 1: what is opened upon that from now on comes here."""
        self._out = os.dup(1)
        self._source, sink = os.pipe()
        with contextlib.suppress(OSError):  # a limit of the user's: fewer octets fit, and that is all
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _ROOM)
        os.set_blocking(self._source, False)
        os.dup2(sink, 1)
        os.close(sink)
        self._lock = threading.Lock()
        threading.Thread(target=self._send_in_time, daemon=True).start()

    def send(self) -> bool:
        """Send what waits; when it returns that is out of this process's hands. False: nothing can come any more."""
        with self._lock:
            while True:
                try:
                    octets = os.read(self._source, _ROOM)
                except BlockingIOError:
                    return True
                if not octets:
                    return False
                while octets:
                    octets = octets[os.write(self._out, octets) :]

    def _send_in_time(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        pause = threading.Event()
        while poll.poll():
            pause.wait(_GATHERING)
            if not self.send():
                return


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.dup(0),), daemon=True).start()
    signal.alarm(_UNCLAIMED)
    sys.stdout.write(HELLO + json.dumps(installed()) + "\n")
    sys.stdout.flush()
    _line = sys.stdin.readline()
    signal.alarm(0)
    if _line:
        outlet = BufferedStdout()
        try:
            exec(eval(_line))  # execnet's own first line, as its `python -c` has it
        finally:
            outlet.send()
