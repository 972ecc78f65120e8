"""The image that a suite runs in: tunlab, pytest and pytest-xdist on a Python, built from tunlab's own Dockerfile.

Where tunlab was installed its source is put together again from what its wheel has brought, so that no registry needs
to know this version.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import tunlab
from tunlab.engines.images.build import Progress, ensure_image
from tunlab.engines.project.archive import project_files
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine

BASE_VARIABLE = "TUNLAB_BASE_IMAGE"
"""The environment variable that names the image to build on; "{python}" in it stands for the version asked for."""

NAME = "tunlab-suite"
_BESIDE = ("Dockerfile", "pyproject.toml", "README.md", "LICENSE")


def source() -> dict[str, bytes]:
    """What tunlab is built from, and its Dockerfile: content by relative path. Raises EngineError if it is not whole.

    Of a checkout, its files; else what the wheel holds of them.
    """
    package = Path(tunlab.__file__).parent
    root = package.parent
    if all((root / name).is_file() for name in _BESIDE) and (root / "lab").is_dir():
        wanted = (*_BESIDE, "tunlab/", "lab/")
        return {name: (root / name).read_bytes() for name in project_files(root) if name.startswith(wanted)}
    found = {}
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        if name.startswith("engines/source/"):
            name = name.removeprefix("engines/source/")
        elif name.startswith("labs/"):
            name = "lab/" + name.removeprefix("labs/")
        else:
            name = f"tunlab/{name}"
        found[name] = path.read_bytes()
    if missing := [name for name in _BESIDE if name not in found]:
        problem = f"the tunlab in {package} lacks {', '.join(missing)}, from which its image is built"
        raise EngineError(problem, remedy="install it from a wheel, or name an image (--image)")
    return found


def base_image(python: str = "") -> str:
    """The image to build on for a version of Python, "" for any; "" for the Dockerfile's own."""
    given = os.environ.get(BASE_VARIABLE, "")
    if "{python}" in given:
        return given.replace("{python}", python or "3.13")
    return f"python:{python}-slim-bookworm" if python else given


def ensure_suite_image(
    engine: Engine,
    *,
    python: str = "",
    packages: str = "",
    extras: str = "",
    progress: Progress | None = None,
) -> str:
    """The tag of the image, built unless it is there.

    python     version, "3.12"; "" for what the Dockerfile or TUNLAB_BASE_IMAGE has
    packages   Debian packages, with spaces between; ping's is there without
    extras     tunlab's own, as "test"

    Raises EngineError.
    """
    arguments = {"EXTRAS": extras, "BASE_IMAGE": base_image(python)}
    if packages:
        arguments["PROGRAMS"] = f"iputils-ping {packages}"
    given = {name: value for name, value in arguments.items() if value}
    return ensure_image(engine, NAME, source(), arguments=given, progress=progress)
