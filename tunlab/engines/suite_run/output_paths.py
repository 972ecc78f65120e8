"""What pytest is told to write outside the project: only what its options name is carried back from there.

Whatever else a container has written outside stays in it: a test's /etc/hosts is not this machine's.
Source: docs.pytest.org, "Command-line flags"; the documentation of each plugin that has such an option.
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
"""Options of pytest, of tunlab and of well-known plugins whose value is a file or a directory to write."""

_COVERAGE = "--cov-report"
"""Its value is KIND:PLACE."""

_INI = ("-o", "--override-ini")
_SETTINGS = ("log_file", "tunlab_record_dir")
"""Settings that say the same as an option."""


def added(environment: Mapping[str, str]) -> list[str]:
    """The arguments that pytest takes from its environment; none from what it will refuse itself."""
    try:
        return shlex.split(environment.get("PYTEST_ADDOPTS", ""))
    except ValueError:
        return []


def outside(arguments: Sequence[str], here: Path, root: Path) -> list[Path]:
    """The places that pytest's arguments name and that are not below `root`; relative ones begin `here`."""
    places = (Path(os.path.normpath(here / value)) for value in _named(arguments))
    return list(dict.fromkeys(place for place in places if not place.is_relative_to(root)))


def _named(arguments: Sequence[str]) -> Iterator[str]:
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
