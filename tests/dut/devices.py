"""Devices under test for `fd:` targets: callables that get a descriptor."""

from examples.tcp.__main__ import run
from examples.tcp.stack import Stack


def serve_tcp(descriptor, address, control):
    """Run the stack of examples/tcp on a descriptor."""
    run(Stack(address), descriptor, control)
