"""Measurements of several tools in turns, so that other load on the machine affects all of them equally.

In each round every tool runs once. A result is the median over the rounds of the ratio of two times, because single
times vary by a factor of two when the machine has other work.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import tunlab
from tunlab.errors import TunlabError


class BenchmarkError(TunlabError):
    """A benchmark that cannot run, or that compares tools which do different work."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal for a measured value: `bound` is the minimum if `at_least` is True, else the maximum."""

    bound: float
    at_least: bool

    def is_met_by(self, value: float) -> bool:
        """Return True if the value meets the goal."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Goal:
    """Return the goal that a value is at least `bound`."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """Return the goal that a value is at most `bound`."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result table: a measured value.

    Attributes:
        benchmark: Name of the benchmark.
        measure: Description of the measured value.
        value: The value, in `unit`.
        unit: "×" for a ratio, "ms", "s" or "KiB".
        detail: The median times from which the value was computed.
        goal: The goal for the value, or None.
    """

    benchmark: str
    measure: str
    value: float
    unit: str
    detail: str = ""
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """True if the value meets its goal, None if it has no goal."""
        return None if self.goal is None else self.goal.is_met_by(self.value)

    def to_dict(self) -> dict[str, object]:
        """Return the row as data for JSON."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line of the result table for a value that cannot be measured on this machine, with the reason."""

    benchmark: str
    measure: str
    reason: str


Outcome = Row | Skipped


def measure_in_turns(
    turns: Mapping[str, Callable[[], float]], rounds: int, *, rotate: bool = True, warm_up: bool = True
) -> dict[str, list[float]]:
    """Call each function once per round. Return the list of seconds that each function returned, by name.

    Args:
        turns: Functions by name. Each does its work and returns how many seconds the work took.
        rounds: Number of rounds that count.
        rotate: Start each round with the next function, so that no function is always first.
        warm_up: Run an additional first round that does not count.
    """
    names = list(turns)
    times: dict[str, list[float]] = {name: [] for name in names}
    with _imports_frozen():
        for number in range(0 if warm_up else 1, rounds + 1):
            first = number % len(names) if rotate else 0
            for name in names[first:] + names[:first]:
                took = turns[name]()
                if number:
                    times[name].append(took)
    return times


@contextmanager
def _imports_frozen() -> Iterator[None]:
    # The garbage collector stays on, as for users, but it skips the objects of modules that are imported so far.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def repeat(work: Callable[[], object], count: int, clock: Callable[[], float] = perf_counter) -> Callable[[], float]:
    """Return a function that calls `work` `count` times and returns the seconds per call.

    Args:
        work: The function to measure.
        count: Number of calls.
        clock: Clock in seconds. `time.thread_time` leaves out the time in which other processes ran.
    """

    def turn() -> float:
        start = clock()
        for _ in range(count):
            work()
        return (clock() - start) / count

    return turn


def ratio(times: Mapping[str, Sequence[float]], upper: str, lower: str) -> float:
    """Return the median, over all rounds, of the time of `upper` divided by the time of `lower`."""
    return median(one / other for one, other in zip(times[upper], times[lower], strict=True))


def format_medians(times: Mapping[str, Sequence[float]], names: Sequence[str], unit: str = "µs") -> str:
    """Return the median times of the named tools as text: "tunlab 3.4 µs, dpkt 9.9 µs"."""
    factor = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}[unit]
    return ", ".join(f"{name} {median(times[name]) * factor:.3g} {unit}" for name in names)


def python_environment() -> dict[str, str]:
    """Return environment variables for a Python process: those of this process, without settings for test tools.

    PYTHONPATH is set so that the process imports the same tunlab as this one.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_", "TUNLAB_"))}
    return {**kept, "PYTHONPATH": str(Path(tunlab.__file__).parents[1])}


def process(command: Sequence[str], **more: str) -> Callable[[], float]:
    """Return a function that runs a command and returns how many seconds it took.

    The function raises BenchmarkError if the command fails. `more` are additional environment variables.
    """
    environment = {**python_environment(), **more}

    def turn() -> float:
        start = perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        took = perf_counter() - start
        if done.returncode:
            output = (done.stderr or done.stdout).strip()
            raise BenchmarkError(f"{' '.join(command)} exited with {done.returncode}: {output}")
        return took

    return turn


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python interpreter with the given arguments."""
    return [sys.executable, *arguments]
