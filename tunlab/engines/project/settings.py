"""The table [tool.tunlab.test] of pyproject.toml, and checks of its values and of the same options of `tunlab test`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tunlab.engines.project import discovery
from tunlab.errors import sentences


class InvalidValue(NamedTuple):
    """The problem with a value, and a hint about valid values."""

    problem: str
    hint: str

    def __str__(self) -> str:
        return sentences(self.problem, self.hint)


def read_settings(root: Path) -> dict[str, Any]:
    """Return the project's settings. Raises TopologyError for an unknown key or an invalid value."""
    found = discovery.read_table(root, *discovery.TABLE)
    for key, value in found.items():
        if invalid := _check_setting(key, value):
            raise discovery.setting_error(root, key, invalid.problem, invalid.hint)
    return found


def _check_setting(key: str, value: object) -> InvalidValue | None:
    if key not in _KINDS:
        close = get_close_matches(key, _KINDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"its keys are {', '.join(_KINDS)}"
        return InvalidValue("unknown key", hint)
    if _KINDS[key] is str:
        return None if isinstance(value, str) else InvalidValue(f"{value!r} is not a string", 'write "…"')
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return InvalidValue(f"{value!r} is not a list of strings", 'write ["…", "…"]')
    check = VALUE_CHECKS.get(key)
    return next(filter(None, map(check, value)), None) if check else None


def parse_mount(value: str) -> tuple[str, str]:
    """Return (path in the container, path on the engine's machine) from SOURCE:TARGET."""
    source, _, target = value.partition(":")
    return target, source


def _check_arguments(value: str) -> InvalidValue | None:
    try:
        shlex.split(value)
    except ValueError as error:
        return InvalidValue(f"{value!r} cannot be split into words ({str(error).lower()})", "quote it as for a shell")
    return None


def _check_variable(value: str) -> InvalidValue | None:
    name = value.partition("=")[0]
    return None if name else InvalidValue(f"{value!r} has no variable name", "write NAME or NAME=VALUE")


def _check_mount(value: str) -> InvalidValue | None:
    absolute = all(path.startswith("/") for path in parse_mount(value))
    return None if absolute else InvalidValue(f"{value!r} is not a pair of absolute paths", "write /data:/data")


def _check_pattern(value: str) -> InvalidValue | None:
    path = PurePosixPath(value)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts
    # Path.glob rejects ** as a part of a longer name.
    supported = all(part == "**" or "**" not in part for part in path.parts)
    if inside and supported:
        return None
    return InvalidValue(f"{value!r} is not a pattern for files below the project's root", "write src/**/gen_*.py")


VALUE_CHECKS: dict[str, Callable[[str], InvalidValue | None]] = {
    "install": _check_arguments,
    "env": _check_variable,
    "mounts": _check_mount,
    "include": _check_pattern,
}
"""Checks of the elements of a list, by key."""

_KINDS = {
    "install": list, "packages": list, "capabilities": list, "image": str, "env": list, "mounts": list, "include": list,
}  # fmt: skip
