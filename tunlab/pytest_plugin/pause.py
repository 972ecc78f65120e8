"""At the desk: stop where a test failed, with its namespaces as they are, and say how to get in."""

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

    from tunlab.kernel.netns import Netns
    from tunlab.report.evidence import RecordedNetns

_EVERYBODY = "0 0 4294967295"  # the user map of the machine's own user namespace


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
        raise pytest.UsageError("--tunlab-pause stops at one failure at a time: run without -n")
    if not _at_a_terminal(config):
        raise pytest.UsageError("--tunlab-pause waits for Enter, and standard input is no terminal: run it at one")


def _at_a_terminal(config: pytest.Config) -> bool:
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return os.isatty(0)
    capture.suspend_global_capture(in_=True)
    try:
        return os.isatty(0)
    finally:
        capture.resume_global_capture()


def wanted(config: pytest.Config) -> bool:
    """Whether to stop at failures."""
    return bool(config.getoption("tunlab_pause")) and not hasattr(config, "workerinput")


def pause(item: pytest.Item, report: pytest.TestReport, homes: Sequence[RecordedNetns]) -> None:
    """Show the failure and the way into the namespaces, and wait for Enter."""
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    terminal: Any = item.config.pluginmanager.getplugin("terminalreporter")
    with ExitStack() as held:
        lines = [line for home in homes if home.is_endpoint for line in _entries(home, held)]
        if capture is not None:
            # On again afterwards only if it was on, as in a subtest; standard input is, when the next phase begins.
            held.enter_context(capture.global_and_fixture_disabled())
            capture.suspend_global_capture(in_=True)
        terminal.ensure_newline()
        terminal.write_line(report.longreprtext)
        for title, text in report.sections:
            if title == "tunlab":
                terminal.write_line(text)
        terminal.write_sep("=", f"tunlab: {item.nodeid} has failed, and stays as it is")
        for line in lines:
            terminal.write_line(line)
        terminal.write("Enter goes on: ", flush=True)
        sys.stdin.readline()


def _entries(home: RecordedNetns, held: ExitStack) -> list[str]:
    """The lines to paste into another terminal."""
    netns: Netns = home.netns
    if netns.closed:  # in the teardown the fixtures have let it go: the record has not
        if home.record is None:
            return []
        netns = held.enter_context(home.record.home())
    pid = os.getpid()
    enter = f"nsenter --net=/proc/{pid}/fd/{netns.fd}"
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split() != _EVERYBODY.split():
        enter = f"nsenter --user=/proc/{pid}/ns/user --preserve-credentials --net=/proc/{pid}/fd/{netns.fd}"
    ifname = home.tuns[0].ifname if home.tuns else "any"
    lines = [f"{home.name}:", f"  {enter} bash", f"  {enter} tcpdump -ni {shlex.quote(ifname)}"]
    if home.tuns:
        with suppress(OSError):  # it has no address
            lines.append(f"  {enter} ping -c 1 {home.tuns[0].peer}")
    return lines
