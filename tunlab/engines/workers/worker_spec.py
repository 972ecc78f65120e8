"""The values of `--tunlab-workers`: SPEC or SPEC*N.

    'local*2'   ctx:builder   'ssh://host*4'   'unix:///run/other.sock*2'   'rootless*2'

SPEC names an engine (see tunlab.engines.connection.endpoint), or is `rootless`: workers in user namespaces of this
machine, without containers. Quote it, because a shell expands the star; zsh fails with "no matches found".
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tunlab.errors import EngineError

ROOTLESS = "rootless"
_MAX_WORKERS = 512


class WorkerSpec(NamedTuple):
    """An engine or `rootless`, and the number of workers: 0 for one per processor."""

    spec: str
    workers: int = 0


def parse_worker_specs(specs: Sequence[str]) -> list[WorkerSpec]:
    """Parse the values of `--tunlab-workers`, and add up the workers of an engine that is named more than once.

    Raises:
        EngineError: A value is invalid.
    """
    found: dict[str, int] = {}
    for spec in specs:
        name, star, number = spec.strip().rpartition("*")
        if not star:
            name, number = number, "0"
        elif not number.isdecimal() or not 1 <= int(number) <= _MAX_WORKERS:
            problem = f"--tunlab-workers {spec}: {number!r} is not a number of workers"
            raise EngineError(problem, remedy=f"write '{name or 'local'}*2', with 1 to {_MAX_WORKERS}")
        if not name:
            problem = f"--tunlab-workers {spec!r} does not name an engine"
            raise EngineError(problem, remedy="write 'local*2' or 'rootless*2'")
        if name in found and 0 in (found[name], int(number)):
            problem = f"--tunlab-workers has {name} twice, once without a number"
            raise EngineError(problem, remedy=f"name it once, with the number of workers: '{name}*4'")
        found[name] = found.get(name, 0) + int(number)
    return [WorkerSpec(name, workers) for name, workers in found.items()]


def rootless_python() -> list[str]:
    """Return the command that runs Python in a user namespace."""
    return [sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable]


def check_rootless() -> None:
    """Raise EngineError with the reason if this machine does not allow user namespaces."""
    trial = subprocess.run([*rootless_python(), "-c", ""], capture_output=True, text=True, check=False)
    if trial.returncode:
        raise EngineError(trial.stderr.strip(), engine=ROOTLESS)
