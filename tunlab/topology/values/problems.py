"""Collect the errors of a lab file, to report them all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from tunlab.errors import Problem, TopologyError

T = TypeVar("T")


class InvalidValueError(Exception):
    """An invalid value: the problem, such as "is 20; the minimum is 68", and a hint. `Problems.read` collects it."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem, hint)


class Problems:
    """The errors found in one lab file."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, table: str, key: str, problem: str, hint: str = "") -> None:
        """Add an error, unless it was added before.

        Args:
            table: the table with the key, such as "nodes.client".
            key: the key; "" for the table itself.
            problem: the rest of a sentence that begins with the key, such as "is 20; the minimum is 68".
            hint: a sentence that tells what to do.
        """
        found = Problem(problem, self.file, table, key, hint)
        if found not in self.found:
            self.found.append(found)

    def read(self, table: str, key: str, parser: Callable[[Any], T], value: object, default: T) -> T:
        """Return `parser(value)`; if that raises InvalidValueError, add the error and return `default`."""
        try:
            return parser(value)
        except InvalidValueError as error:
            self.add(table, key, error.problem, error.hint)
            return default

    def table(self, table: str, key: str, values: object, hint: str) -> Mapping[str, Any]:
        """Return the table `values`; if it is not one, add an error and return an empty one."""
        if isinstance(values, dict):
            return values
        self.add(table, key, f"is {values!r}, which is not a table", hint)
        return {}

    def raise_if_any(self) -> None:
        """Raise TopologyError with all errors, if there are any."""
        if self.found:
            raise TopologyError(problems=self.found)

    def check_keys(self, table: str, values: Mapping[str, object], known: Iterable[str]) -> None:
        """Add an error for each unknown key, with the closest known key as hint."""
        known = list(known)
        for key in values:
            if key not in known:
                self.add(table, key, "is not a known key", suggest(key, known))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known word that is closest to a wrong one, or with all known words if none is close."""
    known = list(known)
    close = get_close_matches(word, known, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Choose from {', '.join(known)}." if known else ""
