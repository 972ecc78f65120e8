"""How who looks at a lab that stays learns that it was taken down: what he holds open would keep it in the kernel.

A socket in a namespace holds that, and two that hold both ends of a link learn from neither that it is gone.
Source: proc_pid_mounts(5): poll(2) reports POLLERR and POLLPRI when something was mounted or unmounted.
"""

from __future__ import annotations

from typing import Self

from tunlab.errors import LabError
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.lab import PersistentLab

LOOK = 1.0
"""Seconds after which to look again whatever poll(2) says: where mounts do not propagate, it says nothing."""


class DownWatcher:
    """The end of a lab, to be waited for; a context manager.

    For poll(2): `fileno`, with no event asked for. Whenever that reports anything, and after LOOK seconds, ask `came`.
    """

    def __init__(self, lab: PersistentLab) -> None:
        """Of this lab as it is now: another of that name is not it. Raises LabError if it is not up."""
        self._directory, self._state = lab.directory, lab.state
        self._mounts = open("/proc/self/mounts", "rb", buffering=0)  # noqa: PTH123, SIM115
        if self.came:
            self._mounts.close()
            raise LabError(lab.name, f"lab {lab.name!r} is not up any more", remedy="tunlab ls shows what is up")

    def fileno(self) -> int:
        """For poll(2)."""
        return self._mounts.fileno()

    @property
    def came(self) -> bool:
        """Whether the lab is down, or another one by now."""
        return self._state is None or not states.all_there(self._directory, self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mounts.close()
