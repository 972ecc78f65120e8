"""The root of a user's project, its files, its pyproject.toml and what pip installs for it.

Source: packaging.python.org for pyproject.toml; docs.pytest.org, "rootdir", for the files that mark a root.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunlab.engines.project.archive import matching_files, project_files
from tunlab.errors import EngineError, TopologyError

FILE, TABLE = "pyproject.toml", ("tool", "tunlab", "test")
"""The file and the table with the settings of `tunlab test`."""

_ROOT_MARKERS = (FILE, "pytest.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py")
_TEST_EXTRAS = ("test", "tests", "testing")


def find_root(directory: Path) -> Path:
    """Return the root of the project that contains a directory.

    This is the root of the git repository, else the nearest directory with a project file, else the directory itself.
    """
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"], cwd=directory, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and directory.is_relative_to(top := Path(done.stdout.removesuffix("\n"))):
            return top
    except OSError:  # Git is not installed.
        pass
    excluded = (Path("/"), Path.home())  # / and the home directory are never a project, even with a setup.cfg.
    candidates = [each for each in (directory, *directory.parents) if each not in excluded]
    marked = (each for each in candidates if any((each / name).is_file() for name in _ROOT_MARKERS))
    return next(marked, directory)


def is_tunlab(root: Path) -> bool:
    """Return True if the project is tunlab itself, which the suite image already has installed."""
    return read_table(root, "project").get("name") == "tunlab" and (root / "Dockerfile").is_file()


def default_install(root: Path) -> list[str]:
    """Return pip's arguments for a project without `install`: itself with its test extra, or requirements.txt."""
    if read_table(root, "project"):
        extras = read_table(root, "project", "optional-dependencies")
        extra = next((name for name in _TEST_EXTRAS if name in extras), "")
        return [f"-e .[{extra}]" if extra else "-e ."]
    return ["-r requirements.txt"] if (root / "requirements.txt").is_file() else []


def list_files(root: Path, include: Sequence[str] = ()) -> list[str]:
    """Return the project's files, relative to `root` and sorted.

    Args:
        root: The project's directory.
        include: Patterns for files to add even if git ignores them: `include` of [tool.tunlab.test].

    Raises:
        TopologyError: No file matches one of the patterns.
    """
    found = set(project_files(root))
    for pattern in include:
        matches = matching_files(root, pattern)
        if not matches:
            problem = f"no file matches {pattern!r}"
            raise setting_error(root, "include", problem, "generate the files first, or remove the pattern")
        found.update(matches)
    return sorted(found)


def setting_error(root: Path, key: str, problem: str, hint: str) -> TopologyError:
    """Return the error for an invalid value in [tool.tunlab.test]."""
    return _key_error(root, ".".join(TABLE), key, problem, hint)


def _key_error(root: Path, table: str, key: str, problem: str, hint: str) -> TopologyError:
    """Return the error for an invalid value in pyproject.toml, with `hint` as its second sentence."""
    return TopologyError(f"is invalid: {problem}", file=str(root / FILE), table=table, key=key, hint=hint)


def read_table(root: Path, *path: str) -> dict[str, Any]:
    """Return a table of the project's pyproject.toml, empty if it does not exist.

    Args:
        root: The project's directory.
        *path: The table's name in parts, such as "tool", "tunlab", "test".

    Raises:
        TopologyError: A part of the path is not a table.
        EngineError: The file is not readable, or is not TOML.
    """
    found = _read_pyproject(root)
    for depth, key in enumerate(path):
        value = found.get(key, {})
        if not isinstance(value, dict):
            hint = f"write [{'.'.join(path[: depth + 1])}] and its keys below that line"
            above = ".".join(path[:depth])
            raise _key_error(root, above, key, f"{value!r} is not a table", hint)
        found = value
    return found


def _read_pyproject(root: Path) -> dict[str, Any]:
    file = root / FILE
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        remedy = "correct the file, because tunlab reads the suite's settings from it"
        raise EngineError(f"{file}: {error}", remedy=remedy) from error
