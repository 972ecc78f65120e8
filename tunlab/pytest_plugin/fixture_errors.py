"""What a test is told in one sentence: a usage_error of its writer's, or a right that is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from tunlab.pytest_plugin.workers import no_user_namespace

if TYPE_CHECKING:
    from tunlab.errors import KernelError

T = TypeVar("T")


def usage_error(sentence: str) -> NoReturn:
    """A user's usage_error is told in a sentence; a traceback through this file would help nobody."""
    raise pytest.fail.Exception(f"tunlab: {sentence}", pytrace=False) from None


def fail_or_skip(config: pytest.Config, error: KernelError) -> NoReturn:
    """One sentence that says what is missing, as a skip if that was asked for, else as a failure."""
    text = f"tunlab: {error}"
    if note := config.stash.get(no_user_namespace, ""):
        text += f" (and without root, no user namespace: {note})"
    if hasattr(config, "workerinput") and not config.getoption("tunlab_rootless"):
        text += " (or let pytest-xdist's workers have user namespaces: --tunlab-rootless)"
    if config.getoption("tunlab_skip_unprivileged"):
        raise pytest.skip.Exception(text) from None
    raise pytest.fail.Exception(f"{text}; --tunlab-skip-unprivileged skips such tests", pytrace=False) from None


def make_or_fail(make: Callable[..., T], **resources: object) -> T:
    """What the settings say; one that cannot be, or that the kernel does not take, is the user's usage_error."""
    from tunlab.errors import KernelError, LabError, TopologyError

    try:
        return make(**resources)
    except (KernelError, LabError, TopologyError) as error:
        sentence = str(error)
    usage_error(sentence)  # only now, so that pytest shows no error behind it
