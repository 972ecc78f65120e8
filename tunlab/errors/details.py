"""Data that errors hold, and the form of their messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


def sentences(problem: str, remedy: str) -> str:
    """Return "problem. Remedy.", or only the problem. Capitalizes the remedy if its first word has only letters."""
    if not remedy:
        return problem
    advice, *output = remedy.split("\n", 1)  # lines after the first are a program's output
    if advice.split(maxsplit=1)[0].rstrip(",:").isalpha():
        advice = advice[0].upper() + advice[1:]
    first, second = (text if text.endswith((".", "?", "!")) else f"{text}." for text in (problem, advice))
    return "\n".join([f"{first} {second}", *output])


class Problem(NamedTuple):
    """One mistake in a lab file: its file, table ("nodes.server") and key, and a hint such as "did you mean mtu?"."""

    problem: str
    file: str = ""
    table: str = ""
    key: str = ""
    hint: str = ""

    def __str__(self) -> str:
        key = ".".join(filter(None, (self.table, self.key)))
        text = f"`{key}` {self.problem}" if key else self.problem
        return sentences(f"{self.file}: {text}" if self.file else text, self.hint)


class UnmetExpectation(NamedTuple):
    """An expectation that timed out. The failure report uses it to search other devices for a matching packet.

    Attributes:
        matches: Function that returns True if a packet meets the expectation.
        netns: Identity of the namespace (device and inode); None for a port without one.
        ifname: The device that was watched.
        ended_ns: Time of the timeout, in nanoseconds of the port's clock.
    """

    matches: Callable[[Any], bool]
    netns: tuple[int, int] | None
    ifname: str
    ended_ns: int


def duration_text(seconds: float) -> str:
    """Return a time in seconds or milliseconds: "1.500 s", "20 ms"."""
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
