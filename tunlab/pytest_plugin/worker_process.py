"""Setup of the processes that run tests: a user namespace without root, and a worker's exit with its controller."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Any

import pytest

# All fixtures of tunlab that need privileges depend on one of these fixtures. A fixture `lab` that a user defines does
# not.
FIXTURES = frozenset({"make_netns", "make_lab"})
DUT_FIXTURES = frozenset({"dut", "make_dut"})
no_user_namespace = pytest.StashKey[str]()
"""The reason why a run without root could not enter a user namespace."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Have pytest-xdist start its workers in user namespaces. A process with threads, as a worker, cannot enter one."""
    if not config.getoption("tunlab_rootless"):
        return
    from tunlab.kernel.os_errors import has_capability

    if has_capability("CAP_SYS_ADMIN"):
        return
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join([sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Enter a user namespace before the first test, if a test needs privileges that this process does not have."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("collectonly"):
        return
    if config.getoption("numprocesses", None) or config.getoption("tx", None):
        return  # This process is pytest-xdist's controller, which does not run tests.
    if not any(_needs_privileges(item) for item in session.items):
        return
    from tunlab.errors import KernelError
    from tunlab.kernel.namespace.userns import enter_user_namespace
    from tunlab.kernel.os_errors import has_capability

    if has_capability("CAP_SYS_ADMIN") and has_capability("CAP_NET_ADMIN"):
        return
    # Let a child process enter a user namespace first: this process could not leave one if a later step failed.
    launcher = [sys.executable, "-m", "tunlab.kernel.namespace.userns", sys.executable, "-c", ""]
    trial = subprocess.run(launcher, capture_output=True, text=True, check=False)
    if trial.returncode:
        config.stash[no_user_namespace] = trial.stderr.strip()
        return
    try:
        enter_user_namespace()
    except KernelError as error:
        config.stash[no_user_namespace] = str(error)


def _needs_privileges(item: pytest.Item) -> bool:
    """Return True if a fixture of the test needs a network namespace. Some devices under test do."""
    names = getattr(item, "fixturenames", ())
    if FIXTURES.intersection(names) or not DUT_FIXTURES.intersection(names):
        return bool(FIXTURES.intersection(names))
    targets = [*item.config.getoption("tunlab_dut"), item.config.getini("tunlab_dut")]
    targets += [argument for marker in item.iter_markers("dut") for argument in marker.args]
    targets += getattr(getattr(item, "callspec", None), "params", {}).values()
    return any(isinstance(each, str) and (each == "kernel" or "{ifname}" in each) for each in targets)


def die_with_controller(config: pytest.Config) -> None:
    """Have the kernel kill a pytest-xdist worker as soon as its controller exits or is killed.

    Without this, a worker, its namespaces and its programs live about 20 seconds longer, until execnet's timeouts.
    """
    if not hasattr(config, "workerinput"):
        return
    import signal

    from tunlab.kernel import libc

    controller = os.getppid()
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != controller:  # The controller exited before die_with_parent was called.
        os.kill(os.getpid(), signal.SIGKILL)
