"""Which of a project's files decide what its image holds: when one of them changes the image is made anew.

An editable installation points at the project's files, which are carried in at each run: a change of the code needs no
new image, but a change of what is compiled does. Any other installation of the project copies it into the image.

Source: pip.pypa.io, "Requirements File Format" and "pip install"; packaging.python.org, `dynamic`.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_DECLARING = (
    "pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in", "hatch.toml", "uv.lock", "poetry.lock", "pdm.lock",
    "CMakeLists.txt", "meson.build", "Cargo.toml", "Cargo.lock",
)  # fmt: skip
_COMPILED = (
    ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".pyx", ".pxd", ".pxi", ".rs", ".go", ".f", ".f90", ".s", ".S",
)  # fmt: skip
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_NESTED = ("-r", "--requirement", "-c", "--constraint", "--build-constraint")
_EDITABLE = ("-e", "--editable")
_PLACES = ("-f", "--find-links")
_VALUED = (*_NESTED, *_EDITABLE, *_PLACES)
_EXTRAS = re.compile(r"\[[^\]]*\]$")


@dataclass
class _Named:
    """What pip's arguments name in the project.

    files     by their names
    editable  whether anything of it is installed so that its files are used where they are
    whole     whether anything of it is copied into the image
    """

    files: set[str] = field(default_factory=set)
    editable: bool = False
    whole: bool = False


def decisive(root: Path, names: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Those of the project's files, sorted.

    names      all of its files, relative to `root`
    arguments  pip's, word by word; relative paths begin at `root`
    """
    named = _Named()
    _follow(root, set(names), arguments, "", named)
    if named.whole:
        return sorted(names)
    found = {name for name in names if _declares(name) or (named.editable and name.endswith(_COMPILED))}
    for name in names:
        if name.rpartition("/")[2] == "pyproject.toml":
            found |= _dynamic(root, name, set(names))
    return sorted(found | (named.files & set(names)))


def _declares(name: str) -> bool:
    return name.rpartition("/")[2] in _DECLARING or (name.endswith(".txt") and "require" in name)


def _follow(root: Path, names: set[str], words: Sequence[str], beside: str, named: _Named) -> None:
    """Note what these words name, and what the files of requirements among them do.

    beside   the directory of the file that the words are in, where its -r, -c and -f begin
    """
    for option, value in _read(words):
        if option in _NESTED:
            name = _within(root, beside, value)
            if name in names and name not in named.files:
                named.files.add(name)
                folder = name.rpartition("/")[0]
                for line in _lines((root / name).read_text(encoding="utf-8", errors="replace")):
                    _follow(root, names, line, folder, named)
            continue
        for place in {_within(root, "", value), _within(root, beside if option in _PLACES else "", value)}:
            if place is None:
                continue
            if place in names:
                named.files.add(place)
            elif (root / place).is_dir():
                named.editable |= option in _EDITABLE
                named.whole |= option not in _EDITABLE


def _read(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values, and under "" what is to be installed from a path. Others are not about files."""
    rest = iter(words)
    for word in rest:
        long, equals, value = word.partition("=")
        if word in _VALUED:
            yield word, next(rest, "")
        elif long.startswith("--"):
            if equals and long in _VALUED:
                yield long, value
        elif word[:2] in _VALUED:
            yield word[:2], word[2:]
        elif _is_path(word):
            yield "", word


def _is_path(word: str) -> bool:
    """As pip tells a path from a project's name."""
    plain = _EXTRAS.sub("", word)
    return plain.startswith((".", "file:")) or ("/" in plain and "://" not in plain) or plain.endswith(_ARCHIVES)


def _within(root: Path, beside: str, value: str) -> str | None:
    """A path or a file: URL as a name in the project, "." for itself; None if it is not in there."""
    plain = _EXTRAS.sub("", value.partition("#")[0])
    plain = plain.removeprefix("file:").removeprefix("//") if plain.startswith("file:") else plain
    name = os.path.relpath(os.path.normpath(root / beside / plain), root)
    return None if name.split("/")[0] == ".." else name


def _lines(text: str) -> Iterator[list[str]]:
    """The lines of a file of requirements, each as words."""
    for line in re.sub(r"\\\n", "", text).splitlines():
        said = re.sub(r"(^|\s+)#.*", "", line).strip()
        try:
            yield shlex.split(said)
        except ValueError:  # an apostrophe in a marker or a path: pip does not mind
            yield said.split()


def _dynamic(root: Path, file: str, names: set[str]) -> set[str]:
    """The files that a pyproject.toml names anywhere, if its project leaves anything to be found in files."""
    try:
        table = tomllib.loads((root / file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):  # a test's own
        return set()
    project = table.get("project")
    if not isinstance(project, dict) or not project.get("dynamic"):
        return set()
    beside = PurePosixPath(file).parent
    return {str(beside / text) for text in _texts(table)} & names


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
