"""What a failing test shows of its packets, and what it leaves to look at."""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from tunlab.pytest_plugin import leaks, pausing
from tunlab.pytest_plugin.recording import Watch, watch_key
from tunlab.pytest_plugin.records import has_page, mode_of, name_of, put_on, shown_path

if TYPE_CHECKING:
    from tunlab.report.evidence import Evidence

_done = pytest.StashKey[bool]()  # this test's record is on a report already


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    watch = item.stash.get(watch_key, None)
    if watch is None:
        return (yield)
    evidence = None
    last = call.when == "teardown"
    if call.excinfo is not None:
        leaks.pass_over(item)  # the traceback holds what the test had in its hands
        if not isinstance(call.excinfo.value, pytest.skip.Exception) and not item.stash.get(_done, False):
            evidence = watch.gather()
            _name_the_recording(item, call.excinfo.value, evidence)
    elif last and mode_of(item.config) == "always" and not item.stash.get(_done, False):
        evidence = watch.gather()
    report = yield
    try:
        if evidence is not None and (report.failed or mode_of(item.config) == "always"):
            item.stash[_done] = True
            _tell(item, report, call, watch, evidence)
        if report.failed and pausing.wanted(item.config):
            pausing.pause(item, report, watch.homes())
    finally:
        if last:
            watch.close()
            del item.stash[watch_key]
            item.stash[_done] = False
    return report


def pytest_runtest_teardown(item: pytest.Item) -> None:
    if (watch := item.stash.get(watch_key, None)) is not None:
        watch.settle()


def _name_the_recording(item: pytest.Item, error: BaseException, evidence: Evidence) -> None:
    """Let an error that has a place for it say where the recording will be."""
    from tunlab.errors import ExpectationError

    if isinstance(error, ExpectationError) and _is_written(item.config, evidence):
        error.recording = shown_path(item.config, f"{name_of(item.config, item.nodeid)}.pcapng")


def _is_written(config: pytest.Config, evidence: Evidence) -> bool:
    mode = mode_of(config)
    return mode == "always" or (mode == "failed" and bool(evidence.sightings))


def _tell(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None], watch: Watch, evidence: Evidence
) -> None:
    from tunlab.report.elsewhere import elsewhere
    from tunlab.report.evidence import recording
    from tunlab.report.section import section
    from tunlab.report.witness import statement

    written = _is_written(item.config, evidence)
    name = name_of(item.config, item.nodeid)
    octets = recording(evidence, comment=f"{item.nodeid}: {report.outcome}") if written else b""
    files = _files(item.config, name, octets) if written else {}
    told = ""
    if report.failed:
        told = _message(report)
        pointers = [f"{kind:9} {path}" for kind, path in files.items()]
        if written:
            pointers.append(f"{'look':9} tunlab replay {shlex.quote(files['recorded'])}")
        pointers.append(f"{'again':9} pytest {shlex.quote(_address(item))}")
        homes = watch.homes()
        testimony = statement(homes, evidence, watch.reasons())
        remarks = list(elsewhere(call.excinfo.value, homes, evidence)) if call.excinfo is not None else []
        if evidence.sightings or testimony or report.when != "teardown":  # what a test left open has nothing to add
            text = section(evidence, testimony, pointers, remarks)
            _add_section(report, text)
            told += f"\n\n{text}"
    if written:
        put_on(report, name, octets, told)
        _link(item, report, files)


def _files(config: pytest.Config, name: str, recording: bytes) -> dict[str, str]:
    files = {"recorded": shown_path(config, f"{name}.pcapng")}
    return files | ({"page": shown_path(config, f"{name}.html")} if has_page(recording) else {})


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
        report.extras = [*getattr(report, "extras", []), *extras]  # type: ignore[attr-defined]
