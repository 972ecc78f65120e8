"""Whether a worker's side fits the controller's: asked before the first test, told in a sentence.

Refused is what cannot work, or would test something else than is installed here. A plugin that the workers lack is only
told of: most have come with a library (hypothesis, anyio) and do nothing for this suite, and which of them it needs
nobody knows before it runs. What it needs is missed aloud: an import or a fixture fails, an async test is not run, a
key of the ini file is unknown. One that works unasked (a time limit, an order by chance) is missed in silence: for it
there is the line. A plugin that the run names, by -p, required_plugins or an option, keeps the worker from beginning:
that is told by `startup_error`, where pytest-xdist would show a traceback, and begin another worker, and another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tunlab.errors import EngineError

OLDEST = (3, 11)


class Environment(NamedTuple):
    """What is installed on one side.

    python     "3.11.2"
    versions   of pytest, pytest-xdist and tunlab; "" for one that is missing
    plugins    distributions that bring pytest plugins, with their versions
    kernel     its release
    """

    python: str
    versions: Mapping[str, str]
    plugins: Mapping[str, str]
    kernel: str = ""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Environment:
        """From what worker_boot says."""
        return cls(facts["python"], facts["versions"], facts["plugins"], facts.get("kernel", ""))

    @property
    def release(self) -> tuple[int, ...]:
        """The Python's major and minor version."""
        return _release(self.python)


def here(plugins: Mapping[str, str]) -> Environment:
    """The controller's side.

    plugins   those that pytest has loaded here; one that is installed and switched off need not be there
    """
    import os

    from tunlab.engines.workers.worker_boot import installed

    facts = installed()
    return Environment(facts["python"], facts["versions"], plugins, os.uname().release)


def check_compatible(controller: Environment, worker: Environment, *, engine: str, image: str) -> None:
    """Raise EngineError where the two cannot work together, or would test something else than is installed here."""
    fit = "name an image that fits in --tunlab-image"
    where = f"the image {image}"
    if worker.release < OLDEST:
        raise EngineError(f"{where} has Python {worker.python}; workers need 3.11 or later", engine=engine, remedy=fit)
    for name, ours in controller.versions.items():
        theirs = worker.versions.get(name, "")
        if not theirs:
            raise EngineError(f"{where} has no {name}", engine=engine, remedy=f"install {name}=={ours} in it, or {fit}")
        exact = name == "tunlab"
        if (theirs != ours) if exact else (_release(theirs) != _release(ours)):
            problem = f"{where} has {name} {theirs}, and here it is {ours}"
            raise EngineError(problem, engine=engine, remedy=f"install the same on both sides, or {fit}")


def lacking(controller: Environment, worker: Environment) -> list[str]:
    """The distributions whose plugins pytest has loaded here, and which are not there."""
    known = {_normal(name) for name in worker.plugins}
    return sorted(name for name in controller.plugins if _normal(name) not in known)


def startup_error(traceback: str, lacks: Sequence[str], *, engine: str, image: str) -> EngineError:
    """The error for a worker that ended before its first test, by the traceback that it left.

    lacks   what `lacking` says of it
    image   "" for a worker without one
    """
    remedy = ""
    if lacks:
        out = " ".join(f"-p no:{name}" for name in _entry_points(lacks))
        remedy = f"it has no {', '.join(lacks)}: install what is missing in the image {image}, or do without: {out}"
    elif image:
        remedy = f"the image {image} has to have what the run asks for, or name one that fits in --tunlab-image"
    return EngineError(f"a worker cannot begin: {_sentence(traceback)}", engine=engine, remedy=remedy)


def _sentence(traceback: str) -> str:
    """What the exception at the end of a traceback says; of pytest's own for a user's mistake without its name."""
    lines = traceback.rpartition('\n  File "')[2].splitlines()
    said = [line for line in lines[1:] if line[:1].strip()] or lines[-1:]
    for line in said:  # argparse's: its usage stands before it
        if ": error: " in line:
            return line.partition(": error: ")[2]
    return re.sub(r"^[\w.]*\bUsageError: ", "", said[0])


def _entry_points(distributions: Sequence[str]) -> list[str]:
    """The names by which pytest knows the plugins that these distributions have brought here."""
    from importlib.metadata import entry_points

    wanted = {_normal(name) for name in distributions}
    found = {each.name for each in entry_points(group="pytest11") if each.dist and _normal(each.dist.name) in wanted}
    return sorted(found) or list(distributions)


def check_same_python(workers: Iterable[tuple[str, Environment]]) -> None:
    """Raise EngineError where workers that share the tests have different Pythons: which one ran a test is chance."""
    seen: dict[tuple[int, ...], str] = {}
    for engine, side in workers:
        seen.setdefault(side.release, f"{engine} has Python {side.python}")
    if len(seen) > 1:
        problem = f"the workers have different Pythons: {'; '.join(seen.values())}"
        remedy = "give all engines the same image, or run every test on each: --dist each"
        raise EngineError(problem, remedy=remedy)


def differences(controller: Environment, workers: Sequence[tuple[str, Environment]]) -> list[str]:
    """What differs and may: a line each, for the report's head."""
    found = list[str]()
    for engine, side in workers:
        if side.release != controller.release:
            found.append(f"{engine}: Python {side.python}, here {controller.python}")
        if lacks := lacking(controller, side):
            found.append(f"{engine}: workers have no {', '.join(lacks)}, which pytest has loaded here")
    return list(dict.fromkeys(found))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
