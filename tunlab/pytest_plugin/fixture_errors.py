"""Turn errors of tunlab's fixtures into one-sentence failures or skips, without a traceback through tunlab."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from tunlab.pytest_plugin.worker_process import no_user_namespace

if TYPE_CHECKING:
    from tunlab.errors import KernelError

T = TypeVar("T")


def fail_without_traceback(text: str) -> NoReturn:
    """Fail the test with a text only.

    Hook wrappers hide their own frames, so they call this function: pytest adds a remark if every frame is hidden.
    """
    raise pytest.fail.Exception(text, pytrace=False) from None


def usage_error(message: str) -> NoReturn:
    """Fail the test with a message about a mistake in its settings."""
    fail_without_traceback(f"tunlab: {message}")


def fail_or_skip(config: pytest.Config, error: KernelError) -> NoReturn:
    """Fail the test because a privilege is missing, or skip it with --tunlab-skip-unprivileged."""
    text = f"tunlab: {error}"
    if reason := config.stash.get(no_user_namespace, ""):
        text += f" (a user namespace is not available either: {reason})"
    if hasattr(config, "workerinput") and not config.getoption("tunlab_rootless"):
        text += " (or run pytest-xdist's workers in user namespaces: --tunlab-rootless)"
    if config.getoption("tunlab_skip_unprivileged"):
        raise pytest.skip.Exception(text) from None
    fail_without_traceback(f"{text}; --tunlab-skip-unprivileged skips such tests")


def make_or_fail(make: Callable[..., T], **arguments: object) -> T:
    """Return `make(**arguments)`, or fail the test with the error's message if the settings are invalid."""
    from tunlab.errors import KernelError, LabError, TopologyError

    try:
        return make(**arguments)
    except (KernelError, LabError, TopologyError) as error:
        message = str(error)
    usage_error(message)  # outside the except block, so that pytest shows no "During handling of"
