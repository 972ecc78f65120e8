"""What failing tests show of their packets, and what they leave to look at.

A test may fail more than once: in each of its subtests, and in its teardown after all. Each failure has a section with
what has passed since the one before; the file has all of it.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tunlab.pytest_plugin import pause
from tunlab.pytest_plugin.packet_recorder import TestRecorder, recorder_key
from tunlab.pytest_plugin.recording_files import (
    attach_recording,
    display_path,
    has_page,
    record_mode,
    recording_name,
    report_width,
    write_now,
)

if TYPE_CHECKING:
    from tunlab.report.evidence import Evidence


@dataclass
class _Told:
    """What this test's reports have told so far.

    shown    until when the sections have shown what passed, in nanoseconds since the epoch
    kept     how many are in the recording that went home; None: there is none
    outcome  of the test
    texts    what it failed by, each time, and the last section
    rest     what had passed when the teardown began, if more than `kept`
    """

    shown: int = -1
    kept: int | None = None
    outcome: str = "passed"
    texts: list[str] = field(default_factory=list)
    section: str = ""
    rest: Evidence | None = None


_told = pytest.StashKey[_Told]()
_evidence = pytest.StashKey["Evidence"]()  # of the error that is being reported


@pytest.hookimpl(specname="pytest_runtest_makereport")
def pytest_error_is_known(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """After pytest's own for unittest, which puts the error there, and before the one that puts it into words."""
    watch = item.stash.get(recorder_key, None)
    if watch is None or call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
        return
    evidence = item.stash[_evidence] = watch.gather()
    _name_the_recording(item, call.excinfo.value, evidence)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    watch = item.stash.get(recorder_key, None)
    if watch is None:
        return (yield)
    last = call.when == "teardown"
    report = yield
    try:
        told = item.stash.setdefault(_told, _Told())
        if report.failed:
            _tell(item, report, call, watch, told)
        elif last:
            _complete(item, report, watch, told)
        elif told.outcome != "failed":
            told.outcome = report.outcome
        if report.failed and pause.wanted(item.config):
            write_now(item.config, report)
            pause.pause(item, report, watch.homes())
    finally:
        if _evidence in item.stash:
            del item.stash[_evidence]
        if last:
            watch.close()
            del item.stash[recorder_key], item.stash[_told]
    return report


def pytest_runtest_teardown(item: pytest.Item) -> None:
    if (watch := item.stash.get(recorder_key, None)) is not None:
        watch.settle()
        told = item.stash.get(_told, None)
        if told is not None and told.kept is not None:  # after a subtest that failed there may have been more
            evidence = watch.gather()
            told.rest = evidence if len(evidence.observations) > told.kept else None


def _name_the_recording(item: pytest.Item, error: BaseException, evidence: Evidence) -> None:
    """Let an error that has a place for it say where the recording will be."""
    from tunlab.errors import ExpectationError

    if isinstance(error, ExpectationError) and _is_written(item.config, evidence):
        error.recording = display_path(item.config, f"{recording_name(item.config, item.nodeid)}.pcapng")


def _is_written(config: pytest.Config, evidence: Evidence) -> bool:
    mode = record_mode(config)
    return mode == "always" or (mode == "failed" and bool(evidence.observations))


def _tell(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None], watch: TestRecorder, told: _Told
) -> None:
    from tunlab.report.kernel_report import kernel_report
    from tunlab.report.other_devices import matches_on_other_devices
    from tunlab.report.terminal_section import render_section

    evidence = item.stash.get(_evidence, None) or watch.gather()  # an expected failure that passed has no error
    told.outcome = report.outcome
    told.texts.append(_message(report))
    octets = _octets(item, evidence, told) if _is_written(item.config, evidence) else None
    files = {} if octets is None else _files(item.config, recording_name(item.config, item.nodeid), octets)
    pointers = [f"{kind:9} {path}" for kind, path in files.items()]
    if files:
        pointers.append(f"{'look':9} tunlab replay {shlex.quote(files['recorded'])}")
    pointers.append(f"{'again':9} pytest {shlex.quote(_address(item))}")
    homes = watch.homes()
    testimony = kernel_report(homes, evidence, watch.reasons())
    error = None if call.excinfo is None else call.excinfo.value
    remarks = [] if error is None else list(matches_on_other_devices(error, homes, evidence))
    if evidence.observations or testimony or report.when != "teardown":  # what a test left open has nothing to add
        width = report_width(item.config)
        told.section = render_section(evidence, testimony, pointers, remarks, width=width, since=told.shown)
        _add_section(report, told.section)
        told.shown = time.time_ns()
    _shorten(report, error)
    # The first failure's goes home at once, for it may be the last thing that is heard of this process.
    if octets is not None and (told.kept is None or call.when == "teardown" or pause.wanted(item.config)):
        _put(item, report, evidence, octets, told)


def _complete(item: pytest.Item, report: pytest.TestReport, watch: TestRecorder, told: _Told) -> None:
    """At the end, what is not in the recording yet: of a test that had no failure, or more to it after the last."""
    evidence = told.rest
    if told.kept is None and record_mode(item.config) == "always":
        evidence = watch.gather()
    if evidence is not None:
        _put(item, report, evidence, _octets(item, evidence, told), told)


def _octets(item: pytest.Item, evidence: Evidence, told: _Told) -> bytes:
    from tunlab.report.evidence import to_pcapng

    return to_pcapng(evidence, comment=f"{item.nodeid}: {told.outcome}")


def _put(item: pytest.Item, report: pytest.TestReport, evidence: Evidence, octets: bytes, told: _Told) -> None:
    """Send the recording home with this report, in place of one that went before."""
    name = recording_name(item.config, item.nodeid)
    attach_recording(report, name, octets, "\n\n".join(filter(None, [*told.texts, told.section])), told.outcome)
    _link(item, report, _files(item.config, name, octets))
    told.kept = len(evidence.observations)


def _files(config: pytest.Config, name: str, recording: bytes) -> dict[str, str]:
    files = {"recorded": display_path(config, f"{name}.pcapng")}
    return files | ({"page": display_path(config, f"{name}.html")} if has_page(recording) else {})


def _address(item: pytest.Item) -> str:
    """The test as pytest takes it where the run was started."""
    here = item.config.invocation_params.dir
    if hasattr(item.config, "workerinput") or here == item.config.rootpath:
        return item.nodeid
    _, colons, rest = item.nodeid.partition("::")
    return os.path.relpath(item.path, here) + colons + rest


def _message(report: pytest.TestReport) -> str:
    """What the test failed by, without the way there."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(crash.message if crash is not None else report.longrepr)
    return message.removeprefix("tunlab.errors.")


def _shorten(report: pytest.TestReport, error: BaseException | None) -> None:
    """In the list of failures at the end, which cuts each to a line, begin with what was wanted."""
    from tunlab.errors import ExpectationError

    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(error, ExpectationError):
        _, newline, rest = crash.message.partition("\n")
        crash.message = error.summary + newline + rest


def _add_section(report: pytest.TestReport, text: str) -> None:
    # What is on longrepr is shown by the terminal and by junit; not every failure has one that takes sections.
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add("tunlab", text)
    else:
        report.sections.append(("tunlab", text))


def _link(item: pytest.Item, report: pytest.TestReport, files: dict[str, str]) -> None:
    """Name the files to junit, which asks the item, or the last report; and to pytest-html."""
    properties = [(f"tunlab_{kind}", path) for kind, path in files.items()]
    properties = [each for each in properties if each not in item.user_properties]
    item.user_properties += properties
    if report.when == "teardown":
        report.user_properties = [*report.user_properties, *properties]
    if item.config.pluginmanager.hasplugin("html"):
        place = os.path.dirname(item.config.getoption("htmlpath", None) or "")  # noqa: PTH120
        extras = [
            {"name": kind, "format_type": "url", "content": os.path.relpath(path, place or "."),
             "mime_type": None, "extension": None}
            for kind, path in files.items()
        ]  # fmt: skip
        if properties:  # an earlier report has these links already
            report.extras = [*getattr(report, "extras", []), *extras]  # type: ignore[attr-defined]
