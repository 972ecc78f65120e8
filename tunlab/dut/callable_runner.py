"""The process of `fd:MODULE:CALLABLE`: it calls `callable(fd)`, with the further arguments that it takes.

Its arguments are the reference, and NAME=VALUE for each argument that the callable may take.
"""

from __future__ import annotations

import inspect
import sys

from tunlab.dut.target import load


def main(arguments: list[str]) -> None:
    """Import the callable and call it."""
    reference, *others = arguments
    function = load(reference, reference)
    values = dict(each.split("=", 1) for each in others)
    descriptor = int(values.pop("fd"))
    known = {name: int(value) if value.isdigit() else value for name, value in values.items()}
    taken = {name: value for name, value in known.items() if name in inspect.signature(function).parameters}
    function(descriptor, **taken)


if __name__ == "__main__":
    main(sys.argv[1:])
