"""DownWatcher: tells a program that reads packets of a persistent lab when the lab is taken down.

A program's open socket keeps a namespace alive after `down`, so the program would wait for packets for ever.
Taking a lab down unmounts its namespaces.
Source: proc_pid_mounts(5): poll(2) reports POLLERR and POLLPRI after a mount or unmount.
"""

from __future__ import annotations

from typing import Self

from tunlab.errors import LabError
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.lab import PersistentLab

CHECK_INTERVAL = 1.0
"""Seconds between checks of `is_down` without an event: if mounts do not propagate, poll(2) reports none."""


class DownWatcher:
    """A context manager that detects when a persistent lab is taken down.

    Register `fileno()` with poll(2) and event mask 0. After any event, and every CHECK_INTERVAL, check `is_down`.
    """

    def __init__(self, lab: PersistentLab) -> None:
        """Start to watch a lab. A later lab of the same name is another lab. Raises LabError if the lab is not up."""
        self._directory, self._state = lab.directory, lab.state
        self._mounts = open("/proc/self/mounts", "rb", buffering=0)  # noqa: PTH123, SIM115
        if self.is_down:
            self._mounts.close()
            raise LabError(lab.name, f"lab {lab.name!r} is no longer up", remedy="`tunlab ls` lists the running labs")

    def fileno(self) -> int:
        """Return the descriptor for poll(2)."""
        return self._mounts.fileno()

    @property
    def is_down(self) -> bool:
        """True if the lab was taken down."""
        return self._state is None or not states.has_all_namespaces(self._directory, self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mounts.close()
