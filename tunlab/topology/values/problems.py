"""All that is wrong with a lab file, gathered, so that its author learns it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from tunlab.errors import Problem, TopologyError

T = TypeVar("T")


class InvalidValueError(Exception):
    """A value that cannot be: what is wrong with it, and what to write instead. Never leaves this package."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem, hint)


class Problems:
    """The problems found so far in one file."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, table: str, key: str, problem: str, hint: str = "") -> None:
        """Note a problem with a key of a table; the same one is noted once."""
        each = Problem(problem, self.file, table, key, hint)
        if each not in self.found:
            self.found.append(each)

    def take(self, table: str, key: str, read: Callable[[Any], T], value: object, instead: T) -> T:
        """What `read` makes of the value; `instead`, and the problem noted, where it refuses."""
        try:
            return read(value)
        except InvalidValueError as error:
            self.add(table, key, error.problem, error.hint)
            return instead

    def settle(self) -> None:
        """Nothing, if nothing is wrong. Raises TopologyError with all that is."""
        if self.found:
            raise TopologyError(problems=self.found)

    def unknown_keys(self, table: str, values: Mapping[str, object], known: Iterable[str]) -> None:
        """Note each key that is not among the known ones, with the one that was perhaps meant."""
        known = list(known)
        for key in values:
            if key not in known:
                self.add(table, key, "no such key", meant(key, known))


def meant(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that is closest to this one, or all of them if none is close."""
    known = list(known)
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(known)}" if known else ""
