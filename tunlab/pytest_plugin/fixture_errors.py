"""Failures and skips of tests whose tunlab fixture raised an error: one sentence, without a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from tunlab.pytest_plugin.worker_process import no_user_namespace

if TYPE_CHECKING:
    from tunlab.errors import KernelError

T = TypeVar("T")


def fail_without_traceback(text: str) -> NoReturn:
    """Fail the test with a text, without a traceback.

    Hook wrappers hide their own frames, and pytest adds a remark if every frame of a traceback is hidden.
    """
    raise pytest.fail.Exception(text, pytrace=False) from None


def usage_error(message: str) -> NoReturn:
    """Fail the test with a message about a mistake in its settings."""
    fail_without_traceback(f"tunlab: {message}")


def fail_or_skip(config: pytest.Config, error: KernelError) -> NoReturn:
    """Fail the test because a privilege is missing, or skip it with --tunlab-skip-unprivileged."""
    text = f"tunlab: {error}".removesuffix(".") + "."
    if reason := config.stash.get(no_user_namespace, ""):
        text += f" A user namespace is not available either: {reason.removesuffix('.')}."
    if hasattr(config, "workerinput") and not config.getoption("tunlab_rootless"):
        text += " Or run pytest-xdist's workers in user namespaces: --tunlab-rootless."
    if config.getoption("tunlab_skip_unprivileged"):
        raise pytest.skip.Exception(text) from None
    fail_without_traceback(f"{text} --tunlab-skip-unprivileged skips such tests.")


def make_or_fail(make: Callable[..., T], **arguments: object) -> T:
    """Return `make(**arguments)`. Fail the test with the error's message if `make` raises an error of tunlab."""
    from tunlab.errors import KernelError, LabError, TopologyError

    try:
        return make(**arguments)
    except (KernelError, LabError, TopologyError) as error:
        message = str(error)
    usage_error(message)  # Inside the except block, pytest would add "During handling of the above exception".
