"""Read the programs of a node: keys `run` and `setup`, with their environment and their ready conditions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

from tunlab.topology.lab_file.file_table import absolute_path, read_owner
from tunlab.topology.plan import CommandPlan
from tunlab.topology.values import names, units
from tunlab.topology.values.problems import InvalidValueError, Problems

T = TypeVar("T")

_SETUP_KEYS = ("command", "timeout", "env", "user", "cwd")
_RUN_KEYS = (*_SETUP_KEYS, "ready", "may_exit")
_SHELL = ("|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1")


def read_commands(problems: Problems, table: str, key: str, given: object) -> tuple[CommandPlan, ...]:
    """Read `run` or `setup` of a node, and add its errors to `problems`."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple):
        problems.add(table, key, f"is {given!r}, which is not a list", 'Write ["python3 -m http.server 80"].')
        return ()
    commands = [
        _command(problems, f"{table}.{key}[{index}]", each, _SETUP_KEYS if key == "setup" else _RUN_KEYS)
        for index, each in enumerate(given)
    ]
    return tuple(command for command in commands if command is not None)


def _command(problems: Problems, table: str, given: object, keys: tuple[str, ...]) -> CommandPlan | None:
    arguments: tuple[str, ...] = ()
    if not isinstance(given, dict):
        arguments = problems.read(table, "", _arguments, given, arguments)
        return CommandPlan(arguments=arguments) if arguments else None
    problems.check_keys(table, given, keys)

    def read(key: str, parser: Callable[[Any], T], default: T) -> T:
        return problems.read(table, key, parser, given[key], default) if key in given else default

    arguments = problems.read(table, "command", _arguments, given.get("command", ""), arguments)
    command = CommandPlan(
        arguments=arguments,
        timeout=read("timeout", units.seconds, 10.0),
        may_exit=read("may_exit", boolean, False),
        env=tuple(read_env(problems, table, given.get("env", {})).items()),
        user=read("user", read_owner, ""),
        cwd=read("cwd", absolute_path, ""),
        **(_ready(problems, table, given["ready"]) if "ready" in given else {}),
    )
    return command if arguments else None


def _ready(problems: Problems, table: str, given: object) -> dict[str, Any]:
    """Return the fields of a CommandPlan that say when the program is ready."""
    values = problems.table(table, "ready", given, 'Write { port = 80 } or { line = "listening" }.')
    problems.check_keys(f"{table}.ready", values, _READY)
    if isinstance(given, dict) and not set(_READY) & set(values):
        problems.add(table, "ready", "is empty", f"Give {', '.join(list(_READY)[:-1])} or {list(_READY)[-1]}.")
    read = {
        f"ready_{key}": problems.read(f"{table}.ready", key, parser, values[key], None)
        for key, parser in _READY.items()
        if key in values
    }
    return {key: value for key, value in read.items() if value is not None}


def _arguments(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        try:
            arguments = shlex.split(given)
        except ValueError as error:
            raise InvalidValueError(
                f"is {given!r}, which cannot be split into words: {error}", "Close the quotes, or write a list."
            ) from None
        if shell := [word for word in arguments if word in _SHELL]:
            hint = f"Write {['sh', '-c', given]}.".replace("'", '"')
            raise InvalidValueError(f"contains {shell[0]!r}, but there is no shell", hint)
    elif isinstance(given, list) and all(isinstance(each, str) for each in given):
        arguments = given
    else:
        raise InvalidValueError(
            f"is {given!r}, which is not a command", 'Write "python3 -m http.server 80", or a list of words.'
        )
    if not arguments or not arguments[0].strip():
        raise InvalidValueError("is empty", 'Write a command such as "python3 -m http.server 80".')
    if any("\0" in each for each in arguments):
        raise InvalidValueError(f"is {given!r}, which contains a NUL", "Remove the NUL.")
    return tuple(arguments)


def _port(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 65_535:
        raise InvalidValueError(f"is {value!r}, which is not a port", "Set 1 to 65535.")
    return value


def _pattern(value: object) -> str:
    pattern = names.text(value, 'Write a regular expression such as "listening".')
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidValueError(
            f"is {value!r}, which is not a regular expression: {error}", "Escape special characters with \\."
        ) from None
    return pattern


def _exit_status(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 255:
        raise InvalidValueError(f"is {value!r}, which is not an exit status", "Set 0 to 255.")
    return value


_READY: dict[str, Callable[[Any], Any]] = {
    "port": _port,
    "udp": _port,
    "line": _pattern,
    "path": absolute_path,
    "command": _arguments,
    "exit": _exit_status,
}


def boolean(value: object) -> bool:
    """Check a boolean. Raises InvalidValueError."""
    if not isinstance(value, bool):
        raise InvalidValueError(f"is {value!r}, which is not a boolean", "Write true or false, without quotes.")
    return value


def read_env(problems: Problems, table: str, given: object) -> dict[str, str]:
    """Read a table of environment variables, and add its errors to `problems`."""
    env = {}
    for name, value in problems.table(table, "env", given, 'Write { "MODE" = "test" }.').items():
        if not name or "=" in name or "\0" in name:
            problems.add(f"{table}.env", name, "is not a variable name", "Remove = and NUL.")
        elif type(value) is int or (isinstance(value, str) and "\0" not in value):
            env[name] = str(value)
        else:
            problems.add(f"{table}.env", name, f"is {value!r}, which is not a value", "Write a string or a number.")
    return env
