"""The files outside the project that pytest's options tell it to write; they are copied back from the container.

Other files outside the project are not copied: the container's /etc/hosts must not replace this machine's.
Source: docs.pytest.org, "Command-line flags", and the documentation of the plugins.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_OPTIONS = (
    "--junitxml", "--junit-xml", "--log-file", "--tunlab-record-dir", "--html", "--report-log", "--json-report-file",
    "--alluredir", "--csv", "--md-report-output", "--benchmark-json", "--benchmark-storage", "--profile-svg-path",
)  # fmt: skip
"""Options of pytest, tunlab and well-known plugins whose value is a file or directory to write."""

_COVERAGE = "--cov-report"
"""An option with the value TYPE:PATH."""

_INI = ("-o", "--override-ini")
_SETTINGS = ("log_file", "tunlab_record_dir")
"""Settings of the ini file that correspond to one of _OPTIONS."""


def addopts(environment: Mapping[str, str]) -> list[str]:
    """Return the arguments in PYTEST_ADDOPTS, none if it is not valid: pytest itself reports that."""
    try:
        return shlex.split(environment.get("PYTEST_ADDOPTS", ""))
    except ValueError:
        return []


def outside_paths(arguments: Sequence[str], directory: Path, root: Path) -> list[Path]:
    """Return the output paths in pytest's arguments that are not below `root`.

    Args:
        arguments: pytest's arguments.
        directory: The working directory, for relative paths.
        root: The project's directory.
    """
    paths = (Path(os.path.normpath(directory / value)) for value in _output_values(arguments))
    return list(dict.fromkeys(path for path in paths if not path.is_relative_to(root)))


def _output_values(arguments: Sequence[str]) -> Iterator[str]:
    for each, following in zip(arguments, (*arguments, "")[1:], strict=True):
        option, equals, value = each.partition("=")
        if each.startswith("-o") and each != "-o":
            option, value = "-o", each[2:]
        elif not equals:
            value = following
        if option in _INI:
            setting, _, value = value.partition("=")
            value = value if setting in _SETTINGS else ""
        elif option == _COVERAGE:
            value = value.partition(":")[2]
        elif option not in _OPTIONS:
            continue
        if value:
            yield value
