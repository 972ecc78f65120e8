"""The image and the settings of the workers' containers, from the project and its [tool.tunlab.test] table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from tunlab.engines.containers.container_labels import new_run_id
from tunlab.engines.project import discovery, settings
from tunlab.engines.project.archive import pack, size_warning, translate_file_errors
from tunlab.engines.workers.worker_container import ContainerSettings

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.containers.container import Privileges

PASSED_VARIABLES = ("CI", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS", "PYTHONHASHSEED", "TZ")
"""Environment variables that are passed to the containers; `env` in [tool.tunlab.test] adds others."""


class WorkerSetup:
    """The image and the settings of the containers of a run.

    Attributes:
        root: The project's directory, the same path in the containers as on this machine.
        directory: The working directory: root or a directory below it.
    """

    def __init__(self, rootdir: Path, directory: Path, *, image: str = "", privileges: Privileges = "least") -> None:
        """Read the settings of the project that contains pytest's root directory.

        Args:
            rootdir: pytest's root directory.
            directory: The working directory.
            image: An image to use instead of the project's.
            privileges: "privileged", "least" or "none", as for Container.create.

        Raises:
            TopologyError: A setting of the project is invalid.
        """
        self.root, self.directory = discovery.find_root(rootdir), directory
        self._project_settings = settings.read_settings(self.root)
        self._image = image or str(self._project_settings.get("image", ""))
        self._privileges: Privileges = privileges
        self._is_tunlab = discovery.is_tunlab(self.root)
        self._names = discovery.list_files(self.root, self._project_settings.get("include", ()))

    def container_settings(self) -> ContainerSettings:
        """Return the settings of the containers. Raises EngineError if a file of the project cannot be read."""
        names = self._names
        if self._is_tunlab:  # The tests import the tunlab package that is installed in the image.
            names = [name for name in names if not name.startswith("tunlab/")]
        below = self.root.relative_to("/")
        with translate_file_errors():
            archive = pack(Path("/"), [str(below / name) for name in names])
        return ContainerSettings(
            run=new_run_id(),
            directory=str(self.directory),
            archive=archive,
            privileges=self._privileges,
            capabilities=tuple(self._project_settings.get("capabilities", ())),
            environment=_environment(self._project_settings.get("env", ()), os.environ),
            mounts=dict(settings.parse_mount(each) for each in self._project_settings.get("mounts", ())),
        )

    def ensure_image(self, engine: Engine, announce: Callable[[str], None]) -> str:
        """Pull or build the workers' image unless the engine has it; return its tag.

        Args:
            engine: The engine.
            announce: Called with a line of text when a pull or a build starts.

        Raises:
            EngineError: The image cannot be pulled or built.
        """
        from tunlab.engines.images.build import pull_image
        from tunlab.engines.images.project_image import ensure_project_image
        from tunlab.engines.images.suite_image import ensure_suite_image

        def announce_once(text: str) -> Callable[[str], None]:
            announced: list[str] = []

            def progress(_: str) -> None:
                if not announced:
                    announced.append(text)
                    announce(f"{engine.name}: {text}")

            return progress

        if warning := size_warning(self.root, self._names):
            announce(f"{engine.name}: {warning}")
        if self._image:
            pull_image(engine, self._image, progress=announce_once(f"pulling the image {self._image}"))
            return self._image
        packages = " ".join(self._project_settings.get("packages", ()))
        extras = "test" if self._is_tunlab else ""
        progress = announce_once("building the workers' image")
        base = ensure_suite_image(engine, packages=packages, extras=extras, progress=progress)
        install = [each for each in self._project_settings.get("install", ()) if each.strip()]
        if "install" not in self._project_settings and not self._is_tunlab:
            install = discovery.default_install(self.root)
        if not install:
            return base
        progress = announce_once(f"building the workers' image with {', '.join(install)}")
        return ensure_project_image(engine, base, self.root, self._names, install, progress=progress)

    def container_sys_path(self, sys_path: Sequence[str], prefixes: Sequence[str]) -> list[str]:
        """Return the entries of sys.path that are directories of the project, and so exist in the containers.

        Args:
            sys_path: The controller's sys.path.
            prefixes: Directories of Python installations and virtual environments, whose entries are left out.
        """
        found = []
        for entry in sys_path:
            path = PurePath(self.directory, entry)
            inside = path.is_relative_to(self.root) or path == self.directory
            if inside and not any(path.is_relative_to(prefix) for prefix in prefixes):
                found.append(str(path))
        return found


def _environment(entries: Sequence[str], current: Mapping[str, str]) -> dict[str, str]:
    """Return the containers' environment variables from `env` entries (NAME or NAME=VALUE) and the current ones."""
    found: dict[str, Any] = {name: current[name] for name in PASSED_VARIABLES if name in current}
    for each in entries:
        name, assigned, value = each.partition("=")
        if assigned:
            found[name] = value
        elif name in current:
            found[name] = current[name]
    return found
