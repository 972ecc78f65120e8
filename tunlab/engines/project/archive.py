"""Files as a tar: what a container is given, and what it gives back.

Source: tar(5) as Python's tarfile writes it (pax), gitignore(5).
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

JUNK = frozenset((
    ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "__pycache__", ".pytest_cache", ".mypy_cache",
    ".ruff_cache", ".hypothesis", ".import_linter_cache", ".eggs", "node_modules",
))  # fmt: skip
"""Directories that are never part of a project, for projects without git."""

_BUILD_OUTPUT = frozenset(("build", "dist"))
"""Ignored at the root only: further down, `build` may be a package."""

HEAVY = 50_000_000
"""Octets of which carrying them is worth a word."""


def project_files(root: Path) -> list[str]:
    """The project's files, relative to `root`, sorted: those that git knows or would add; else all but junk."""
    return sorted(_by_git(root) or _by_looking(root))


def _by_git(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--deduplicate"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except OSError:  # there is no git
        return []
    if done.returncode:  # nor is it a repository
        return []
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    # Deleted ones are in git's index still; a submodule is a directory.
    return [name for name in names if (root / name).is_symlink() or (root / name).is_file()]


def _by_looking(root: Path) -> Iterator[str]:
    for directory, below, files in os.walk(root):
        ignored = JUNK | _BUILD_OUTPUT if Path(directory) == root else JUNK
        below[:] = [
            name for name in below if name not in ignored and not (Path(directory) / name / "pyvenv.cfg").exists()
        ]
        for name in files:
            path = Path(directory) / name
            if path.is_symlink() or path.is_file():  # no socket, no FIFO
                yield str(path.relative_to(root))


def matching(root: Path, pattern: str) -> list[str]:
    """The files that a pattern fits, or that are below a directory that it fits, whether or not git ignores them.

    Junk stays out, unless the pattern names it itself.
    """
    named = JUNK.difference(PurePosixPath(pattern).parts)
    output = _BUILD_OUTPUT.difference(PurePosixPath(pattern).parts)
    found = set[str]()
    for match in root.glob(pattern):
        for path in match.rglob("*") if match.is_dir() else (match,):
            name = path.relative_to(root)
            if name.parts[0] in output:
                continue
            if named.isdisjoint(name.parts) and path.is_file() and not _in_an_environment(root, name):
                found.add(name.as_posix())
    return sorted(found)


def _in_an_environment(root: Path, name: Path) -> bool:
    return any((root / parent / "pyvenv.cfg").exists() for parent in name.parents[:-1])


def heavy(root: Path, names: Iterable[str]) -> str:
    """That the files take their time and memory to be carried, and where most of it is; "" where they are not many."""
    by_directory = Counter[str]()
    for name in names:
        with contextlib.suppress(OSError):  # gone since it was listed: `packed` says so
            by_directory[name.rpartition("/")[0] or "."] += (root / name).lstat().st_size
    if by_directory.total() <= HEAVY:
        return ""
    largest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in by_directory.most_common(3))
    return (
        f"the project's files are {by_directory.total() / 1e6:.0f} MB, held in memory and carried in at each run"
        f" ({largest}): let git ignore what the tests do not need, or mount it"
    )


def packed(root: Path, names: Iterable[str], more: Mapping[str, bytes] | None = None) -> bytes:
    """A tar of the files of these names below `root`, and of texts by theirs.

    All are root's: in a container with few capabilities root itself may not write to others' files. Equal files make
    equal octets but for their times.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        directories = set[str]()
        for name in names:
            for parent in reversed(PurePosixPath(name).parents[:-1]):
                if str(parent) not in directories:
                    directories.add(str(parent))
                    tar.add(root / parent, str(parent), recursive=False, filter=_roots)
            tar.add(root / name, name, recursive=False, filter=_roots)
        for name, content in (more or {}).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _roots(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def unpacked(archive: IO[bytes], root: Path, *, below: str) -> list[Path]:
    """Write the plain files of a tar that are in its directory `below` to `root`; returns where they are, sorted.

    If `below` is a file there, it becomes `root` itself.

    A name that leaves `root`, by ".." or over a link, is passed over: what comes from a container is not trusted.
    """
    written = []
    with tarfile.open(fileobj=archive) as tar:
        for entry in tar:
            name = PurePosixPath(entry.name)
            if not entry.isfile() or not name.is_relative_to(below) or ".." in name.parts:
                continue
            target = root / name.relative_to(below)
            within = root.parent if target == root else root
            if not target.parent.resolve().is_relative_to(within.resolve()) or target.is_symlink():
                continue
            content = tar.extractfile(entry)
            if content is None:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                while piece := content.read(1 << 20):
                    file.write(piece)
            written.append(target)
    return sorted(written)
