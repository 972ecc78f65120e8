"""ASCII versions of tunlab's report sections, for terminals whose encoding has no box-drawing characters.

pytest would print escapes such as `\\u2502` instead. With pytest-xdist, the controller translates the sections of all
workers, because only the controller has the terminal.
"""

from __future__ import annotations

import codecs
import sys

import pytest

_ASCII = str.maketrans({
    "│": "|", "├": "|", "┤": "|", "─": "-", "▶": ">", "◀": "<", "·": "*", "…": "...", "–": "-", "≠": "!=", "×": "x",
})  # fmt: skip


class AsciiFallback:
    """A pytest plugin that translates tunlab's sections of a failure report, and the error above them, to ASCII."""

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
    if not hasattr(session.config, "workerinput") and not _has_box_drawing(session.config):
        session.config.pluginmanager.register(AsciiFallback(), "tunlab-ascii-fallback")


def _has_box_drawing(config: pytest.Config) -> bool:
    file = getattr(config.get_terminal_writer(), "_file", sys.stdout)
    try:
        "├─▶".encode(codecs.lookup(getattr(file, "encoding", None) or "ascii").name)
    except UnicodeEncodeError:
        return False
    return True
