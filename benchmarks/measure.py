"""Measure functions in rounds: each runs once per round, so that other load on the machine affects all alike.

The result is the median of the ratios within each round. Absolute times vary by a factor of two between runs, and
within a run if the machine has other work.
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
    """A benchmark that cannot run, or whose tools give different results."""


@dataclass(frozen=True, slots=True)
class Goal:
    """An inclusive bound on a row's value: a minimum if `at_least`, else a maximum."""

    bound: float
    at_least: bool

    def met_by(self, value: float) -> bool:
        """Return True if `value` meets the goal."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Goal:
    """Return the goal of at least `bound`."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """Return the goal of at most `bound`."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        value: The result in `unit`: "×" (a ratio), "ms" or "s".
        detail: The measured times with their units.
        goal: The goal; None if the row is only information.
    """

    benchmark: str
    what: str
    value: float
    unit: str
    detail: str = ""
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """True if the goal is met; None without a goal."""
        return None if self.goal is None else self.goal.met_by(self.value)

    def plain(self) -> dict[str, object]:
        """Return dictionaries and numbers, for JSON."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that cannot be measured on this machine, with the reason."""

    benchmark: str
    what: str
    why: str


Outcome = Row | Skipped


def interleaved(
    turns: Mapping[str, Callable[[], float]], rounds: int, *, rotate: bool = True, warm_up: bool = True
) -> dict[str, list[float]]:
    """Run each function once per round and return its results: seconds per operation.

    Args:
        turns: Functions by name. Each measures itself and returns seconds per operation.
        rounds: Number of rounds.
        rotate: Start each round with another function, so that none is always first.
        warm_up: Run one round before that is not counted.
    """
    names = list(turns)
    times: dict[str, list[float]] = {name: [] for name in names}
    with _settled_memory():
        for number in range(0 if warm_up else 1, rounds + 1):
            first = number % len(names) if rotate else 0
            for name in names[first:] + names[:first]:
                took = turns[name]()
                if number:
                    times[name].append(took)
    return times


@contextmanager
def _settled_memory() -> Iterator[None]:
    # The garbage collector stays on, as for users, but skips objects that importing a library has made.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def each_of(work: Callable[[], object], count: int, clock: Callable[[], float] = perf_counter) -> Callable[[], float]:
    """Return a function that calls `work` `count` times and returns the seconds per call.

    Args:
        work: The measured function.
        count: Number of calls.
        clock: `time.thread_time` for pure computation, because it stops while other threads run.
    """

    def turn() -> float:
        start = clock()
        for _ in range(count):
            work()
        return (clock() - start) / count

    return turn


def ratio(times: Mapping[str, Sequence[float]], upper: str, lower: str) -> float:
    """Return the median over all rounds of the ratio of `upper` to `lower` in the same round."""
    return median(one / other for one, other in zip(times[upper], times[lower], strict=True))


def told(times: Mapping[str, Sequence[float]], names: Sequence[str], unit: str = "µs") -> str:
    """Return the medians as text: "tunlab 3.4 µs, dpkt 9.9 µs"."""
    factor = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}[unit]
    return ", ".join(f"{name} {median(times[name]) * factor:.3g} {unit}" for name in names)


def python_environment() -> dict[str, str]:
    """Return the environment for a Python process with this tunlab, without variables that pytest or a lab have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_", "TUNLAB_"))}
    return {**kept, "PYTHONPATH": str(Path(tunlab.__file__).parents[1])}


def process(command: Sequence[str], **more: str) -> Callable[[], float]:
    """Return a function that runs a program and returns its seconds, or raises BenchmarkError if it fails."""
    environment = {**python_environment(), **more}

    def turn() -> float:
        start = perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        took = perf_counter() - start
        if done.returncode:
            output = (done.stderr or done.stdout).strip()
            raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}: {output}")
        return took

    return turn


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python with default settings."""
    return [sys.executable, *arguments]
