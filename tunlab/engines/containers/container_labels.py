"""Whose a container is: its labels, by which what a killed process left is found and removed.

Source: proc_sys_kernel(5) for the boot's id, pid_namespaces(7).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tunlab.kernel.process import process_start_time

RUN, HOST, PID, STARTED, ROLE = (f"tunlab.{name}" for name in ("run", "host", "pid", "started", "role"))
"""Labels. run: one for all containers of a command; host: the machine's boot and its PID namespace; pid and started:
the process that owns the container; role: what it is for, "test", "worker", "node" or "stays": no process owns those.
"""

STAYS = "stays"


def new_run_id() -> str:
    """A name for all containers of one command."""
    return uuid.uuid4().hex[:12]


@cache
def host() -> str:
    """This machine since it started, and the PID namespace that we are in: where a process's id means something."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116


def labels(run: str, role: str) -> dict[str, str]:
    """The labels of a container that this process owns; of one that stays, of nobody's."""
    own = {RUN: run, HOST: host(), ROLE: role}
    pid = os.getpid()
    return own if role == STAYS else {**own, PID: str(pid), STARTED: str(process_start_time(pid) or 0)}


def is_abandoned(found: Mapping[str, str]) -> bool:
    """Whether labels of this `host` name a process that has gone."""
    pid, since = found.get(PID, ""), found.get(STARTED, "")
    return pid.isdigit() and since.isdigit() and process_start_time(int(pid)) != int(since)
