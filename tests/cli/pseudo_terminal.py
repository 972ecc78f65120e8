"""Helpers that run a command on a pseudo-terminal and read its output."""

import os
import pty
import re
import select
import subprocess
import sys

import pytest


class PseudoTerminal:
    """A command whose output is a pseudo-terminal: `with PseudoTerminal("watch", …) as (process, terminal)`."""

    def __init__(self, *arguments, environment):
        self.arguments, self.environment = arguments, environment

    def __enter__(self):
        self.terminal, output = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tunlab", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**self.environment, "COLUMNS": "100", "LINES": "30"},
        )
        os.close(output)
        return self.process, self.terminal

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def read_until(fd, pattern):
    """Read a pseudo-terminal until its output matches the pattern, and return the output."""
    text, poll = "", select.poll()
    poll.register(fd, select.POLLIN)
    while not re.search(pattern, text):
        assert poll.poll(20_000), text
        try:
            text += os.read(fd, 65_536).decode()
        except OSError:
            pytest.fail(f"the command ended before it printed {pattern!r}: {text!r}")
    return text
