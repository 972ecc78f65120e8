"""The processes that run the tests: their rights without root, and their end with the controller of pytest-xdist."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Any

import pytest

# The others stand on these, so they are in the closure of each; a user's own `ping` or `lab` is none of them.
FIXTURES = frozenset({"make_netns", "make_lab"})
no_user_namespace = pytest.StashKey[str]()
"""Why a run without root could not move into a user namespace."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Start the workers inside user namespaces: once they run they have threads, and may enter none any more."""
    if not config.getoption("tunlab_rootless"):
        return
    from tunlab.kernel.os_errors import has_capability

    if has_capability("CAP_SYS_ADMIN"):
        return
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join([sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without root, and before any test runs, move into a user namespace; only if a test here needs one."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("collectonly"):
        return
    if config.getoption("numprocesses", None) or config.getoption("tx", None):
        return  # the controller runs no test
    if not any(FIXTURES.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        return
    from tunlab.errors import KernelError
    from tunlab.kernel.namespace.userns import enter_user_namespace
    from tunlab.kernel.os_errors import has_capability

    if has_capability("CAP_SYS_ADMIN") and has_capability("CAP_NET_ADMIN"):
        return
    # In another process first: one that gets into the namespace but not any further cannot come back.
    launcher = [sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable, "-c", ""]
    trial = subprocess.run(launcher, capture_output=True, text=True, check=False)
    if trial.returncode:
        config.stash[no_user_namespace] = trial.stderr.strip()
        return
    try:
        enter_user_namespace()
    except KernelError as error:
        config.stash[no_user_namespace] = str(error)


def die_with_controller(config: pytest.Config) -> None:
    """Have the kernel end a pytest-xdist worker as soon as its controller is gone, however that ended.

    execnet's own timers take some twenty seconds over it; until then the worker's namespaces and programs would live.
    """
    if not hasattr(config, "workerinput"):
        return
    import signal

    from tunlab.kernel import libc

    controller = os.getppid()
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != controller:  # it was gone already
        os.kill(os.getpid(), signal.SIGKILL)
