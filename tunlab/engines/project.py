"""A user's project, as it is to be run in a container: its root, its own settings, what it needs to be installed.

Source: packaging.python.org for pyproject.toml; docs.pytest.org, "rootdir", for what marks a root.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

from tunlab.errors import EngineError, TopologyError

_MARKS = ("pyproject.toml", "pytest.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py")
_SETTINGS = {"install": list, "packages": list, "capabilities": list, "image": str, "env": list}
_TEST_EXTRAS = ("test", "tests", "testing")


def root_of(directory: Path) -> Path:
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
    return _table(root).get("project", {}).get("name") == "tunlab" and (root / "Dockerfile").is_file()


def settings(root: Path) -> dict[str, Any]:
    """The table [tool.tunlab.test] of the project. Raises TopologyError for what it cannot say."""
    given: dict[str, Any] = _table(root).get("tool", {}).get("tunlab", {}).get("test", {})
    file, table = str(root / "pyproject.toml"), "tool.tunlab.test"
    for key, value in given.items():
        if key not in _SETTINGS:
            from difflib import get_close_matches

            close = get_close_matches(key, _SETTINGS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its keys are: {', '.join(_SETTINGS)}"
            raise TopologyError("unknown key", file=file, table=table, key=key, hint=hint)
        kind = _SETTINGS[key]
        if not isinstance(value, kind) or (kind is list and not all(isinstance(each, str) for each in value)):
            kind_word, hint = ("list of texts", 'write ["…", "…"]') if kind is list else ("text", 'write "…"')
            raise TopologyError(f"{value!r} is no {kind_word}", file=file, table=table, key=key, hint=hint)
    return given


def needs(root: Path) -> list[str]:
    """What pip is to install for a project that does not say: itself with its test extra, or its requirements.txt."""
    table = _table(root)
    if "project" in table:
        extras = table["project"].get("optional-dependencies", {})
        extra = next((name for name in _TEST_EXTRAS if name in extras), "")
        return [f"-e .[{extra}]" if extra else "-e ."]
    return ["-r requirements.txt"] if (root / "requirements.txt").is_file() else []


def _table(root: Path) -> dict[str, Any]:
    file = root / "pyproject.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"{file}: {error}", remedy="mend it: it says what the suite needs") from error
