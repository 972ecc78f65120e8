"""Files of a test's packets: a pcapng recording and an HTML page.

pytest-xdist's workers may run on another machine. They send a recording as text in a test's report, and the controller
writes the files.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

_MODES = ("failed", "always", "never")
_DIRECTORY = ".tunlab/records"
_MIN_WIDTH, _MAX_WIDTH = 60, 100  # Reports are 60 to 100 characters wide.
_width = pytest.StashKey[int]()
_UNSAFE = re.compile(r"[^\w.+=,@-]+")
_MAX_NAME = 150  # Longer names are cut, because Linux limits file names to 255 bytes.
_WRITER = "tunlab-records"
_MAX_PAGE_INPUT = 1024 * 1024  # A page of 1 MiB (about 9,000 packets) takes 2 seconds to write.


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab")
    group.addoption(
        "--tunlab-record",
        choices=_MODES,
        default=None,
        help="Write the packets of each test as pcapng: of failed tests (default), always, or never.",
    )
    group.addoption(
        "--tunlab-record-dir",
        metavar="DIR",
        default=None,
        help=f"Directory for the recordings. Default: {_DIRECTORY} in the root directory. Each pytest-xdist worker"
        " has a subdirectory.",
    )
    parser.addini("tunlab_record", "Default of --tunlab-record: failed, always or never.", default="failed")
    parser.addini(
        "tunlab_record_dir", "Default of --tunlab-record-dir, relative to the root directory.", default=_DIRECTORY
    )


def pytest_configure(config: pytest.Config) -> None:
    if (mode := config.getini("tunlab_record")) not in _MODES:
        raise pytest.UsageError(f"tunlab_record is {mode!r}. Set it to one of {', '.join(_MODES)}.")
    if not hasattr(config, "workerinput"):
        # The width must be read before pytest captures output. Output to a file gets the maximum width.
        config.stash[_width] = min(_MAX_WIDTH, max(_MIN_WIDTH, shutil.get_terminal_size((_MAX_WIDTH, 24)).columns))
    if record_mode(config) != "never" and (directory := _directory(config)).exists() and not directory.is_dir():
        option = "--tunlab-record-dir" if config.getoption("tunlab_record_dir") is not None else "tunlab_record_dir"
        raise pytest.UsageError(f"{option}: {directory} is a file. Give a directory; tunlab creates it if needed.")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send the directory of recordings and the width of reports to a pytest-xdist worker, for its reports."""
    node.workerinput["tunlab_record_dir"] = _display_directory(node.config)
    node.workerinput["tunlab_width"] = report_width(node.config)


def record_mode(config: pytest.Config) -> str:
    """Return for which tests recordings are written: "failed", "always" or "never"."""
    return str(config.getoption("tunlab_record") or config.getini("tunlab_record"))


def _directory(config: pytest.Config) -> Path:
    if (given := config.getoption("tunlab_record_dir")) is not None:
        return Path(config.invocation_params.dir, str(given))
    return config.rootpath / str(config.getini("tunlab_record_dir"))


def _display_directory(config: pytest.Config) -> str:
    directory, here = _directory(config), config.invocation_params.dir
    return str(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def report_width(config: pytest.Config) -> int:
    """Return the width of reports in characters."""
    width = getattr(config, "workerinput", {}).get("tunlab_width")
    return int(width if width is not None else config.stash.get(_width, _MAX_WIDTH))


def recording_name(config: pytest.Config, nodeid: str) -> str:
    """Return the file name of a test's recording without a suffix. In a pytest-xdist worker it has a directory."""
    file, _, rest = nodeid.partition("::")
    dotted = f"{file.removesuffix('.py')}.{rest}".replace("/", ".").replace("::", ".")
    name = _UNSAFE.sub("-", dotted).strip("-.")
    # Names with replaced characters, and shortened names, get a hash so that they stay unique.
    if dotted.replace("[", "-").rstrip("]") != name or len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}-{hashlib.blake2b(nodeid.encode(), digest_size=3).hexdigest()}"
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    return f"{worker}/{name}" if worker else name


def display_path(config: pytest.Config, name: str) -> str:
    """Return the path of a recording, relative to the directory where pytest was started."""
    directory = getattr(config, "workerinput", {}).get("tunlab_record_dir")
    return str(Path(directory or _display_directory(config), name))


def attach_recording(report: pytest.TestReport, name: str, recording: bytes, text: str, outcome: str) -> None:
    """Attach a recording to a test's report as text, so that pytest-xdist can send it to the controller.

    Args:
        report: The test's report.
        name: File name without a suffix.
        recording: Contents of the pcapng file.
        text: Messages of the test's failures, for the HTML page.
        outcome: Outcome of the test, for the HTML page.
    """
    report.tunlab_record = {  # type: ignore[attr-defined]
        "name": name, "pcapng": base64.b64encode(recording).decode("ascii"), "text": text, "outcome": outcome,
    }  # fmt: skip


def write_now(config: pytest.Config, report: pytest.TestReport) -> None:
    """Write the recording attached to a report at once, because the run is about to pause."""
    writer: RecordingWriter | None = config.pluginmanager.getplugin(_WRITER)
    if writer is not None:
        writer.pytest_runtest_logreport(report)


def has_page(recording: bytes) -> bool:
    """Return True if the recording is small enough for an HTML page. `tunlab report` makes larger pages."""
    return len(recording) <= _MAX_PAGE_INPUT


class RecordingWriter:
    """A pytest plugin that writes the recordings attached to reports. It does not run in pytest-xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._written: set[Path] = set()
        self._errors: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = getattr(report, "tunlab_record", None)
        if record is None:
            return
        from tunlab.report.page import render

        directory = _directory(self._config)
        path = directory / f"{record['name']}.pcapng"
        page_path = path.with_suffix(".html")
        recording = base64.b64decode(record["pcapng"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (ignore := directory / ".gitignore").exists():
                ignore.write_text("*\n", encoding="ascii")
            self._remove_older(directory, record["name"])
            _write(path, recording)
            self._written.add(path)
            if has_page(recording):
                page = render(recording, title=report.nodeid, outcome=record["outcome"], text=record["text"])
                _write(page_path, page.encode())
            else:  # Delete the page of an earlier, smaller recording of this test.
                page_path.unlink(missing_ok=True)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            missing, target = ("page", page_path) if path in self._written else ("recording", path)
            _remove_pointers(report, record["name"], missing, reason)
            self._errors.append(f"{report.nodeid}: could not write the {missing} to {target}: {reason}")
        del report.tunlab_record

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print which files could not be written. These are not warnings, because users may turn warnings off."""
        if self._errors:
            terminalreporter.section("tunlab: files not written", yellow=True)
            for line in self._errors:
                terminalreporter.write_line(line)
            terminalreporter.write_line("Free some space, or give another directory with --tunlab-record-dir.")

    def _remove_older(self, directory: Path, name: str) -> None:
        """Remove recordings of the same test by earlier runs, in the directories of all workers."""
        own = f"{name.rpartition('/')[2]}.pcapng"
        for older in [directory / own, *directory.glob(f"*/{glob.escape(own)}")]:
            if older not in self._written:
                older.unlink(missing_ok=True)
                older.with_suffix(".html").unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Write a file completely, or raise OSError and leave no file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}"[-255:])
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _remove_pointers(report: pytest.TestReport, name: str, missing: str, reason: str) -> None:
    """Remove the paths of files that could not be written from a test's report."""
    kinds = {"recording": ("recorded", "page", "replay"), "page": ("page",)}[missing]
    pointers = re.compile(rf"^(?:{'|'.join(kinds)}) +\S.*{re.escape(name)}\.(?:pcapng|html)'?$\n", re.MULTILINE)

    def corrected(text: str) -> str:
        has_pointers = pointers.search(text) is not None
        return pointers.sub("", text) + f"\ncould not write the {missing}: {reason}" if has_pointers else text

    sections = getattr(report.longrepr, "sections", [])
    sections[:] = [(title, corrected(text) if title == "tunlab" else text, *rest) for title, text, *rest in sections]
    report.sections = [(title, corrected(text) if title == "tunlab" else text) for title, text in report.sections]
    if missing == "recording":
        pointer = re.compile(rf"(?:^E +|\n)recorded in .*{re.escape(name)}\.pcapng$")
        if (crash := getattr(report.longrepr, "reprcrash", None)) is not None:
            crash.message = pointer.sub("", crash.message)
        for entry in getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ()):
            entry.lines = [line for line in entry.lines if not pointer.search(line)]


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(RecordingWriter(session.config), _WRITER)
