"""Measuring side by side: everybody takes a turn in every round, so that what disturbs the machine disturbs all alike.

What is compared are ratios within a round, and of those the median: a time by itself moves by a factor of two between
runs, and within one when the machine has other work.
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
    """A benchmark that cannot be run, or whose contenders do not do the same."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a row's value, itself included; `at_least` says which way."""

    bound: float
    at_least: bool

    def met_by(self, value: float) -> bool:
        """Return True if `value` meets the goal."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Goal:
    """Return the goal of at least `bound`."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """The goal of no more than `bound`."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    value    in `unit`: "×" (a ratio), "ms" or "s"
    detail   the times it was made of, with their units
    goal     None: told for its own sake
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
    """A row that cannot be measured here, and why."""

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
    # The garbage collector stays on, as it is for users; but what a peer has only imported is nobody's to be walked.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def each_of(work: Callable[[], object], count: int, clock: Callable[[], float] = perf_counter) -> Callable[[], float]:
    """A turn that does `work` `count` times: seconds for one by `clock`.

    clock   `time.thread_time` for what only computes: it stands still while others have the processor
    """

    def turn() -> float:
        start = clock()
        for _ in range(count):
            work()
        return (clock() - start) / count

    return turn


def ratio(times: Mapping[str, Sequence[float]], upper: str, lower: str) -> float:
    """How many times as long `upper` took as `lower` in the same round: the median of the rounds."""
    return median(one / other for one, other in zip(times[upper], times[lower], strict=True))


def told(times: Mapping[str, Sequence[float]], names: Sequence[str], unit: str = "µs") -> str:
    """The medians in words: "tunlab 3.4 µs, dpkt 9.9 µs"."""
    factor = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}[unit]
    return ", ".join(f"{name} {median(times[name]) * factor:.3g} {unit}" for name in names)


def python_environment() -> dict[str, str]:
    """The environment for a Python process with the same tunlab as this one, without what pytest or a lab set here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_", "TUNLAB_"))}
    return {**kept, "PYTHONPATH": str(Path(tunlab.__file__).parents[1])}


def process(command: Sequence[str], **more: str) -> Callable[[], float]:
    """A turn that runs a program to its end: seconds. Its output is dropped; raises BenchmarkError where it fails."""
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
    """The command that runs this Python, warnings and all as it is by default."""
    return [sys.executable, *arguments]
