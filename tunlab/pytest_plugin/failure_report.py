"""The tunlab section of a failed test, and its recording (a pcapng file of its packets).

A test may fail more than once: in each of its subtests, and again in its teardown. The section of a failure has the
packets since the previous failure. The recording has the packets of the whole test.
"""

from __future__ import annotations

import os
import shlex
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
class _State:
    """The state of the running test's reports.

    Attributes:
        shown_until: Time of the last packet that a section has shown, in nanoseconds of its clock.
        sent: Number of packets in the recording that a report has; None before a report has one.
        outcome: The test's outcome.
        messages: Message of each failure.
        section: The text of the last section.
        unsent: All packets before the teardown, if these are more than `sent`.
    """

    shown_until: int = -1
    sent: int | None = None
    outcome: str = "passed"
    messages: list[str] = field(default_factory=list)
    section: str = ""
    unsent: Evidence | None = None


_state_key = pytest.StashKey[_State]()
_evidence_key = pytest.StashKey["Evidence"]()  # The test's packets, while pytest reports a failure.


@pytest.hookimpl(specname="pytest_runtest_makereport")
def pytest_gather_evidence(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Collect the packets of a failed test, and add the recording's path to its error before pytest formats it."""
    recorder = item.stash.get(recorder_key, None)
    if recorder is None or call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
        return
    evidence = item.stash[_evidence_key] = recorder.gather()
    _name_the_recording(item, call.excinfo.value, evidence)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    __tracebackhide__ = True
    recorder = item.stash.get(recorder_key, None)
    if recorder is None:
        return (yield)
    is_last = call.when == "teardown"
    report = yield
    try:
        state = item.stash.setdefault(_state_key, _State())
        if report.failed:
            _report_failure(item, report, call, recorder, state)
        elif is_last:
            _send_rest(item, report, recorder, state)
        elif state.outcome != "failed":
            state.outcome = report.outcome
        if report.failed and pause.is_enabled(item.config):
            write_now(item.config, report)
            pause.pause(item, report, recorder.namespaces())
    finally:
        if _evidence_key in item.stash:
            del item.stash[_evidence_key]
        if is_last:
            recorder.close()
            del item.stash[recorder_key], item.stash[_state_key]
    return report


def pytest_runtest_teardown(item: pytest.Item) -> None:
    if (recorder := item.stash.get(recorder_key, None)) is not None:
        recorder.collect_lab_tuns()
        state = item.stash.get(_state_key, None)
        if state is not None and state.sent is not None:  # A failed subtest was reported; packets may follow.
            evidence = recorder.gather()
            state.unsent = evidence if len(evidence.observations) > state.sent else None


def _name_the_recording(item: pytest.Item, error: BaseException, evidence: Evidence) -> None:
    """Add the recording's path to an ExpectationError."""
    from tunlab.errors import ExpectationError

    if isinstance(error, ExpectationError) and _is_written(item.config, evidence):
        error.recording = display_path(item.config, f"{recording_name(item.config, item.nodeid)}.pcapng")


def _is_written(config: pytest.Config, evidence: Evidence) -> bool:
    mode = record_mode(config)
    return mode == "always" or (mode == "failed" and bool(evidence.observations))


def _report_failure(
    item: pytest.Item,
    report: pytest.TestReport,
    call: pytest.CallInfo[None],
    recorder: TestRecorder,
    state: _State,
) -> None:
    from tunlab.report.kernel_report import kernel_report
    from tunlab.report.other_devices import matches_on_other_devices
    from tunlab.report.terminal_section import render_section

    # A failure because of xfail(strict=True) has no exception, so pytest_gather_evidence has not collected packets.
    evidence = item.stash.get(_evidence_key, None) or recorder.gather()
    state.outcome = report.outcome
    state.messages.append(_message(report))
    recording = _pcapng(item, evidence, state) if _is_written(item.config, evidence) else None
    files = {} if recording is None else _files(item.config, recording_name(item.config, item.nodeid), recording)
    pointers = [f"{kind:9} {path}" for kind, path in files.items()]
    if files:
        pointers.append(f"{'replay':9} tunlab replay {shlex.quote(files['recorded'])}")
    pointers.append(f"{'rerun':9} pytest {shlex.quote(_test_argument(item))}")
    namespaces = recorder.namespaces()
    kernel = kernel_report(namespaces, evidence, recorder.drop_reasons())
    error = None if call.excinfo is None else call.excinfo.value
    remarks = [] if error is None else list(matches_on_other_devices(error, namespaces, evidence))
    # If the teardown failed because of a leak, the section may be empty.
    if evidence.observations or kernel or report.when != "teardown":
        width = report_width(item.config)
        state.section = render_section(evidence, kernel, pointers, remarks, width=width, since=state.shown_until)
        _add_section(report, state.section)
        # Not the time of day: the packets of an object under test have times near 0.
        state.shown_until = max((each.time for each in evidence.observations), default=state.shown_until)
    _shorten(report, error)
    # Send the recording with the first failure, not only at the teardown: this process may crash before.
    if recording is not None and (state.sent is None or call.when == "teardown" or pause.is_enabled(item.config)):
        _send(item, report, evidence, recording, state)


def _send_rest(item: pytest.Item, report: pytest.TestReport, recorder: TestRecorder, state: _State) -> None:
    """Attach the recording to the teardown report if no earlier report has it or there are new packets since then."""
    evidence = state.unsent
    if state.sent is None and record_mode(item.config) == "always":
        evidence = recorder.gather()
    if evidence is not None:
        _send(item, report, evidence, _pcapng(item, evidence, state), state)


def _pcapng(item: pytest.Item, evidence: Evidence, state: _State) -> bytes:
    from tunlab.report.evidence import to_pcapng

    return to_pcapng(evidence, comment=f"{item.nodeid}: {state.outcome}")


def _send(item: pytest.Item, report: pytest.TestReport, evidence: Evidence, recording: bytes, state: _State) -> None:
    """Attach the recording to a test's report. A recording on an earlier report of this test is replaced."""
    name = recording_name(item.config, item.nodeid)
    text = "\n\n".join(filter(None, [*state.messages, state.section]))
    attach_recording(report, name, recording, text, state.outcome)
    _link(item, report, _files(item.config, name, recording))
    state.sent = len(evidence.observations)


def _files(config: pytest.Config, name: str, recording: bytes) -> dict[str, str]:
    files = {"recorded": display_path(config, f"{name}.pcapng")}
    return files | ({"page": display_path(config, f"{name}.html")} if has_page(recording) else {})


def _test_argument(item: pytest.Item) -> str:
    """Return the pytest argument that selects this test, relative to the directory where pytest was started."""
    here = item.config.invocation_params.dir
    if hasattr(item.config, "workerinput") or here == item.config.rootpath:
        return item.nodeid
    _, colons, rest = item.nodeid.partition("::")
    return os.path.relpath(item.path, here) + colons + rest


def _message(report: pytest.TestReport) -> str:
    """Return the message of a failure without its traceback."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(crash.message if crash is not None else report.longrepr)
    return message.removeprefix("tunlab.errors.")


def _shorten(report: pytest.TestReport, error: BaseException | None) -> None:
    """Put the expected packet first in the message, because pytest's short summary shows only one line."""
    from tunlab.errors import ExpectationError

    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(error, ExpectationError):
        _, newline, rest = crash.message.partition("\n")
        crash.message = error.summary + newline + rest


def _add_section(report: pytest.TestReport, text: str) -> None:
    # The terminal and the junit file show the sections of longrepr. If longrepr is a str, it has no sections.
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add("tunlab", text)
    else:
        report.sections.append(("tunlab", text))


def _link(item: pytest.Item, report: pytest.TestReport, files: dict[str, str]) -> None:
    """Add the paths of the files to the junit file (from item or teardown report) and to pytest-html's report."""
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
        if properties:  # Otherwise an earlier report has these links.
            report.extras = [*getattr(report, "extras", []), *extras]  # type: ignore[attr-defined]
