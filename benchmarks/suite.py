"""Benchmark `suite`: 200 tests, each with its own namespace and TUN device, run by two pytest-xdist workers.

The second row is the cost of recordings, drop reasons and leak checks for passing tests. It compares the same tests in
one process with and without them, from the first setup to the last teardown.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import Outcome, Row, at_most, format_medians, measure_in_turns, process, python, ratio

NAME = "suite"
WALL, EXPLAINED = at_most(3), at_most(1.15)
WITHOUT = ("--tunlab-record=never", "--tunlab-leaks=off")

TESTS = """
import pytest

from tunlab.packet import ICMP, IPv4


@pytest.mark.parametrize("number", range({count}))
def test_the_kernel_answers(tun, number):
    tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number), b"payload")
    assert tun.expect(ICMP.where(type=0, sequence_number=number)).payload == b"payload"
"""


def plugin_options() -> list[str]:
    """Return the pytest options that load tunlab's plugin if tunlab is importable but not installed."""
    installed = {each.value for each in entry_points(group="pytest11")}
    return [] if "tunlab.pytest_plugin" in installed else ["-p", "tunlab.pytest_plugin"]


def run(*, rounds: int = 5, tests: int = 200) -> list[Outcome]:
    """Run the benchmark and return its rows. Empty tests show how much time pytest itself takes."""
    with TemporaryDirectory() as directory:
        Path(directory, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        file = Path(directory, "test_generated.py")
        file.write_text(TESTS.format(count=tests), encoding="utf-8")
        bare = Path(directory, "test_bare.py")
        bare.write_text(BARE.format(count=tests), encoding="utf-8")
        options = ["-q", "-n", "2", "-p", "no:cacheprovider", *plugin_options()]
        turns = {
            name: process(python("-m", "pytest", *options, str(path)))
            for name, path in (("with the fixture", file), ("empty tests", bare))
        }
        times = measure_in_turns(turns, rounds, warm_up=False)
        Path(directory, "conftest.py").write_text(STOPWATCH, encoding="utf-8")
        serial = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *plugin_options(), str(file)]
        names = ("explained", "without")
        each = measure_in_turns(
            {name: _timed(directory, [*serial, *(WITHOUT if name == "without" else ())]) for name in names}, 2 * rounds
        )
    name = "with the fixture"
    what = f"{tests} tests with the tun fixture, -n 2"
    per_test = {which: [took / tests for took in each[which]] for which in names}
    return [
        Row(NAME, what, median(times[name]), "s", format_medians(times, tuple(times), "s"), WALL),
        Row(
            NAME, "a test that passes, with what explains failures", ratio(each, *names), "×",
            format_medians(per_test, names, "ms"), EXPLAINED,
        ),
    ]  # fmt: skip


def _timed(directory: str, arguments: list[str]) -> Callable[[], float]:
    """Return a function that runs pytest and returns the seconds from its first test to its end."""
    run, shown = process(python("-m", "pytest", *arguments)), Path(directory, "took")

    def turn() -> float:
        run()
        return float(shown.read_text(encoding="utf-8"))

    return turn


STOPWATCH = """
from pathlib import Path
from time import perf_counter

started = []


def pytest_runtest_logstart():
    started or started.append(perf_counter())


def pytest_sessionfinish(session):
    if started:
        Path(__file__).with_name("took").write_text(str(perf_counter() - started[0]))
"""


BARE = """
import pytest


@pytest.mark.parametrize("number", range({count}))
def test_nothing(number):
    pass
"""
