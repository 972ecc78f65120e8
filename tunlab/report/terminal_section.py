"""The tunlab section of a failed test in the terminal: sequence diagram, suspicious packets, kernel report, files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tunlab.packet import findings
from tunlab.report.evidence import Evidence, loss_sentences
from tunlab.report.ladder import WIDTH, draw_ladder

_MAX_FINDINGS = 20


def render_section(
    evidence: Evidence,
    kernel_lines: Sequence[str],
    pointers: Sequence[str],
    remarks: Sequence[str] = (),
    *,
    width: int = WIDTH,
    since: int = -1,
) -> str:
    """Return the text of the section that a failed test gets in pytest's output.

    Args:
        evidence: The packets of the test.
        kernel_lines: Lines on the kernel's counters, drops and routes.
        pointers: The last lines: paths of the files, and the command that runs the test again.
        remarks: Sentences about single packets, shown after the sequence diagram.
        width: Width of the terminal in characters.
        since: Time in nanoseconds since the epoch. Packets up to this time are left out: an earlier section has them.
    """
    parts = [draw_ladder(evidence, width=width, since=since) or ["no packet crossed any device of this test"]]
    if remarks:
        parts.append(_indented(remarks, "", width))
    if suspicious := _suspicious(evidence, since):
        parts.append(["suspicious:", *_indented(suspicious, "  ", width)])
    if kernel_lines:
        parts.append(["the kernel says:", *_indented(kernel_lines, "  ", width)])
    if lost := list(loss_sentences(evidence)):
        parts.append(_indented(lost, "", width))
    parts.append(list(pointers))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _suspicious(evidence: Evidence, since: int) -> list[str]:
    lines = []
    for number, each in enumerate(evidence.observations, 1):
        if each.packet is not None and each.time > since:
            lines += [f"packet {number}: {finding}" for finding in findings(each.packet)]
    if len(lines) > _MAX_FINDINGS:
        lines[_MAX_FINDINGS:] = [f"… and {len(lines) - _MAX_FINDINGS} more findings"]
    return lines


def _indented(lines: Sequence[str], indent: str, width: int) -> list[str]:
    wrapped = []
    for line in lines:
        initial = indent + line[: len(line) - len(line.lstrip())]
        wrapped += textwrap.wrap(
            line.lstrip(), width, initial_indent=initial, subsequent_indent=initial + "  ", break_long_words=False
        )
    return wrapped
