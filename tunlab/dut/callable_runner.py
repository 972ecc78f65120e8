"""The process of `fd:MODULE:CALLABLE`: it calls `callable(fd)`, with the further arguments that it takes.

Its arguments are the reference, the number of the descriptor, and NAME=VALUE for each further argument.
"""

from __future__ import annotations

import inspect
import sys

from tunlab.dut.target import load


def main(arguments: list[str]) -> None:
    """Import the callable and call it."""
    reference, descriptor, *others = arguments
    function = load(reference, reference)
    values = dict(each.split("=", 1) for each in others)
    taken = {name: value for name, value in values.items() if name in inspect.signature(function).parameters}
    function(int(descriptor), **taken)


if __name__ == "__main__":
    main(sys.argv[1:])
