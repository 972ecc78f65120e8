"""What a failing test shows in the terminal: the ladder, what is suspicious, what the kernel says, where to look on."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tunlab.packet import findings
from tunlab.report.evidence import Evidence, losses
from tunlab.report.ladder import WIDTH, draw

_MOST_FINDINGS = 20


def section(evidence: Evidence, testimony: Sequence[str], pointers: Sequence[str], remarks: Sequence[str] = ()) -> str:
    """The text.

    remarks     what is to be known of the packets beside themselves, in sentences
    testimony   what the kernel says, in lines
    pointers    the lines of the end: the files, and how to run it again
    """
    parts = [draw(evidence) or ["no packet passed any device of this test"]]
    if remarks:
        parts.append(_indented(remarks, ""))
    if suspicious := _suspicious(evidence):
        parts.append(["suspicious:", *_indented(suspicious)])
    if testimony:
        parts.append(["the kernel says:", *_indented(testimony)])
    if lost := list(losses(evidence)):
        parts.append(_indented(lost, ""))
    parts.append(list(pointers))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _suspicious(evidence: Evidence) -> list[str]:
    lines = []
    for number, each in enumerate(evidence.sightings, 1):
        if each.packet is not None:
            lines += [f"packet {number}: {finding}" for finding in findings(each.packet)]
    if len(lines) > _MOST_FINDINGS:
        lines[_MOST_FINDINGS:] = [f"… and {len(lines) - _MOST_FINDINGS} more findings"]
    return lines


def _indented(lines: Sequence[str], indent: str = "  ") -> list[str]:
    wrapped = []
    for line in lines:
        own = indent + line[: len(line) - len(line.lstrip())]
        wrapped += textwrap.wrap(
            line.lstrip(), WIDTH, initial_indent=own, subsequent_indent=own + "  ", break_long_words=False
        )
    return wrapped
