"""Collecting all errors of a lab file, so that they are reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from tunlab.errors import Problem, TopologyError

T = TypeVar("T")


class InvalidValueError(Exception):
    """An invalid value, with a predicate for its key and a hint; `Problems.take` collects it."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem, hint)


class Problems:
    """The errors found in one lab file."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, table: str, key: str, problem: str, hint: str = "") -> None:
        """Add an error: `problem` is a predicate of the key ("is 20; the minimum is 68"). Ignore duplicates."""
        each = Problem(problem, self.file, table, key, hint)
        if each not in self.found:
            self.found.append(each)

    def take(self, table: str, key: str, read: Callable[[Any], T], value: object, instead: T) -> T:
        """Return `read(value)`; if that raises InvalidValueError, add the error and return `instead`."""
        try:
            return read(value)
        except InvalidValueError as error:
            self.add(table, key, error.problem, error.hint)
            return instead

    def raise_if_any(self) -> None:
        """Raise TopologyError with all errors, if there are any."""
        if self.found:
            raise TopologyError(problems=self.found)

    def unknown_keys(self, table: str, values: Mapping[str, object], known: Iterable[str]) -> None:
        """Add an error for each unknown key, with the closest known one."""
        known = list(known)
        for key in values:
            if key not in known:
                self.add(table, key, "is not a known key", suggest(key, known))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the closest known word, or with all of them."""
    known = list(known)
    close = get_close_matches(word, known, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Choose from {', '.join(known)}." if known else ""
