"""The failure of an expectation, told: each datagram that came with its time and what differs, the nearest drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunlab.errors import ExpectationError
from tunlab.packet import Difference
from tunlab.packet.diagram import difference_lines, difference_text, explain
from tunlab.packet.match import distance
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.function_names import function_name
from tunlab.traffic.trace import DECISIVE_COMMENTS, TraceEntry

_NEAREST, _NOT_WANTED, _NOT_EXPECTED, TOO_LATE = DECISIVE_COMMENTS
_TOLD, _LISTED = 5, 100
"""How many of the nearest have their differences told on lines of their own, how many have a line at all."""


class Candidate(NamedTuple):
    """A datagram that was held against what was wanted; `differences` is None for what is no IPv4 datagram."""

    entry: TraceEntry
    differences: list[Difference] | None


def time_and_summary(entry: TraceEntry, started_ns: int) -> str:
    """When it crossed, from the beginning of the wait, and in one line what it is."""
    return f"{(entry.time_ns - started_ns) / 1e6:+.2f} ms  {entry}"


def timeout_error(wanted: object, seen: Sequence[Candidate], deadline: Deadline) -> ExpectationError:
    """The error for a packet that did not come in time."""
    return ExpectationError(
        wanted=str(wanted),
        seen=describe_candidates(seen, deadline.started_ns),
        count=len(seen),
        elapsed=deadline.elapsed,
        timeout=deadline.timeout,
        margin=deadline.margin,
    )


def describe_candidates(seen: Sequence[Candidate], started_ns: int) -> list[str]:
    """The nearest first, of those as near the latest first, what is no packet last; the first as a diagram.

    The nearest is told in what it differs, so that a recording says that too.
    """
    order = _nearest_first(seen)
    if order and (differences := seen[order[0]].differences) is not None:
        nearest = seen[order[0]].entry
        for note in (_NEAREST, *(difference_text(each, function_name) for each in differences)):
            nearest.note(note, consumed=nearest.consumed)
    texts = []
    for rank, index in enumerate(order[:_LISTED]):
        entry, differences = seen[index]
        lines = [time_and_summary(entry, started_ns)]
        if entry.packet is not None and differences and rank < _TOLD:
            tell = (
                difference_lines(differences, function_name)
                if rank
                else explain(entry.packet, differences, function_name)
            )
            lines += tell
        elif entry.packet is not None and differences:
            lines[0] += (
                f"   <-- {'; '.join(row for row in difference_lines(differences, function_name) if row[:1].strip())}"
            )
        texts.append("\n".join(lines))
    return texts


def _nearest_first(seen: Sequence[Candidate]) -> list[int]:
    return sorted(
        range(len(seen)),
        key=lambda index: (
            distance(differing) if (differing := seen[index].differences) is not None else float("inf"),
            -index,
        ),
    )


def expect_all_error(
    wanted: Sequence[CombinedExpectation],
    holders: Sequence[TraceEntry | None],
    others: Sequence[Candidate],
    deadline: Deadline,
    *,
    ordered: bool,
    in_any_order: bool,
) -> ExpectationError:
    """The error for several packets not all of which came; `others` are those that meet none."""
    steps = []
    for number, (expected, holder) in enumerate(zip(wanted, holders, strict=True), 1):
        if holder is not None:
            steps.append(f"{number}. came     {expected}\n            {time_and_summary(holder, deadline.started_ns)}")
        elif ordered and None in holders[: number - 1]:
            steps.append(f"{number}. later    {expected}")
        else:
            steps.append(f"{number}. missing  {expected}")
    order = ", in this order" if ordered else ", in any order"
    came = sum(holder is not None for holder in holders)
    told = f"{len(wanted)} packets{order}: {came} came, {len(wanted) - came} did not"
    if in_any_order:
        told += "; all of them came, but in another order"
    return ExpectationError(
        wanted=told,
        progress=steps,
        seen=describe_candidates(others, deadline.started_ns),
        count=len(others),
        elapsed=deadline.elapsed,
        timeout=deadline.timeout,
        margin=deadline.margin,
    )


def unwanted_error(
    wanted: str, found: Sequence[TraceEntry], waiting: Iterable[TraceEntry], deadline: Deadline
) -> ExpectationError:
    """The error for what came and should not have: `found` first, then the others that wait to be read."""
    bad = {id(entry) for entry in found}
    for entry in found:
        entry.note(_NOT_WANTED, consumed=entry.consumed)
    texts = [f"{time_and_summary(entry, deadline.started_ns)}   <-- not wanted" for entry in found]
    texts += [time_and_summary(entry, deadline.started_ns) for entry in waiting if id(entry) not in bad]
    what = f"{wanted.removeprefix('any ')} at all" if wanted.startswith("any ") else wanted
    came = "one came" if len(found) == 1 else f"{len(found)} came"
    return ExpectationError(
        wanted=f"no {what}",
        problem=f"wanted no {what}, and {came}:",
        seen=texts[:_LISTED],
        count=len(texts),
        elapsed=deadline.elapsed,
        timeout=deadline.timeout,
    )


def strict_error(entries: Sequence[TraceEntry], ifname: str) -> ExpectationError:
    """The error of a strict test: these came, and no expectation met them, and nobody captured or read them."""
    started_ns = entries[0].time_ns
    texts = [f"{time_and_summary(each, started_ns)}   <-- {each.comment or 'never read'}" for each in entries[:_LISTED]]
    for each in entries:
        each.note(_NOT_EXPECTED, consumed=each.consumed)
    number = "a packet" if len(entries) == 1 else f"{len(entries)} packets"
    problem = (
        f"strict: {number} came out of {ifname} that nobody expected, captured or read"
        " (what expect() passes over is not expected):"
    )
    return ExpectationError(wanted="no packet that nobody expects", problem=problem, seen=texts, count=len(entries))
