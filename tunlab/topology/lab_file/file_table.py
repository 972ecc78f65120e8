"""Read the files and directories of a node: keys `files`, `private`, `run_dirs` and `share`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from tunlab.topology.plan import DirectoryPlan
from tunlab.topology.values import names
from tunlab.topology.values.problems import InvalidValueError, Problems

_FILE_KEYS, _DIRECTORY_KEYS = ("source", "text", "owner", "mode"), ("path", "owner", "mode")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?", re.ASCII)
_MODE = re.compile(r"[0-7]{3,4}")
_NEEDED = ("/", "/dev", "/proc", "/sys", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64")


class Files(Struct):
    """The content of `files`.

    Attributes:
        sources: paths in the node and their source files or directories.
        texts: paths in the node and the contents of these files.
        owners: owner and mode by path.
    """

    sources: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    owners: dict[str, tuple[str, int]] = field(default_factory=dict)


def read_files(problems: Problems, table: str, given: object) -> Files:
    """Read `files` of a node, and add its errors to `problems`."""
    files = Files()
    table_of_files = f"{table}.files"
    for path, value in problems.table(table, "files", given, 'Write { "/etc/motd" = "motd.txt" }.').items():
        if not _is_absolute(path) or path.endswith("/"):
            hint = 'Write a path such as "/etc/motd".'
            problems.add(table_of_files, path, "is not an absolute path of a file", hint)
        elif isinstance(value, dict):
            _read_file(problems, f"{table_of_files}.{path}", path, value, files)
        elif problems.read(table_of_files, path, names.text, value, ""):
            files.sources[path] = value
    return files


def _read_file(problems: Problems, table: str, path: str, values: Mapping[str, Any], files: Files) -> None:
    problems.check_keys(table, values, _FILE_KEYS)
    if ("source" in values) == ("text" in values):
        problem = "has both source and text" if "source" in values else "has neither source nor text"
        problems.add(table, "", problem, 'Give one of them, as text = "hello".')
    if "text" in values and not isinstance(values["text"], str):
        problems.add(table, "text", f"is {values['text']!r}, which is not a string", "Write the content of the file.")
    elif "text" in values:
        files.texts[path] = values["text"]
    if "source" in values and problems.read(table, "source", names.text, values["source"], ""):
        files.sources[path] = values["source"]
    owner, mode = _owner_and_mode(problems, table, values, 0)
    if owner or mode:
        files.owners[path] = owner, mode


def _owner_and_mode(problems: Problems, table: str, values: Mapping[str, Any], mode: int) -> tuple[str, int]:
    owner = problems.read(table, "owner", read_owner, values["owner"], "") if "owner" in values else ""
    return owner, problems.read(table, "mode", _mode, values["mode"], mode) if "mode" in values else mode


def read_owner(value: object) -> str:
    """Check a user, or a user and group as "frr:frr". Raises InvalidValueError."""
    if not isinstance(value, str) or not _OWNER.fullmatch(value):
        raise InvalidValueError(f"is {value!r}, which is not a user", 'Write "nobody" or "frr:frr".')
    return value


def _mode(value: object) -> int:
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise InvalidValueError(f"is {value!r}, which is not a mode", 'Write octal digits in quotes, as "0640".')
    return int(value, 8)


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and not {".", "..", ""} & set(path.rstrip("/").split("/")[1:]) and "\0" not in path


def absolute_path(value: object) -> str:
    """Check an absolute path without "." and "..". Raises InvalidValueError."""
    if not isinstance(value, str) or not _is_absolute(value):
        raise InvalidValueError(f"is {value!r}, which is not an absolute path", 'Write a path such as "/var/log".')
    return value.rstrip("/")


def private_directory(value: object) -> str:
    """Check a path of `private`. Raises InvalidValueError."""
    path = absolute_path(value)
    if path in ("/run", "/var/run"):
        raise InvalidValueError(f"is {value!r}, which every node has for itself", "Remove it.")
    if path in _NEEDED or path.startswith(("/proc/", "/sys/")):
        raise InvalidValueError(f"is {value!r}, which programs need", "Name a directory such as /tmp or /var/log.")
    return path


def read_run_dirs(problems: Problems, table: str, given: object) -> tuple[DirectoryPlan, ...]:
    """Read `run_dirs` of a node, and add its errors to `problems`."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        problems.add(table, "run_dirs", f"is {given!r}, which is not a list", 'Write ["/run/bird"].')
        return ()
    found = []
    for index, each in enumerate(given):
        key = f"run_dirs[{index}]"
        values = each if isinstance(each, dict) else {"path": each}
        problems.check_keys(f"{table}.{key}", values, _DIRECTORY_KEYS)
        path = problems.read(table, key, _run_directory, values.get("path", ""), "")
        owner, mode = _owner_and_mode(problems, f"{table}.{key}", values, 0o755)
        if path:
            found.append(DirectoryPlan(path=path, owner=owner, mode=mode))
    return tuple(found)


def _run_directory(value: object) -> str:
    path = absolute_path(value)
    if not path.startswith("/run/"):
        raise InvalidValueError(f"is {value!r}, which is not below /run", 'Write a path such as "/run/bird".')
    return path
