"""The option --tunlab-pause: wait at each failure while the test's namespaces exist, and print how to enter them."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunlab.kernel.namespace.netns import Netns
    from tunlab.report.evidence import RecordedNetns

_INITIAL_UID_MAP = "0 0 4294967295"  # The content of /proc/self/uid_map for a process outside of user namespaces.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tunlab").addoption(
        "--tunlab-pause",
        action="store_true",
        help="Stop at each failure with the test's namespaces alive, and print how to enter them.",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("tunlab_pause") or hasattr(config, "workerinput"):
        return
    if config.getoption("numprocesses", None) or config.getoption("tx", None):
        raise pytest.UsageError("--tunlab-pause does not work with parallel tests. Run pytest without -n.")
    if not _is_terminal(config):
        problem = "--tunlab-pause waits for Enter, but standard input is not a terminal"
        raise pytest.UsageError(f"{problem}. Run pytest in a terminal.")


def _is_terminal(config: pytest.Config) -> bool:
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return os.isatty(0)
    capture.suspend_global_capture(in_=True)
    try:
        return os.isatty(0)
    finally:
        capture.resume_global_capture()


def is_enabled(config: pytest.Config) -> bool:
    """Return True if --tunlab-pause is on and this process runs the tests itself."""
    return bool(config.getoption("tunlab_pause")) and not hasattr(config, "workerinput")


def pause(item: pytest.Item, report: pytest.TestReport, namespaces: Sequence[RecordedNetns]) -> None:
    """Print the failure and shell commands that enter the namespaces. Wait until the user presses Enter."""
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    terminal: Any = item.config.pluginmanager.getplugin("terminalreporter")
    with ExitStack() as resources:
        lines = [line for each in namespaces if each.is_endpoint for line in _enter_commands(each, resources)]
        if capture is not None:
            # On exit, this context restores the capture of output if it was on. pytest restores standard input later.
            resources.enter_context(capture.global_and_fixture_disabled())
            capture.suspend_global_capture(in_=True)
        terminal.ensure_newline()
        terminal.write_line(report.longreprtext)
        for title, text in report.sections:
            if title == "tunlab":
                terminal.write_line(text)
        terminal.write_sep("=", f"tunlab: {item.nodeid} failed; its namespaces are still up")
        for line in lines:
            terminal.write_line(line)
        terminal.write("Press Enter to continue: ", flush=True)
        sys.stdin.readline()


def _enter_commands(recorded: RecordedNetns, resources: ExitStack) -> list[str]:
    """Return the shell commands by which a user enters the namespace in another terminal."""
    netns: Netns | None = recorded.netns
    if netns is None:
        return []
    if netns.closed:  # The fixtures' teardown has closed the namespace, but the packet capture keeps it alive.
        if recorded.record is None:
            return []
        netns = resources.enter_context(recorded.record.open_netns())
    pid = os.getpid()
    enter = f"nsenter --net=/proc/{pid}/fd/{netns.fd}"
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split() != _INITIAL_UID_MAP.split():
        enter = f"nsenter --user=/proc/{pid}/ns/user --preserve-credentials --net=/proc/{pid}/fd/{netns.fd}"
    ifname = recorded.tuns[0].name if recorded.tuns else "any"
    lines = [f"{recorded.name}:", f"  {enter} bash", f"  {enter} tcpdump -ni {shlex.quote(ifname)}"]
    if recorded.tuns:
        with suppress(OSError):  # The Tun may have no address.
            lines.append(f"  {enter} ping -c 1 {recorded.tuns[0].peer}")
    return lines
