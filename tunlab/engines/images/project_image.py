"""An image with the dependencies of a user's project, without its files: they are copied to the container for each run.

Source: packaging.python.org; pip.pypa.io, "Local project installs"; the Dockerfile reference, COPY and RUN.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tunlab.engines.images.build import Progress, ensure_image, image_tag
from tunlab.engines.images.image_inputs import image_inputs

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine

_NAME = "tunlab-project"
_LIST = ".tunlab-copied"

_REMOVE_COPIED_FILES = f"""
import contextlib, os
with open({_LIST!r}, "rb") as file:
    files, directories = (part.split(b"\\0") for part in file.read().split(b"\\0\\0"))
for path in files:
    with contextlib.suppress(OSError):
        os.unlink(path)
for path in directories:
    with contextlib.suppress(OSError):
        os.rmdir(path)
""".strip()
"""A Python program that removes the files copied for the installation from the image.

If they stayed, a file that was deleted in the project would still exist in later runs. Files that the installation
created (compiled modules, egg-info) stay, with the directories that contain them.
"""


def ensure_project_image(
    engine: Engine,
    base: str,
    root: Path,
    names: Sequence[str],
    install: Sequence[str],
    *,
    progress: Progress | None = None,
) -> str:
    """Build an image with a project's dependencies unless the engine has it; return its tag.

    Args:
        engine: The engine that builds it.
        base: The image to build on.
        root: The project's directory.
        names: The project's files, relative to `root`.
        install: Arguments of `pip install`, quoted as in a shell; pip runs in the project's directory.
        progress: Called with each line of the build's output.

    Raises:
        EngineError: The build failed; the error has pip's output.
    """
    names = [name for name in names if (root / name).is_file()]  # Leave out symbolic links to directories.
    arguments = [word for each in install for word in shlex.split(each)]
    command = ["python3", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", *arguments]
    lines = [
        f"FROM {base}",
        f"WORKDIR {json.dumps(str(root))}",
        'COPY [".", "."]',
        f"RUN {json.dumps(command)}",
        f"RUN {json.dumps(['python3', '-c', _REMOVE_COPIED_FILES])}",
    ]
    dockerfile = "\n".join(lines).encode() + b"\n"
    inputs = {name: (root / name).read_bytes() for name in image_inputs(root, names, " ".join(arguments))}
    tag = image_tag(_NAME, {**inputs, "Dockerfile": dockerfile}, {})
    context: Mapping[str, bytes] = _LazyContext(root, names, {"Dockerfile": dockerfile, _LIST: _copied_list(names)})
    return ensure_image(engine, _NAME, context, progress=progress, tag=tag)


def _copied_list(names: Sequence[str]) -> bytes:
    """Return the list that _REMOVE_COPIED_FILES reads: files, two NULs, their directories, deepest first.

    Names are separated by one NUL. COPY also copies the Dockerfile.
    """
    directories = {str(parent) for name in names for parent in PurePosixPath(name).parents[:-1]}
    deepest_first = sorted(directories, key=lambda path: (-path.count("/"), path))
    files = ["Dockerfile", _LIST, *names]
    return b"\0\0".join(b"\0".join(os.fsencode(each) for each in part) for part in (files, deepest_first))


class _LazyContext(dict[str, bytes]):
    """A build context that reads the project's files on access, because usually no build is needed."""

    def __init__(self, root: Path, names: Sequence[str], generated: Mapping[str, bytes]) -> None:
        super().__init__({**dict.fromkeys(names, b""), **generated})
        self._root = root

    def __getitem__(self, name: str) -> bytes:
        return super().__getitem__(name) or (self._root / name).read_bytes()
