"""The processes that run tests: user namespaces for runs without root, and exit with pytest-xdist's controller."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Any

import pytest

# All fixtures that need privileges depend on one of these. A user's own fixture named `lab` does not.
FIXTURES = frozenset({"make_netns", "make_lab"})
no_user_namespace = pytest.StashKey[str]()
"""The reason why a run without root could not enter a user namespace."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Start the workers inside user namespaces: a running worker has threads, so it can no longer enter one."""
    if not config.getoption("tunlab_rootless"):
        return
    from tunlab.kernel.os_errors import has_capability

    if has_capability("CAP_SYS_ADMIN"):
        return
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join([sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Enter a user namespace before the first test, if this run is without root and a test needs privileges."""
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
    # Tried in a child first: a process that enters the user namespace and then fails cannot leave it.
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
    """Have the kernel kill a pytest-xdist worker as soon as its controller exits, even if that was killed.

    execnet's timeouts would take about 20 seconds, during which the worker's namespaces and programs keep running.
    """
    if not hasattr(config, "workerinput"):
        return
    import signal

    from tunlab.kernel import libc

    controller = os.getppid()
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != controller:  # it exited before die_with_parent
        os.kill(os.getpid(), signal.SIGKILL)
