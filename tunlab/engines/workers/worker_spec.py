"""Where workers are to run, from what `--tunlab-workers` says: SPEC or SPEC*N.

    'local*2'   ctx:builder   'ssh://host*4'   'unix:///run/other.sock*2'   'rootless*2'

In quotes, for a shell takes the star for names of files; zsh ends with "no matches found".

SPEC is an engine's (tunlab.engines.connection.endpoint), or `rootless`: on this machine, without any container.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tunlab.errors import EngineError

ROOTLESS = "rootless"
_MOST = 512


class WorkerSpec(NamedTuple):
    """An engine, or `rootless`, and how many workers: 0 for as many as it has processors."""

    spec: str
    workers: int = 0


def places(specs: Sequence[str]) -> list[WorkerSpec]:
    """What was asked for, each engine once. Raises EngineError for what cannot be meant."""
    found: dict[str, int] = {}
    for spec in specs:
        name, star, number = spec.strip().rpartition("*")
        if not star:
            name, number = number, "0"
        elif not number.isdecimal() or not 1 <= int(number) <= _MOST:
            problem = f"--tunlab-workers {spec}: {number!r} is not a number of workers"
            raise EngineError(problem, remedy=f"write '{name or 'local'}*2', with 1 to {_MOST}")
        if not name:
            raise EngineError(f"--tunlab-workers {spec!r} names no engine", remedy="write 'local*2', or 'rootless*2'")
        if name in found and 0 in (found[name], int(number)):
            problem = f"--tunlab-workers has {name} twice, once without a number"
            raise EngineError(problem, remedy=f"say once how many: '{name}*4'")
        found[name] = found.get(name, 0) + int(number)
    return [WorkerSpec(name, workers) for name, workers in found.items()]


def rootless() -> list[str]:
    """The "python" of a worker in a user namespace."""
    return [sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable]


def check_rootless() -> None:
    """Raise EngineError if this machine has no user namespace for us, with what stands against it."""
    trial = subprocess.run([*rootless(), "-c", ""], capture_output=True, text=True, check=False)
    if trial.returncode:
        raise EngineError(trial.stderr.strip(), engine=ROOTLESS)
