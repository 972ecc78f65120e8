"""The image that a suite runs in: Python, tunlab, pytest and pytest-xdist, built from tunlab's Dockerfile.

If tunlab was installed from a wheel, the build context is reconstructed from the installed files, so that the build
does not depend on this version being in a package index.
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
"""The environment variable that names the base image; "{python}" in it is replaced by the requested Python version."""

NAME = "tunlab-suite"
_ROOT_FILES = ("Dockerfile", "pyproject.toml", "README.md", "LICENSE")


def tunlab_source() -> dict[str, bytes]:
    """Return tunlab's source and Dockerfile, as contents by relative path, from the checkout or the installed wheel.

    Raises:
        EngineError: The installation lacks some of the files.
    """
    package = Path(tunlab.__file__).parent
    root = package.parent
    if all((root / name).is_file() for name in _ROOT_FILES) and (root / "lab").is_dir():
        wanted = (*_ROOT_FILES, "tunlab/", "lab/")
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
    if missing := [name for name in _ROOT_FILES if name not in found]:
        problem = f"the installation of tunlab in {package} lacks {', '.join(missing)}, which its image is built from"
        raise EngineError(problem, remedy="install tunlab from a wheel, or name an image with --image")
    return found


def base_image(python: str = "") -> str:
    """Return the base image for a Python version ("" for any version), "" for the Dockerfile's default."""
    image = os.environ.get(BASE_VARIABLE, "")
    if "{python}" in image:
        return image.replace("{python}", python or "3.13")
    return f"python:{python}-slim-bookworm" if python else image


def ensure_suite_image(
    engine: Engine,
    *,
    python: str = "",
    packages: str = "",
    extras: str = "",
    progress: Progress | None = None,
) -> str:
    """Build the image unless the engine has it; return its tag.

    Args:
        engine: The engine that builds it.
        python: The Python version, such as "3.12"; "" for the version in the Dockerfile or TUNLAB_BASE_IMAGE.
        packages: Names of Debian packages, separated by spaces, in addition to iputils-ping.
        extras: tunlab's extras to install, such as "test".
        progress: Called with each line of the build's output.

    Raises:
        EngineError: The build failed.
    """
    arguments = {"EXTRAS": extras, "BASE_IMAGE": base_image(python)}
    if packages:
        arguments["PROGRAMS"] = f"iputils-ping {packages}"
    non_empty = {name: value for name, value in arguments.items() if value}
    return ensure_image(engine, NAME, tunlab_source(), arguments=non_empty, progress=progress)
