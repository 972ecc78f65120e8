"""The inputs of a project's image: the files that require a new build when they change.

With `pip install -e`, Python imports the project's files from the project's directory, which is copied to the container
for each run. Then only files that declare requirements or are compiled are inputs. If pip installs from a local path
without -e, it copies files into the image, and every file of the project is an input. In cases of doubt every file is
an input too: an unnecessary build costs time, but a missing one would test old code.

Source: pip.pypa.io, "Requirements File Format" and "pip install"; packaging.python.org, `dynamic`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_DECLARING = (
    "pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in", "hatch.toml", "uv.lock", "poetry.lock", "pdm.lock",
    "CMakeLists.txt", "meson.build", "Cargo.toml", "Cargo.lock",
)  # fmt: skip
_COMPILED = (
    ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".pyx", ".pxd", ".pxi", ".rs", ".go", ".f", ".f90", ".s", ".S",
)  # fmt: skip

_EDITABLE = re.compile(r"(?:^|\s)(?:-e|--editable)[\s=]*\S+")
_REQUIREMENTS = re.compile(r"(?:^|\s)(?:-r|--requirement|-c|--constraint|--build-constraint)[\s=]*(\S+)")
_LOCAL = re.compile(r"(?:^|\s)(?:[./]|-f|--find-links|[^\s:]+/)|file:")
_ARCHIVE = re.compile(r"\S+\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)(?=\s|$)")


def image_inputs(root: Path, names: Sequence[str], install: str) -> list[str]:
    """Return the names of the files that are inputs of the image, sorted.

    Args:
        root: The project's directory.
        names: All files of the project, relative to `root`.
        install: The arguments of `pip install`.
    """
    texts, requirements = _requirement_files(root, names, install)
    archives = {PurePosixPath(found).name for text in texts for found in _ARCHIVE.findall(text)}
    if any(_installs_a_copy(text) for text in texts):
        return sorted(names)
    editable = any(_EDITABLE.search(text) for text in texts)
    found = requirements | _dynamic_inputs(root, names)
    for name in names:
        base = name.rpartition("/")[2]
        declares = base in _DECLARING or base in archives or (name.endswith(".txt") and "require" in name)
        if declares or (editable and name.endswith(_COMPILED)):
            found.add(name)
    return sorted(found)


def _requirement_files(root: Path, names: Sequence[str], install: str) -> tuple[list[str], set[str]]:
    """Return the texts of `install` and of all requirements files it includes, and the names of these files.

    Files are compared by their last path component only, because the paths in them are relative to various directories.
    """
    texts, found = [install], set[str]()
    for text in texts:
        wanted = {PurePosixPath(path).name for path in _REQUIREMENTS.findall(text)}
        for name in names:
            if name not in found and name.rpartition("/")[2] in wanted:
                found.add(name)
                content = (root / name).read_text(encoding="utf-8", errors="replace")
                texts.append(re.sub(r"(?m)(^|\s)#.*$", "", content.replace("\\\n", "")))
    return texts, found


def _installs_a_copy(text: str) -> bool:
    """Return True if pip may copy files of the project into the image. Wheels and source archives do not count."""
    return any(
        _LOCAL.search(_ARCHIVE.sub("", _REQUIREMENTS.sub("", _EDITABLE.sub("", line)))) for line in text.splitlines()
    )


def _dynamic_inputs(root: Path, names: Sequence[str]) -> set[str]:
    """Return the files that a pyproject.toml with dynamic fields mentions, such as a list of dependencies."""
    found = set[str]()
    for name in names:
        path = PurePosixPath(name)
        if path.name == "pyproject.toml":
            text = (root / name).read_text(encoding="utf-8", errors="replace")
            if "dynamic" in text:
                quoted = {str(path.parent / each) for each in re.findall(r"""["']([^"'\n]+)["']""", text)}
                found |= quoted.intersection(names)
    return found
