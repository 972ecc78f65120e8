"""A test suite run by workers in containers and by workers on the machine: start-up time and cost per test.

The environment variable TUNLAB_ENGINES lists the engines, separated by spaces. Default: `local`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

from benchmarks.measure import Outcome, Row, Skipped, at_most, interleaved, process, python, ratio
from benchmarks.suite import TESTS, plugin_options
from tunlab.engines.connection.engine import Engine
from tunlab.engines.workers.provision import Provision
from tunlab.errors import EngineError

NAME = "engines"
START, ADDED, SPLIT = "to the first test", "600 tests in containers / without", "on two engines / on one"
PER_TEST = at_most(1.05)
WORKERS = 2

# Times of the first and the last test report, by the controller's clock.
CONFTEST = """
import time

def pytest_runtest_logreport(report):
    if hasattr(report, "node"):
        with open("when", "a") as file:
            file.write(f"{time.monotonic()}\\n")
"""


class Turn:
    """One run of the suite. Measures the seconds to the first report, and from there to the last."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        """Start pytest with the options that choose its workers."""
        self._when = folder / "when"
        # `when` is written in the directory that pytest is started in.
        start = python("-c", f"import os, sys; os.chdir({str(folder)!r}); os.execv(sys.executable, sys.argv[1:])")
        more = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *plugin_options())
        self._process = process([*start, *python(*more, *options)])
        self.starts: list[float] = []

    def __call__(self) -> float:
        """Return the seconds from the first report to the last."""
        self._when.unlink(missing_ok=True)
        began = monotonic()
        self._process()
        reports = [float(line) for line in self._when.read_text(encoding="ascii").split()]
        self.starts.append(reports[0] - began)
        return reports[-1] - reports[0]


def run(*, rounds: int = 5, tests: int = 600) -> list[Outcome]:
    """Return the rows. Rows that need an engine, or a second one, are skipped if there is none."""
    specs = os.environ.get("TUNLAB_ENGINES", "").split() or ["local"]
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        (folder / "test_generated.py").write_text(TESTS.format(count=tests), encoding="utf-8")
        try:
            for spec in specs:  # build the image before measuring
                with Engine.connect(spec) as engine:
                    image = Provision(folder, folder).image(engine, lambda what: print(what, file=sys.stderr))
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
        times = interleaved(callables, rounds)
    starts = {name: turn.starts[1:] for name, turn in turns.items()}  # the first round warms up
    rows: list[Outcome] = [
        Row(NAME, START, median(starts["in containers"]), "s", _told(starts)),
        Row(NAME, ADDED, ratio(times, "in containers", "without"), "×", _told(times), PER_TEST),
    ]
    if len(specs) > 1:
        rows.append(Row(NAME, SPLIT, ratio(times, "on two engines", "in containers"), "×", _told(times)))
    else:
        rows.append(Skipped(NAME, SPLIT, "there is one engine: name two in TUNLAB_ENGINES"))
    return rows


def _told(times: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {median(each):.3g} s" for name, each in times.items())
