"""`python -m benchmarks [NAME…]`: compare the speed of tunlab with similar tools and print a table.

Exits with 0, or with the error's exit code if a benchmark cannot run. With --check, exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Outcome, Row
from tunlab.errors import TunlabError

NAMES = ("decode", "namespaces", "reader", "peer", "devices", "startup", "suite", "labs", "engines")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named in `arguments` (by default all), print a table and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare the speed of tunlab with similar tools."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmark to run: {', '.join(NAMES)}; default: all")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to a JSON file")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}. Choose from {', '.join(NAMES)}")
    outcomes: list[Outcome] = []
    status = 0
    for name in options.names or NAMES:
        print(f"{name} …", file=sys.stderr, flush=True)
        run: Callable[[], list[Outcome]] = import_module(f"benchmarks.{name}").run
        try:
            outcomes += run()
        except TunlabError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = error.exit_code
    print(table(outcomes))
    if options.json is not None:
        try:
            options.json.write_text(json.dumps(report(outcomes), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"--json {options.json}: {error.strerror}; give a writable file", file=sys.stderr)
            return 74  # EX_IOERR of <sysexits.h>
    missed = [row for row in outcomes if isinstance(row, Row) and row.met is False]
    return status or (1 if options.check and missed else 0)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the results as a text table with aligned columns."""
    lines = [("benchmark", "measure", "value", "goal", "met", "medians")]
    for outcome in outcomes:
        if not isinstance(outcome, Row):
            lines.append((outcome.benchmark, outcome.measure, "-", "", "skipped", outcome.reason))
            continue
        goal = outcome.goal
        bound = "" if goal is None else f"{'≥' if goal.at_least else '≤'} {_amount(goal.bound, outcome.unit)}"
        met = {None: "", True: "yes", False: "NO"}[outcome.met]
        value = _amount(outcome.value, outcome.unit)
        lines.append((outcome.benchmark, outcome.measure, value, bound, met, outcome.detail))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    numeric = (2, 3)

    def format_line(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(map(format_line, lines))


def _amount(value: float, unit: str) -> str:
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def report(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return the results and a description of the machine, as data for JSON."""
    machine = {"python": platform.python_version(), "kernel": platform.release(), "machine": platform.machine()}
    return {**machine, "rows": [row.to_dict() for row in outcomes if isinstance(row, Row)]}


if __name__ == "__main__":
    sys.exit(main())
