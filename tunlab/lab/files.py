"""Lab files on disk: those that somebody names, and the ready ones that come with tunlab.

The ready labs are the folder lab/ of the project. A wheel carries them inside the package, as tunlab/labs.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from tunlab.errors import TopologyError
from tunlab.topology import LabSpec, parse_lab

SUFFIX = ".toml"


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
    """Its text. Raises TopologyError where it cannot be read, or is no text."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise TopologyError(f"{error.strerror}", file=str(file), hint="give a lab file, or none") from error
    except UnicodeDecodeError as error:
        raise TopologyError("no text", file=str(file), hint="give a lab file, TOML in UTF-8") from error


def spec_of_file(file: Path) -> LabSpec:
    """What the file says. Raises TopologyError with all that is wrong with it."""
    return parse_lab(read_lab_file(file), str(file))
