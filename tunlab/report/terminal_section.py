"""What a failing test shows in the terminal: the ladder, what is suspicious, what the kernel says, where to look on."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tunlab.packet import findings
from tunlab.report.evidence import Evidence, loss_sentences
from tunlab.report.ladder import WIDTH, draw_ladder

_MOST_FINDINGS = 20


def render_section(
    evidence: Evidence,
    testimony: Sequence[str],
    pointers: Sequence[str],
    remarks: Sequence[str] = (),
    *,
    width: int = WIDTH,
    since: int = -1,
) -> str:
    """The text.

    remarks     what is to be known of the packets beside themselves, in sentences
    testimony   what the kernel says, in lines
    pointers    the lines of the end: the files, and how to run it again
    width       of the terminal, in columns
    since       what passed until then was shown at an earlier failure of the same test, and is left out
    """
    parts = [draw_ladder(evidence, width=width, since=since) or ["no packet passed any device of this test"]]
    if remarks:
        parts.append(_indented(remarks, "", width))
    if suspicious := _suspicious(evidence, since):
        parts.append(["suspicious:", *_indented(suspicious, "  ", width)])
    if testimony:
        parts.append(["the kernel says:", *_indented(testimony, "  ", width)])
    if lost := list(loss_sentences(evidence)):
        parts.append(_indented(lost, "", width))
    parts.append(list(pointers))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _suspicious(evidence: Evidence, since: int) -> list[str]:
    lines = []
    for number, each in enumerate(evidence.observations, 1):
        if each.packet is not None and each.time > since:
            lines += [f"packet {number}: {finding}" for finding in findings(each.packet)]
    if len(lines) > _MOST_FINDINGS:
        lines[_MOST_FINDINGS:] = [f"… and {len(lines) - _MOST_FINDINGS} more findings"]
    return lines


def _indented(lines: Sequence[str], indent: str, width: int) -> list[str]:
    wrapped = []
    for line in lines:
        own = indent + line[: len(line) - len(line.lstrip())]
        wrapped += textwrap.wrap(
            line.lstrip(), width, initial_indent=own, subsequent_indent=own + "  ", break_long_words=False
        )
    return wrapped
