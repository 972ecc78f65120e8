"""Labels that name the process a container belongs to, so that the containers of a killed process can be removed.

Source: proc_sys_kernel(5) for the boot ID, pid_namespaces(7).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tunlab.kernel.process import process_start_time

RUN, HOST, PID, STARTED, ROLE = (f"tunlab.{name}" for name in ("run", "host", "pid", "started", "role"))
"""The labels' names.

`run` is an ID that all containers of one command share. `host` identifies the machine since its last boot, and the PID
namespace. `pid` and `started` identify the process that owns the container. `role` is "test", "worker", "node" or
"persistent".
"""

PERSISTENT = "persistent"
"""The role of a container that outlives the process that created it, and so has no owner."""


def new_run_id() -> str:
    """Return a random ID for the containers of one command."""
    return uuid.uuid4().hex[:12]


@cache
def host_id() -> str:
    """Return an ID of this boot of the machine and of this PID namespace: PIDs are only comparable within both."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116


def labels(run: str, role: str) -> dict[str, str]:
    """Return the labels of a container that this process owns; a persistent one has no owner."""
    common = {RUN: run, HOST: host_id(), ROLE: role}
    pid = os.getpid()
    return common if role == PERSISTENT else {**common, PID: str(pid), STARTED: str(process_start_time(pid) or 0)}


def is_abandoned(found: Mapping[str, str]) -> bool:
    """Return True if a container's labels give a process of this machine that has exited."""
    pid, started = found.get(PID, ""), found.get(STARTED, "")
    return pid.isdigit() and started.isdigit() and process_start_time(int(pid)) != int(started)
