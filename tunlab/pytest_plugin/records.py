"""Where recordings go: options, one file's name for each test, and the controller, which writes them.

Under pytest-xdist a worker may run on another machine: what it has recorded comes home on the report, as text.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

_MODES = ("failed", "always", "never")
_DIRECTORY = ".tunlab/records"
_SAFE = re.compile(r"[^\w.+=,@-]+")
_LONGEST = 150
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


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the controller will write, for it says so in the report."""
    node.workerinput["tunlab_shown_dir"] = _shown_directory(node.config)


def mode_of(config: pytest.Config) -> str:
    """When recordings are written: "failed", "always" or "never"."""
    return str(config.getoption("tunlab_record") or config.getini("tunlab_record"))


def _directory(config: pytest.Config) -> Path:
    if (given := config.getoption("tunlab_record_dir")) is not None:
        return Path(config.invocation_params.dir, str(given))
    return config.rootpath / str(config.getini("tunlab_record_dir"))


def _shown_directory(config: pytest.Config) -> str:
    directory, here = _directory(config), config.invocation_params.dir
    return str(directory.relative_to(here) if directory.is_relative_to(here) else directory)


def name_of(config: pytest.Config, nodeid: str) -> str:
    """The name of a test's recording, without its ending: below the worker's directory where there is one."""
    file, _, rest = nodeid.partition("::")
    plain = f"{file.removesuffix('.py')}.{rest}".replace("/", ".").replace("::", ".")
    name = _SAFE.sub("-", plain).strip("-.")
    # Parameters may differ in what no file name holds; and a file name has 255 octets.
    if plain.replace("[", "-").rstrip("]") != name or len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.blake2b(nodeid.encode(), digest_size=3).hexdigest()}"
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    return f"{worker}/{name}" if worker else name


def shown_path(config: pytest.Config, name: str) -> str:
    """The path of a file of that name as whoever has started the run would write it."""
    told = getattr(config, "workerinput", {}).get("tunlab_shown_dir")
    return str(Path(told or _shown_directory(config), name))


def put_on(report: pytest.TestReport, name: str, recording: bytes, text: str) -> None:
    """Send a recording home: what is on a report goes through pytest-xdist, as long as it is text."""
    octets = base64.b64encode(recording).decode("ascii")
    report.tunlab_record = {"name": name, "pcapng": octets, "text": text}  # type: ignore[attr-defined]


def has_page(recording: bytes) -> bool:
    """Whether a page is made of it; of a larger one `tunlab report` makes it for whoever wants to wait."""
    return len(recording) <= _LARGEST_PAGE


class Writer:
    """Writes what the reports bring; in the controller, and in a run without workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._written: set[Path] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = getattr(report, "tunlab_record", None)
        if record is None:
            return
        from tunlab.report.page import render

        directory = _directory(self._config)
        path = directory / f"{record['name']}.pcapng"
        recording = base64.b64decode(record["pcapng"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (ignore := directory / ".gitignore").exists():
                ignore.write_text("*\n", encoding="ascii")
            self._remove_older(directory, record["name"])
            path.write_bytes(recording)
            self._written.add(path)
            if has_page(recording):
                page = render(recording, title=report.nodeid, outcome=report.outcome, text=record["text"])
                path.with_suffix(".html").write_text(page, encoding="utf-8")
        except OSError as error:
            warning = (
                f"the recording of {report.nodeid} could not be written to {path}: {os.strerror(error.errno or 0)}"
            )
            self._config.issue_config_time_warning(pytest.PytestWarning(warning), stacklevel=2)
        del report.tunlab_record

    def _remove_older(self, directory: Path, name: str) -> None:
        """What a run before this one has recorded of the same test, in whichever worker that was."""
        own = f"{name.rpartition('/')[2]}.pcapng"
        for older in [directory / own, *directory.glob(f"*/{glob.escape(own)}")]:
            if older not in self._written:
                older.unlink(missing_ok=True)
                older.with_suffix(".html").unlink(missing_ok=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(Writer(session.config), "tunlab-records")
