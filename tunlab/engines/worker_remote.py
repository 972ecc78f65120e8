"""What a worker runs first: it keeps the container's own Python path and directories, then goes on as any worker.

pytest-xdist sends a popen worker the controller's sys.path and temporary directory, which mean nothing in a container.
This module's text is sent instead of pytest-xdist's; at its end it runs the remote module of the pytest-xdist that is
installed on its own side. Source: xdist/remote.py, below `__channelexec__`.
"""

import importlib.util
import os
import sys


class Handed:
    """The channel to the controller, whose first object was received already."""

    def __init__(self, channel, first):
        self._channel, self._first = channel, [first]

    def receive(self, *arguments):
        """The first object as it was altered, then what comes."""
        return self._first.pop() if self._first else self._channel.receive(*arguments)

    def __getattr__(self, name):
        return getattr(self._channel, name)


def at_home(first):
    """What the controller said, for this side: workerinput, arguments, options, the Python path."""
    workerinput, arguments, options, path = first
    if (carried := workerinput.get("tunlab_path")) is not None:  # in a container
        options = {name: value for name, value in options.items() if name != "basetemp"}
        path = [*carried, *(entry for entry in sys.path if entry not in ("", *carried))]
    return workerinput, arguments, options, path


def become_worker(channel):
    """Run pytest-xdist's own remote module; found by path, for one that is imported cannot be rewritten by pytest."""
    (folder,) = importlib.util.find_spec("xdist").submodule_search_locations
    file = os.path.join(folder, "remote.py")
    first = at_home(channel.receive())
    with open(file, encoding="utf-8") as source:
        code = compile(source.read(), file, "exec")
    exec(code, {"__name__": "__channelexec__", "__file__": file, "channel": Handed(channel, first)})


if __name__ == "__channelexec__":
    become_worker(channel)  # noqa: F821 - execnet's
