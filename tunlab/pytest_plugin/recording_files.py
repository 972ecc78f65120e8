"""Where recordings go: options, one file's name for each test, and the controller, which writes them.

Under pytest-xdist a worker may run on another machine: what it has recorded comes home on the report, as text.
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
_NARROWEST, _WIDEST = 60, 100  # columns
_width = pytest.StashKey[int]()
_SAFE = re.compile(r"[^\w.+=,@-]+")
_LONGEST = 150
_WRITER = "tunlab-records"
_LARGEST_PAGE = 1024 * 1024  # octets of a recording of some 9,000 packets: a page of it takes 2 seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab")
    group.addoption(
        "--tunlab-record",
        choices=_MODES,
        default=None,
        help="Write what passed each test's devices as pcapng: of tests that failed (the default), always, never.",
    )
    group.addoption(
        "--tunlab-record-dir",
        metavar="DIR",
        default=None,
        help=f"Where to write it: {_DIRECTORY} below the root directory by default, in a directory for each worker.",
    )
    parser.addini("tunlab_record", "As --tunlab-record: failed, always or never.", default="failed")
    parser.addini("tunlab_record_dir", "As --tunlab-record-dir, below the root directory.", default=_DIRECTORY)


def pytest_configure(config: pytest.Config) -> None:
    if (mode := config.getini("tunlab_record")) not in _MODES:
        raise pytest.UsageError(f"tunlab_record = {mode!r} in the configuration: give one of {', '.join(_MODES)}")
    if not hasattr(config, "workerinput"):
        # Now, while nothing is captured. Where there is no terminal, whoever reads the file has room.
        config.stash[_width] = min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size((_WIDEST, 24)).columns))
    if record_mode(config) != "never" and (directory := _directory(config)).exists() and not directory.is_dir():
        place = "--tunlab-record-dir" if config.getoption("tunlab_record_dir") is not None else "tunlab_record_dir"
        raise pytest.UsageError(f"{place}: {directory} is a file; name a directory, or one that is to be made")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the controller will write, for it says so in the report, and how wide that is shown."""
    node.workerinput["tunlab_shown_dir"] = _shown_directory(node.config)
    node.workerinput["tunlab_width"] = report_width(node.config)


def record_mode(config: pytest.Config) -> str:
    """When recordings are written: "failed", "always" or "never"."""
    return str(config.getoption("tunlab_record") or config.getini("tunlab_record"))


def _directory(config: pytest.Config) -> Path:
    if (given := config.getoption("tunlab_record_dir")) is not None:
        return Path(config.invocation_params.dir, str(given))
    return config.rootpath / str(config.getini("tunlab_record_dir"))


def _shown_directory(config: pytest.Config) -> str:
    directory, here = _directory(config), config.invocation_params.dir
    return str(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def report_width(config: pytest.Config) -> int:
    """How wide what is drawn may be, in columns."""
    told = getattr(config, "workerinput", {}).get("tunlab_width")
    return int(told if told is not None else config.stash.get(_width, _WIDEST))


def recording_name(config: pytest.Config, nodeid: str) -> str:
    """The name of a test's recording, without its ending: below the worker's directory where there is one."""
    file, _, rest = nodeid.partition("::")
    plain = f"{file.removesuffix('.py')}.{rest}".replace("/", ".").replace("::", ".")
    name = _SAFE.sub("-", plain).strip("-.")
    # Parameters may differ in what no file name holds; and a file name has 255 octets.
    if plain.replace("[", "-").rstrip("]") != name or len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.blake2b(nodeid.encode(), digest_size=3).hexdigest()}"
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    return f"{worker}/{name}" if worker else name


def display_path(config: pytest.Config, name: str) -> str:
    """The path of a file of that name as whoever has started the run would write it."""
    told = getattr(config, "workerinput", {}).get("tunlab_shown_dir")
    return str(Path(told or _shown_directory(config), name))


def attach_recording(report: pytest.TestReport, name: str, recording: bytes, text: str, outcome: str) -> None:
    """Send a recording home: what is on a report goes through pytest-xdist, as long as it is text.

    text, outcome   of the test, for the page
    """
    octets = base64.b64encode(recording).decode("ascii")
    report.tunlab_record = {  # type: ignore[attr-defined]
        "name": name, "pcapng": octets, "text": text, "outcome": outcome,
    }  # fmt: skip


def write_now(config: pytest.Config, report: pytest.TestReport) -> None:
    """Write what is on a report of this very process, which is about to stop."""
    writer: RecordingWriter | None = config.pluginmanager.getplugin(_WRITER)
    if writer is not None:
        writer.pytest_runtest_logreport(report)


def has_page(recording: bytes) -> bool:
    """Whether a page is made of it; of a larger one `tunlab report` makes it for whoever wants to wait."""
    return len(recording) <= _LARGEST_PAGE


class RecordingWriter:
    """Writes what the reports bring; in the controller, and in a run without workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._written: set[Path] = set()
        self._refused: list[str] = []

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
            else:  # there may be one of what it was before the test went on
                page_path.unlink(missing_ok=True)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            missing, where = ("page", page_path) if path in self._written else ("recording", path)
            _correct(report, record["name"], missing, why)
            self._refused.append(f"{report.nodeid}: the {missing} could not be written to {where}: {why}")
        del report.tunlab_record

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Whoever looks for a recording that is not there, or not whole, learns why; whatever is done with warnings."""
        if self._refused:
            terminalreporter.section("tunlab: not written", yellow=True)
            for line in self._refused:
                terminalreporter.write_line(line)
            terminalreporter.write_line("make room, or give another directory: --tunlab-record-dir")

    def _remove_older(self, directory: Path, name: str) -> None:
        """What a run before this one has recorded of the same test, in whichever worker that was."""
        own = f"{name.rpartition('/')[2]}.pcapng"
        for older in [directory / own, *directory.glob(f"*/{glob.escape(own)}")]:
            if older not in self._written:
                older.unlink(missing_ok=True)
                older.with_suffix(".html").unlink(missing_ok=True)


def _write(path: Path, octets: bytes) -> None:
    """All of it or nothing."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}"[-255:])
    try:
        unfinished.write_bytes(octets)
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _correct(report: pytest.TestReport, name: str, missing: str, why: str) -> None:
    """Take back what the report says of files that are not there."""
    kinds = {"recording": ("recorded", "page", "look"), "page": ("page",)}[missing]
    files = re.compile(rf"^(?:{'|'.join(kinds)}) +\S.*{re.escape(name)}\.(?:pcapng|html)'?$\n", re.MULTILINE)

    def corrected(text: str) -> str:
        return files.sub("", text) + f"\nthe {missing} could not be written: {why}" if files.search(text) else text

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
