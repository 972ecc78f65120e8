"""What workers in containers are given: an image, the project's files at their own path, variables, rights.

The project, its files, and what it says in [tool.tunlab.test] are the same as for `tunlab test`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from tunlab.engines.containers.container_labels import new_run_id
from tunlab.engines.project import discovery, settings
from tunlab.engines.project.archive import heavy, packed
from tunlab.engines.project.file_errors import reading
from tunlab.engines.workers.worker_container import Settings

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers.container import Privileges

HANDED_ON = ("CI", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS", "PYTHONHASHSEED", "TZ")
"""Variables of this environment that mean the same in a container; others are named in [tool.tunlab.test] env."""


class Provision:
    """What the workers of a run are given.

    root        the project's directory, here and inside
    directory   in which they begin: root, or below it
    """

    def __init__(self, rootdir: Path, directory: Path, *, image: str = "", privileges: Privileges = "least") -> None:
        """Look at the project that pytest's root directory is in. Raises TopologyError for settings that cannot be."""
        self.root, self.directory = discovery.find_root(rootdir), directory
        self._said = settings.of(self.root)
        self._named = image or str(self._said.get("image", ""))
        self._privileges: Privileges = privileges
        self._own = discovery.is_tunlab(self.root)
        self._names = discovery.files(self.root, self._said.get("include", ()))

    def settings(self) -> Settings:
        """For the containers. Raises EngineError for a file that cannot be read."""
        names = self._names
        if self._own:  # the package is the one that the image has installed
            names = [name for name in names if not name.startswith("tunlab/")]
        below = self.root.relative_to("/")
        with reading():
            archive = packed(Path("/"), [str(below / name) for name in names])
        return Settings(
            run=new_run_id(),
            directory=str(self.directory),
            archive=archive,
            privileges=self._privileges,
            capabilities=tuple(self._said.get("capabilities", ())),
            environment=_environment(self._said.get("env", ()), os.environ),
            mounts=dict(settings.mount(each) for each in self._said.get("mounts", ())),
        )

    def image(self, engine: Engine, begins: Callable[[str], None]) -> str:
        """The workers' image on an engine, fetched or built if it is not there.

        begins   told what is made, before that takes its time

        Raises EngineError.
        """
        from tunlab.engines.images.build import pull_image
        from tunlab.engines.images.project_image import ensure_project_image
        from tunlab.engines.images.suite_image import ensure_suite_image

        def telling(what: str) -> Callable[[str], None]:
            told: list[str] = []

            def progress(_: str) -> None:
                if not told:
                    told.append(what)
                    begins(f"{engine.name}: {what}")

            return progress

        if told := heavy(self.root, self._names):
            begins(f"{engine.name}: {told}")
        if self._named:
            pull_image(engine, self._named, progress=telling(f"fetching the image {self._named}"))
            return self._named
        packages = " ".join(self._said.get("packages", ()))
        extras = "test" if self._own else ""
        progress = telling("building the workers' image")
        base = ensure_suite_image(engine, packages=packages, extras=extras, progress=progress)
        said = [each for each in self._said.get("install", ()) if each.strip()]
        needed = said if said or "install" in self._said or self._own else discovery.needs(self.root)
        if not needed:
            return base
        progress = telling(f"building the workers' image with {', '.join(needed)}")
        return ensure_project_image(engine, base, self.root, self._names, needed, progress=progress)

    def path_inside(self, path: Sequence[str], prefixes: Sequence[str]) -> list[str]:
        """The entries of sys.path that are carried in; what is installed here is not: that comes from the image.

        prefixes   of Python installations and virtual environments
        """
        found = []
        for entry in path:
            place = PurePath(self.directory, entry)
            inside = place.is_relative_to(self.root) or place == self.directory
            if inside and not any(place.is_relative_to(prefix) for prefix in prefixes):
                found.append(str(place))
        return found


def _environment(named: Sequence[str], ours: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, Any] = {name: ours[name] for name in HANDED_ON if name in ours}
    for each in named:
        name, assigned, value = each.partition("=")
        if assigned:
            found[name] = value
        elif name in ours:
            found[name] = ours[name]
    return found
