"""Comparison of the workers' Python, pytest, pytest-xdist and tunlab with the controller's, before the first test.

Versions with which the run cannot work, or would test something else than is installed here, are errors. A pytest
plugin that the workers lack is only reported. Most plugins come with a library (hypothesis, anyio) and do nothing for
the suite; if the suite does need one, an import or a fixture fails. But if a plugin that acts by itself is missing,
such as one for timeouts or random order, only this report shows it. If the run names a missing plugin, by -p,
required_plugins or one of its options, the worker exits before its first test; `startup_error` reports that. Otherwise
pytest-xdist would print a traceback and start one more worker after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tunlab.errors import EngineError

MINIMUM_PYTHON = (3, 11)


class Environment(NamedTuple):
    """The versions that are installed for the controller or for a worker.

    Attributes:
        python: The Python version, such as "3.11.2".
        versions: The versions of pytest, pytest-xdist and tunlab; "" if not installed.
        plugins: The distributions that provide pytest plugins, with their versions.
        kernel: The kernel's release.
    """

    python: str
    versions: Mapping[str, str]
    plugins: Mapping[str, str]
    kernel: str = ""

    @classmethod
    def from_worker(cls, facts: Mapping[str, Any]) -> Environment:
        """Return the environment from the result of worker_boot's `installed_versions`."""
        return cls(facts["python"], facts["versions"], facts["plugins"], facts.get("kernel", ""))

    @property
    def python_release(self) -> tuple[int, ...]:
        """Python's major and minor version."""
        return _release(self.python)


def local_environment(plugins: Mapping[str, str]) -> Environment:
    """Return the controller's environment.

    Args:
        plugins: The distributions whose plugins pytest has loaded. Workers do not need any other plugin.
    """
    import os

    from tunlab.engines.workers.worker_boot import installed_versions

    facts = installed_versions()
    return Environment(facts["python"], facts["versions"], plugins, os.uname().release)


def check_compatible(controller: Environment, worker: Environment, *, engine: str, image: str) -> None:
    """Raise EngineError if a worker's versions do not work with the controller's, or differ where they must not."""
    other_image = "name another image in --tunlab-image"
    subject = f"the image {image}"
    if worker.python_release < MINIMUM_PYTHON:
        problem = f"{subject} has Python {worker.python}; workers need 3.11 or later"
        raise EngineError(problem, engine=engine, remedy=other_image)
    for name, local in controller.versions.items():
        installed = worker.versions.get(name, "")
        if not installed:
            remedy = f"install {name}=={local} in the image, or {other_image}"
            raise EngineError(f"{subject} has no {name}", engine=engine, remedy=remedy)
        exact = name == "tunlab"
        if (installed != local) if exact else (_release(installed) != _release(local)):
            problem = f"{subject} has {name} {installed}, but this machine has {local}"
            raise EngineError(problem, engine=engine, remedy=f"install the same version in both, or {other_image}")


def missing_plugins(controller: Environment, worker: Environment) -> list[str]:
    """Return the distributions whose plugins pytest has loaded here and which the worker lacks."""
    known = {_normalize(name) for name in worker.plugins}
    return sorted(name for name in controller.plugins if _normalize(name) not in known)


def startup_error(traceback: str, missing: Sequence[str], *, engine: str, image: str) -> EngineError:
    """Return the error for a worker that exited before its first test.

    Args:
        traceback: The worker's traceback.
        missing: The result of `missing_plugins`.
        engine: The engine's name, or `rootless`.
        image: The worker's image, "" for a worker without a container.
    """
    remedy = ""
    if missing:
        options = " ".join(f"-p no:{name}" for name in _entry_points(missing))
        remedy = f"install {', '.join(missing)} in the image {image}, or disable them here: {options}"
    elif image:
        remedy = f"install what the run needs in the image {image}, or name another image in --tunlab-image"
    return EngineError(f"a worker does not start: {_last_error(traceback)}", engine=engine, remedy=remedy)


def _last_error(traceback: str) -> str:
    """Return the last error message in a traceback, without the `UsageError:` prefix."""
    lines = traceback.rpartition('\n  File "')[2].splitlines()
    messages = [line for line in lines[1:] if line[:1].strip()] or lines[-1:]
    for line in messages:  # argparse prints usage lines first, so search all lines for its error.
        if ": error: " in line:
            return line.partition(": error: ")[2]
    return re.sub(r"^[\w.]*\bUsageError: ", "", messages[0])


def _entry_points(distributions: Sequence[str]) -> list[str]:
    """Return pytest's names of the plugins that these distributions provide on this machine."""
    from importlib.metadata import entry_points

    wanted = {_normalize(name) for name in distributions}
    found = {each.name for each in entry_points(group="pytest11") if each.dist and _normalize(each.dist.name) in wanted}
    return sorted(found) or list(distributions)


def check_same_python(workers: Iterable[tuple[str, Environment]]) -> None:
    """Raise EngineError if workers that share the tests have different Python releases."""
    releases: dict[tuple[int, ...], str] = {}
    for engine, environment in workers:
        releases.setdefault(environment.python_release, f"{engine} has Python {environment.python}")
    if len(releases) > 1:
        problem = f"the workers have different Python versions: {'; '.join(releases.values())}"
        remedy = "use the same image on all engines, or run every test on each of them: --dist each"
        raise EngineError(problem, remedy=remedy)


def differences(controller: Environment, workers: Sequence[tuple[str, Environment]]) -> list[str]:
    """Return a line for each allowed difference between a worker's environment and the controller's."""
    found = list[str]()
    for engine, environment in workers:
        if environment.python_release != controller.python_release:
            found.append(f"{engine}: Python {environment.python}, here {controller.python}")
        if missing := missing_plugins(controller, environment):
            found.append(f"{engine}: workers lack {', '.join(missing)}, which pytest has loaded here")
    return list(dict.fromkeys(found))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _normalize(name: str) -> str:
    """Return a distribution's name in the form that packaging tools compare."""
    return re.sub(r"[-_.]+", "-", name).lower()
