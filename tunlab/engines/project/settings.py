"""The table [tool.tunlab.test] of a project's pyproject.toml, and what each setting may say.

The options of `tunlab test` that say the same are held to the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tunlab.engines.project import discovery


class Mistake(NamedTuple):
    """What is wrong with a text, and what to write instead."""

    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.hint}"


def of(root: Path) -> dict[str, Any]:
    """The settings of the project. Raises TopologyError for what they cannot say."""
    given = discovery.section(root, *discovery.TABLE)
    for key, value in given.items():
        if mistake := _mistake(key, value):
            raise discovery.wrong(root, key, mistake.problem, mistake.hint)
    return given


def _mistake(key: str, value: object) -> Mistake | None:
    if key not in _KINDS:
        close = get_close_matches(key, _KINDS, n=1)
        return Mistake("unknown key", f"did you mean {close[0]}?" if close else f"its keys are: {', '.join(_KINDS)}")
    if _KINDS[key] is str:
        return None if isinstance(value, str) else Mistake(f"{value!r} is not a string", 'write "…"')
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return Mistake(f"{value!r} is not a list of strings", 'write ["…", "…"]')
    check = CHECKS.get(key)
    return next(filter(None, map(check, value)), None) if check else None


def mount(given: str) -> tuple[str, str]:
    """HERE:THERE as the path inside, and the one on the engine's machine."""
    here, _, there = given.partition(":")
    return there, here


# ---- each text of a list -------------------------------------------------------------------------------------------


def _arguments(given: str) -> Mistake | None:
    try:
        shlex.split(given)
    except ValueError as error:
        return Mistake(f"{given!r} cannot be split into words ({str(error).lower()})", "quote it as for a shell")
    return None


def _variable(given: str) -> Mistake | None:
    named = given.partition("=")[0]
    return None if named else Mistake(f"{given!r} names no variable", "write NAME or NAME=VALUE")


def _mount(given: str) -> Mistake | None:
    whole = all(path.startswith("/") for path in mount(given))
    return None if whole else Mistake(f"{given!r} is not a pair of absolute paths", "write /data:/data")


def _pattern(given: str) -> Mistake | None:
    path = PurePosixPath(given)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts
    plain = all(part == "**" or "**" not in part for part in path.parts)  # others pathlib refuses
    if inside and plain:
        return None
    return Mistake(f"{given!r} is not a pattern for files below the project's root", "write src/**/gen_*.py")


CHECKS: dict[str, Callable[[str], Mistake | None]] = {
    "install": _arguments,
    "env": _variable,
    "mounts": _mount,
    "include": _pattern,
}

_KINDS = {
    "install": list, "packages": list, "capabilities": list, "image": str, "env": list, "mounts": list, "include": list,
}  # fmt: skip
