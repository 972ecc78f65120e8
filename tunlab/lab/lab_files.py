"""Lab files on disk: those that somebody names, and the ready ones that come with tunlab.

The ready labs are the folder lab/ of the project. A wheel carries them inside the package, as tunlab/labs.
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
"""Seconds for which the next octets of a pipe are waited for."""

_LARGEST = 1 << 20  # octets


def ready_labs() -> dict[str, Path]:
    """The files of the ready labs by their names, in the order of the alphabet."""
    package = Path(__file__).parents[1]
    for directory in (package / "labs", package.parent / "lab"):
        if files := sorted(directory.glob(f"*{SUFFIX}")):
            return {file.stem: file for file in files}
    return {}


def find_lab_file(which: str, beside: Sequence[Path] = (Path(),)) -> Path:
    """The file that is meant by a path, or by the name of a ready lab with or without ".toml".

    beside   the folders in which a relative path is looked for, in that order, before the ready labs

    Raises TopologyError for what is neither. A path with a "/" may lead to a file that is not there.
    """
    for directory in beside:
        file = directory / which
        if file.exists() and not file.is_dir():  # a pipe will do as well
            return file
    ready = ready_labs()
    if (name := which.removesuffix(SUFFIX)) in ready:
        return ready[name]
    if "/" in which:
        return beside[0] / which
    close = get_close_matches(name, ready, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    problem = "there is no such file, and no ready lab of that name"
    raise TopologyError(problem, file=which, hint=f"{meant}the ready labs are {', '.join(ready)}")


def read_lab_file(file: Path) -> str:
    """Its text, also of a pipe. Raises TopologyError where it cannot be read, is too large, no text, or never ends."""
    try:
        octets = _octets(file)
        if len(octets) > _LARGEST:
            problem = f"it has more than {_LARGEST >> 20} MiB, and no lab file is so large"
            raise TopologyError(problem, file=str(file), hint="give a lab file")
        return octets.decode()
    except TimeoutError:
        problem = f"it is a pipe, and for {PIPE_TIMEOUT:g} s nobody has written into it"
        raise TopologyError(problem, file=str(file), hint="give a lab file, or begin with who writes") from None
    except OSError as error:
        raise TopologyError(f"{error.strerror}", file=str(file), hint="give a lab file, or none") from error
    except UnicodeDecodeError as error:
        raise TopologyError("no text", file=str(file), hint="give a lab file, TOML in UTF-8") from error


def _octets(file: Path) -> bytes:
    """What is in it, or more than _LARGEST octets of that. Raises OSError, TimeoutError."""
    # Not blocking: else open(2) would wait for whoever writes into a pipe, for ever.
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        limit = PIPE_TIMEOUT * 1000 if stat.S_ISFIFO(os.fstat(fd).st_mode) else None
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        octets = b""
        while len(octets) <= _LARGEST:
            if not poll.poll(limit):
                raise TimeoutError
            part = os.read(fd, _LARGEST + 1)
            if not part:
                break
            octets += part
        return octets
    finally:
        os.close(fd)


def read_spec(file: Path, *, here: bool = False) -> LabSpec:
    """What the file says. Raises TopologyError with all that is wrong with it.

    here   whether it is to be made here: then what this machine lacks for it is wrong too
    """
    text = read_lab_file(file)
    if not here:
        return parse_lab(text, str(file))
    from tunlab.lab.build.preflight import missing_requirements

    return parse_lab(text, str(file), lambda nodes: missing_requirements(nodes, file))
