"""Benchmark `engines`: pytest-xdist workers in Docker containers, compared with workers on the machine.

TUNLAB_ENGINES   engines to use, separated by spaces; default: local
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

from benchmarks.measure import Outcome, Row, Skipped, at_most, measure_in_turns, process, python, ratio
from benchmarks.suite import TESTS, plugin_options
from tunlab.engines.connection.engine import Engine
from tunlab.engines.workers.worker_setup import WorkerSetup
from tunlab.errors import EngineError

NAME = "engines"
START, ADDED, SPLIT = "to the first test", "600 tests in containers / without", "on two engines / on one"
PER_TEST = at_most(1.05)
WORKERS = 2

# This conftest writes the time of each test report to a file, by the clock of pytest-xdist's controller.
CONFTEST = """
import time

def pytest_runtest_logreport(report):
    if hasattr(report, "node"):
        with open("when", "a") as file:
            file.write(f"{time.monotonic()}\\n")
"""


class Turn:
    """A pytest run of the suite. Each run appends the seconds from its start to the first test report to `starts`."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        """Prepare a run with these pytest options, which choose the workers."""
        self._when = folder / "when"
        # The run must start in the folder, because the conftest writes its file to the working directory.
        start = python("-c", f"import os, sys; os.chdir({str(folder)!r}); os.execv(sys.executable, sys.argv[1:])")
        more = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *plugin_options())
        self._process = process([*start, *python(*more, *options)])
        self.starts: list[float] = []

    def __call__(self) -> float:
        """Run the suite and return the seconds from the first test report to the last."""
        self._when.unlink(missing_ok=True)
        began = monotonic()
        self._process()
        reports = [float(line) for line in self._when.read_text(encoding="ascii").split()]
        self.starts.append(reports[0] - began)
        return reports[-1] - reports[0]


def run(*, rounds: int = 5, tests: int = 600) -> list[Outcome]:
    """Run the benchmark and return its rows. A row that needs more engines than available is skipped."""
    specs = os.environ.get("TUNLAB_ENGINES", "").split() or ["local"]
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        (folder / "test_generated.py").write_text(TESTS.format(count=tests), encoding="utf-8")
        try:
            for spec in specs:  # The images are built before the measurement.
                with Engine.connect(spec) as engine:
                    image = WorkerSetup(folder, folder).image(engine, lambda what: print(what, file=sys.stderr))
        except EngineError as error:
            return [Skipped(NAME, what, str(error).split("\n")[0]) for what in (START, ADDED, SPLIT)]
        turns = {
            "without": Turn(folder, ["-n", str(WORKERS)]),
            "in containers": Turn(folder, ["--tunlab-image", image, "--tunlab-workers", f"{specs[0]}*{WORKERS}"]),
        }
        if len(specs) > 1:
            each = [word for spec in specs[:2] for word in ("--tunlab-workers", f"{spec}*{WORKERS // 2}")]
            turns["on two engines"] = Turn(folder, ["--tunlab-image", image, *each])
        callables: dict[str, Callable[[], float]] = dict(turns)
        times = measure_in_turns(callables, rounds)
    starts = {name: turn.starts[1:] for name, turn in turns.items()}  # leave out the first round, a warm-up
    rows: list[Outcome] = [
        Row(NAME, START, median(starts["in containers"]), "s", _medians(starts)),
        Row(NAME, ADDED, ratio(times, "in containers", "without"), "×", _medians(times), PER_TEST),
    ]
    if len(specs) > 1:
        rows.append(Row(NAME, SPLIT, ratio(times, "on two engines", "in containers"), "×", _medians(times)))
    else:
        rows.append(Skipped(NAME, SPLIT, "only one engine; name two in TUNLAB_ENGINES"))
    return rows


def _medians(times: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {median(each):.3g} s" for name, each in times.items())
