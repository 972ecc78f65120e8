"""Find and read lab files, including the ready labs: the lab files that come with tunlab.

The ready labs are in the folder lab/ of the repository, which a wheel contains as tunlab/labs.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from tunlab.errors import TopologyError
from tunlab.topology import LabSpec, parse_lab

SUFFIX = ".toml"

PIPE_TIMEOUT = 30.0
"""Seconds to wait for more data from a pipe."""

_LARGEST = 1 << 20  # maximum size of a lab file in bytes


def ready_labs() -> dict[str, Path]:
    """Return the path of each ready lab (a lab file that comes with tunlab) by its name, sorted."""
    package = Path(__file__).parents[1]
    for directory in (package / "labs", package.parent / "lab"):
        if files := sorted(directory.glob(f"*{SUFFIX}")):
            return {file.stem: file for file in files}
    return {}


def find_lab_file(name_or_path: str, directories: Sequence[Path] = (Path(),)) -> Path:
    """Return the path of a lab file, given its path or the name of a ready lab, with or without ".toml".

    Args:
        name_or_path: the path of the file, or the name of a ready lab.
        directories: the folders that are searched for a relative path, before the ready labs.

    Raises:
        TopologyError: if it is a directory, or there is no such file or ready lab. Another path with "/" is returned
            unchecked.
    """
    for directory in directories:
        file = directory / name_or_path
        if file.exists() and not file.is_dir():  # is_file() would be False for a pipe, which is accepted too
            return file
    ready = ready_labs()
    if (name := name_or_path.removesuffix(SUFFIX)) in ready:
        return ready[name]
    is_directory = any((directory / name_or_path).is_dir() for directory in directories)
    if "/" in name_or_path and not is_directory:
        return directories[0] / name_or_path
    close = get_close_matches(name, ready, n=1)
    suggestion = f"Did you mean {close[0]}? " if close else ""
    problem = "this is a directory, not a lab file" if is_directory else "there is no such file or ready lab"
    raise TopologyError(problem, file=name_or_path, hint=f"{suggestion}The ready labs are {', '.join(ready)}.")


def read_lab_file(file: Path) -> str:
    """Return the text of a file or pipe. Raises TopologyError if it is unreadable, too large, or not UTF-8."""
    try:
        data = _read(file)
        if len(data) > _LARGEST:
            raise TopologyError(
                f"too large to be a lab file (more than {_LARGEST >> 20} MiB)", file=str(file), hint="Check the path."
            )
        return data.decode()
    except TimeoutError:
        problem = f"no data from this pipe for {PIPE_TIMEOUT:g} s"
        raise TopologyError(problem, file=str(file), hint="Start the program that writes to the pipe first.") from None
    except OSError as error:
        hint = "Give a readable lab file, or none for the default lab."
        raise TopologyError(f"{error.strerror}", file=str(file), hint=hint) from error
    except UnicodeDecodeError as error:
        raise TopologyError("not UTF-8 text", file=str(file), hint="Give a lab file: TOML in UTF-8.") from error


def _read(file: Path) -> bytes:
    """Read the file until its end, or until more than _LARGEST bytes are read. Raises OSError, TimeoutError."""
    # Without O_NONBLOCK, open(2) of a pipe would wait for a writer without a timeout.
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        limit = PIPE_TIMEOUT * 1000 if stat.S_ISFIFO(os.fstat(fd).st_mode) else None
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        data = b""
        while len(data) <= _LARGEST:
            if not poll.poll(limit):
                raise TimeoutError
            part = os.read(fd, _LARGEST + 1)
            if not part:
                break
            data += part
        return data
    finally:
        os.close(fd)


def read_spec(file: Path, *, check_machine: bool = False) -> LabSpec:
    """Return the checked content of a lab file. Raises TopologyError with every error in it.

    Args:
        file: the lab file.
        check_machine: also report programs and files that this machine does not have.
    """
    text = read_lab_file(file)
    if not check_machine:
        return parse_lab(text, str(file))
    from tunlab.lab.build.preflight import missing_requirements

    return parse_lab(text, str(file), lambda nodes: missing_requirements(nodes, file))
