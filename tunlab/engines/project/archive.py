"""The project's files, and tar archives that copy files to and from containers.

Source: tar(5) for the pax format that tarfile writes, gitignore(5).
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tunlab.errors import EngineError

_IGNORED = frozenset((
    ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "__pycache__", ".pytest_cache", ".mypy_cache",
    ".ruff_cache", ".hypothesis", ".import_linter_cache", ".eggs", "node_modules",
))  # fmt: skip
"""Directories that are ignored in projects without git."""

_BUILD_OUTPUT = frozenset(("build", "dist"))
"""Directories that are ignored only at the root, because a package may be named `build`."""

_LARGE_PROJECT = 50_000_000  # total size in bytes above which a warning is shown


def project_files(root: Path) -> list[str]:
    """Return the project's files, relative to `root` and sorted.

    In a git repository these are the tracked files and the untracked files that git does not ignore. Otherwise all
    files outside caches, virtual environments and build directories.
    """
    return sorted(_git_files(root) or _walk(root))


def _git_files(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--deduplicate"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except OSError:  # Git is not installed.
        return []
    if done.returncode:  # The directory is not in a git repository.
        return []
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    # Leave out deleted files, which git lists until the deletion is staged, and submodules, which are directories.
    return [name for name in names if (root / name).is_symlink() or (root / name).is_file()]


def _walk(root: Path) -> Iterator[str]:
    for directory, below, files in os.walk(root):
        ignored = _IGNORED | _BUILD_OUTPUT if Path(directory) == root else _IGNORED
        below[:] = [
            name for name in below if name not in ignored and not (Path(directory) / name / "pyvenv.cfg").exists()
        ]
        for name in files:
            path = Path(directory) / name
            if path.is_symlink() or path.is_file():  # Leave out sockets and FIFOs.
                yield str(path.relative_to(root))


def matching_files(root: Path, pattern: str) -> list[str]:
    """Return the files that match a glob pattern, and those in matching directories, even if git ignores them.

    Caches, virtual environments and build directories are left out unless the pattern names them.
    """
    ignored = _IGNORED.difference(PurePosixPath(pattern).parts)
    build_output = _BUILD_OUTPUT.difference(PurePosixPath(pattern).parts)
    found = set[str]()
    for match in root.glob(pattern):
        for path in match.rglob("*") if match.is_dir() else (match,):
            name = path.relative_to(root)
            if name.parts[0] in build_output:
                continue
            if ignored.isdisjoint(name.parts) and path.is_file() and not _in_virtual_environment(root, name):
                found.add(name.as_posix())
    return sorted(found)


def _in_virtual_environment(root: Path, name: Path) -> bool:
    return any((root / parent / "pyvenv.cfg").exists() for parent in name.parents[:-1])


def size_warning(root: Path, names: Iterable[str]) -> str:
    """Return a warning that names the largest directories if the files exceed 50 MB, else ""."""
    by_directory = Counter[str]()
    for name in names:
        with contextlib.suppress(OSError):  # A file may have been deleted since the listing; `pack` reports it.
            by_directory[name.rpartition("/")[0] or "."] += (root / name).lstat().st_size
    if by_directory.total() <= _LARGE_PROJECT:
        return ""
    largest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in by_directory.most_common(3))
    return (
        f"the project's files are {by_directory.total() / 1e6:.0f} MB, and are copied to the container for each run"
        f" ({largest}): add those that the tests do not need to .gitignore, or mount them"
    )


@contextmanager
def translate_file_errors() -> Iterator[None]:
    """Raise EngineError for an OSError from the project's files. Do not use an engine inside the block."""
    try:
        yield
    except FileNotFoundError as error:
        # An editor deleted its temporary file, or a build deleted a file in order to write it again.
        problem = f"{error.filename} was deleted while the project's files were read"
        raise EngineError(problem, remedy="run the command again") from error
    except OSError as error:
        problem = f"{error.filename or 'a file of the project'} cannot be read: {error.strerror or error}"
        remedy = "make the file readable, or add it to .gitignore, because tunlab copies the project to the container"
        raise EngineError(problem, remedy=remedy) from error


def pack(root: Path, names: Iterable[str]) -> bytes:
    """Return a tar archive of files below `root`, with their directories.

    The owner of all entries is root: in a container with few capabilities even root cannot write to others' files.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        directories = set[str]()
        for name in names:
            for parent in reversed(PurePosixPath(name).parents[:-1]):
                if str(parent) not in directories:
                    directories.add(str(parent))
                    tar.add(root / parent, str(parent), recursive=False, filter=_set_owner_root)
            tar.add(root / name, name, recursive=False, filter=_set_owner_root)
    return buffer.getvalue()


def _set_owner_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def unpack(archive: IO[bytes], root: Path, *, below: str) -> list[Path]:
    """Write the regular files of a tar archive's directory `below` to `root`; return their paths, sorted.

    If `below` is a file in the archive, it is written to `root` itself. Entries that would be written outside `root`,
    through ".." or a symbolic link, are skipped: archives from containers are not trusted.
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
                while chunk := content.read(1 << 20):
                    file.write(chunk)
            written.append(target)
    return sorted(written)
