"""A terminal for a command of tunlab, and what it shows."""

import os
import pty
import re
import select
import subprocess
import sys

import pytest


class PseudoTerminal:
    """A command with a terminal for its output: `with PseudoTerminal("watch", …) as (process, shown)`."""

    def __init__(self, *arguments, environment):
        self.arguments, self.environment = arguments, environment

    def __enter__(self):
        self.shown, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tunlab", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**self.environment, "COLUMNS": "100", "LINES": "30"},
        )
        os.close(theirs)
        return self.process, self.shown

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.shown)


def read_until(fd, pattern):
    """What a terminal shows up to a match; it fails when nothing more comes."""
    text, poll = "", select.poll()
    poll.register(fd, select.POLLIN)
    while not re.search(pattern, text):
        assert poll.poll(20_000), text
        try:
            text += os.read(fd, 65_536).decode()
        except OSError:
            pytest.fail(f"it ended before it showed {pattern!r}: {text!r}")
    return text
