"""An image with what a user's project needs, and with none of its files: those are carried in at each run.

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

_TAKE_OUT = f"""
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
"""Removes from the image what was copied for the installation: a file that the project has no more would live on there,
under those that a run carries in. What the installation has made beside them (a compiled module, an egg-info) stays,
and with it the directories that it is in.
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
    """An image upon `base` with what a project needs: its tag. Made anew when what says what it needs has changed.

    names     the project's files, relative to `root`
    install   arguments of pip, each as one writes them in a shell; run in the project's directory

    Raises EngineError with pip's output.
    """
    names = [name for name in names if (root / name).is_file()]  # no link to a directory
    arguments = [word for each in install for word in shlex.split(each)]
    command = ["python3", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", *arguments]
    lines = [
        f"FROM {base}",
        f"WORKDIR {json.dumps(str(root))}",
        'COPY [".", "."]',
        f"RUN {json.dumps(command)}",
        f"RUN {json.dumps(['python3', '-c', _TAKE_OUT])}",
    ]
    dockerfile = "\n".join(lines).encode() + b"\n"
    says = {name: (root / name).read_bytes() for name in image_inputs(root, names, " ".join(arguments))}
    tag = image_tag(_NAME, {**says, "Dockerfile": dockerfile}, {})
    context: Mapping[str, bytes] = _Lazily(root, names, {"Dockerfile": dockerfile, _LIST: _listed(names)})
    return ensure_image(engine, _NAME, context, progress=progress, tag=tag)


def _listed(names: Sequence[str]) -> bytes:
    """All that is copied, two NULs, the directories that are made for it, the innermost first; NUL between two names.

    The Dockerfile of the build is copied too.
    """
    directories = {str(parent) for name in names for parent in PurePosixPath(name).parents[:-1]}
    innermost = sorted(directories, key=lambda path: (-path.count("/"), path))
    files = ["Dockerfile", _LIST, *names]
    return b"\0\0".join(b"\0".join(os.fsencode(each) for each in part) for part in (files, innermost))


class _Lazily(dict[str, bytes]):
    """The project's files as a build's context, read when they are needed: mostly the image is there."""

    def __init__(self, root: Path, names: Sequence[str], made: Mapping[str, bytes]) -> None:
        super().__init__({**dict.fromkeys(names, b""), **made})
        self._root = root

    def __getitem__(self, name: str) -> bytes:
        return super().__getitem__(name) or (self._root / name).read_bytes()
