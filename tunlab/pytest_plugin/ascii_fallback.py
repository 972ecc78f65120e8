"""The drawing in ASCII, where the terminal can take no more: pytest would write every sign as its number, on one line.

It is the controller's terminal that decides, so it is done where the report is shown, and not where it is made.
"""

from __future__ import annotations

import codecs
import sys

import pytest

_ASCII = str.maketrans({
    "│": "|", "├": "|", "┤": "|", "─": "-", "▶": ">", "◀": "<", "·": "*", "…": "...", "–": "-", "≠": "!=", "×": "x",
})  # fmt: skip


class AsciiFallback:
    """Takes the place of nothing but signs, in what tunlab has added to a report, and in the error above it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        sections = getattr(report.longrepr, "sections", [])
        if any(title == "tunlab" for title, *_ in [*sections, *report.sections]):
            sections[:] = [(title, text.translate(_ASCII), *rest) for title, text, *rest in sections]
            report.sections = [(title, text.translate(_ASCII)) for title, text in report.sections]
            for entry in getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ()):
                entry.lines = [line.translate(_ASCII) for line in entry.lines]


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput") and not _takes_drawings(session.config):
        session.config.pluginmanager.register(AsciiFallback(), "tunlab-plain")


def _takes_drawings(config: pytest.Config) -> bool:
    file = getattr(config.get_terminal_writer(), "_file", sys.stdout)
    try:
        "├─▶".encode(codecs.lookup(getattr(file, "encoding", None) or "ascii").name)
    except UnicodeEncodeError:
        return False
    return True
