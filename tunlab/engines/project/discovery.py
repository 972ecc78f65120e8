"""A user's project, as it is to be run in a container: its root, its files, what it needs to be installed.

Source: packaging.python.org for pyproject.toml; docs.pytest.org, "rootdir", for what marks a root.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunlab.engines.project.archive import matching, project_files
from tunlab.errors import EngineError, TopologyError

FILE, TABLE = "pyproject.toml", ("tool", "tunlab", "test")
"""Where a project says what its suite needs in a container."""

_MARKS = (FILE, "pytest.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py")
_TEST_EXTRAS = ("test", "tests", "testing")


def find_root(directory: Path) -> Path:
    """The project that a directory is in: what git takes for its root; else the nearest with a project's file."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"], cwd=directory, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and directory.is_relative_to(top := Path(done.stdout.removesuffix("\n"))):
            return top
    except OSError:  # there is no git
        pass
    whole = (Path("/"), Path.home())  # no project, whatever lies in it
    near = [each for each in (directory, *directory.parents) if each not in whole]
    marked = (each for each in near if any((each / name).is_file() for name in _MARKS))
    return next(marked, directory)


def is_tunlab(root: Path) -> bool:
    """Whether the project is tunlab itself: its image has the suite's package installed, from its own Dockerfile."""
    return section(root, "project").get("name") == "tunlab" and (root / "Dockerfile").is_file()


def needs(root: Path) -> list[str]:
    """What pip is to install for a project that does not say: itself with its test extra, or its requirements.txt."""
    if section(root, "project"):
        extras = section(root, "project", "optional-dependencies")
        extra = next((name for name in _TEST_EXTRAS if name in extras), "")
        return [f"-e .[{extra}]" if extra else "-e ."]
    return ["-r requirements.txt"] if (root / "requirements.txt").is_file() else []


def files(root: Path, include: Sequence[str] = ()) -> list[str]:
    """The project's files by their names, sorted, and those that it asks for beside them.

    include   patterns, as in [tool.tunlab.test]

    Raises TopologyError for a pattern that nothing fits: without what it means the suite is another.
    """
    found = set(project_files(root))
    for pattern in include:
        more = matching(root, pattern)
        if not more:
            problem = f"no file matches {pattern!r}"
            raise wrong(root, "include", problem, "generate the files first, or remove the pattern")
        found.update(more)
    return sorted(found)


def wrong(root: Path, key: str, problem: str, hint: str) -> TopologyError:
    """The error for a setting of the project's that cannot be."""
    return _error(root, ".".join(TABLE), key, problem, hint)


def _error(root: Path, table: str, key: str, problem: str, hint: str) -> TopologyError:
    """Return an error with `problem` after the key's name, and `hint` as a sentence."""
    hint = f"{hint[:1].upper()}{hint[1:]}{'' if hint.endswith(('?', '.')) else '.'}" if hint else ""
    return TopologyError(f"is invalid: {problem}", file=str(root / FILE), table=table, key=key, hint=hint)


def section(root: Path, *path: str) -> dict[str, Any]:
    """A table of the project's pyproject.toml by its path, empty where there is none.

    Raises TopologyError for what is not a table, and EngineError for what is no TOML.
    """
    found = _whole(root)
    for depth, key in enumerate(path):
        value = found.get(key, {})
        if not isinstance(value, dict):
            hint = f"write [{'.'.join(path[: depth + 1])}] and its keys below that"
            above = ".".join(path[:depth])
            raise _error(root, above, key, f"{value!r} is not a table", hint)
        found = value
    return found


def _whole(root: Path) -> dict[str, Any]:
    file = root / FILE
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"{file}: {error}", remedy="mend it: it says what the suite needs") from error
