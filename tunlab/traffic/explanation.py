"""The failure of an expectation, told: each datagram that came with its time and what differs, the nearest drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunlab.errors import ExpectationError
from tunlab.packet import Difference
from tunlab.packet.diagram import difference_lines, difference_text, explain
from tunlab.packet.match import distance
from tunlab.traffic.crossing import DECISIVE, Crossing
from tunlab.traffic.expectation import Expected
from tunlab.traffic.naming import name_of
from tunlab.traffic.timing import Window

_NEAREST, _NOT_WANTED, _NOT_EXPECTED, TOO_LATE = DECISIVE
_TOLD, _LISTED = 5, 100
"""How many of the nearest have their differences told on lines of their own, how many have a line at all."""


class Seen(NamedTuple):
    """A datagram that was held against what was wanted; `differences` is None for what is no IPv4 datagram."""

    crossing: Crossing
    differences: list[Difference] | None


def at(crossing: Crossing, started_ns: int) -> str:
    """When it crossed, from the beginning of the wait, and in one line what it is."""
    return f"{(crossing.time_ns - started_ns) / 1e6:+.2f} ms  {crossing}"


def missed(wanted: object, seen: Sequence[Seen], window: Window) -> ExpectationError:
    """The error for a packet that did not come in time."""
    return ExpectationError(
        wanted=str(wanted),
        seen=listed(seen, window.started_ns),
        count=len(seen),
        elapsed=window.elapsed,
        timeout=window.seconds,
        margin=window.margin,
    )


def listed(seen: Sequence[Seen], started_ns: int) -> list[str]:
    """The nearest first, of those as near the latest first, what is no packet last; the first as a diagram.

    The nearest is told in what it differs, so that a recording says that too.
    """
    order = _nearest_first(seen)
    if order and (differences := seen[order[0]].differences) is not None:
        nearest = seen[order[0]].crossing
        for note in (_NEAREST, *(difference_text(each, name_of) for each in differences)):
            nearest.note(note, taken=nearest.taken)
    texts = []
    for rank, index in enumerate(order[:_LISTED]):
        crossing, differences = seen[index]
        lines = [at(crossing, started_ns)]
        if crossing.packet is not None and differences and rank < _TOLD:
            tell = difference_lines(differences, name_of) if rank else explain(crossing.packet, differences, name_of)
            lines += tell
        elif crossing.packet is not None and differences:
            lines[0] += f"   <-- {'; '.join(row for row in difference_lines(differences, name_of) if row[:1].strip())}"
        texts.append("\n".join(lines))
    return texts


def _nearest_first(seen: Sequence[Seen]) -> list[int]:
    return sorted(
        range(len(seen)),
        key=lambda index: (
            distance(differing) if (differing := seen[index].differences) is not None else float("inf"),
            -index,
        ),
    )


def missing(
    wanted: Sequence[Expected],
    holders: Sequence[Crossing | None],
    others: Sequence[Seen],
    window: Window,
    *,
    ordered: bool,
    in_any_order: bool,
) -> ExpectationError:
    """The error for several packets not all of which came; `others` are those that meet none."""
    steps = []
    for number, (expected, holder) in enumerate(zip(wanted, holders, strict=True), 1):
        if holder is not None:
            steps.append(f"{number}. came     {expected}\n            {at(holder, window.started_ns)}")
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
        seen=listed(others, window.started_ns),
        count=len(others),
        elapsed=window.elapsed,
        timeout=window.seconds,
        margin=window.margin,
    )


def unwanted(wanted: str, found: Sequence[Crossing], waiting: Iterable[Crossing], window: Window) -> ExpectationError:
    """The error for what came and should not have: `found` first, then the others that wait to be read."""
    bad = {id(crossing) for crossing in found}
    for crossing in found:
        crossing.note(_NOT_WANTED, taken=crossing.taken)
    texts = [f"{at(crossing, window.started_ns)}   <-- not wanted" for crossing in found]
    texts += [at(crossing, window.started_ns) for crossing in waiting if id(crossing) not in bad]
    what = f"{wanted.removeprefix('any ')} at all" if wanted.startswith("any ") else wanted
    came = "one came" if len(found) == 1 else f"{len(found)} came"
    return ExpectationError(
        wanted=f"no {what}",
        problem=f"wanted no {what}, and {came}:",
        seen=texts[:_LISTED],
        count=len(texts),
        elapsed=window.elapsed,
        timeout=window.seconds,
    )


def left_over(crossings: Sequence[Crossing], ifname: str) -> ExpectationError:
    """The error of a strict test: these came, and no expectation met them, and nobody captured or read them."""
    started_ns = crossings[0].time_ns
    texts = [f"{at(each, started_ns)}   <-- {each.comment or 'never read'}" for each in crossings[:_LISTED]]
    for each in crossings:
        each.note(_NOT_EXPECTED, taken=each.taken)
    number = "a packet" if len(crossings) == 1 else f"{len(crossings)} packets"
    problem = (
        f"strict: {number} came out of {ifname} that nobody expected, captured or read"
        " (what expect() passes over is not expected):"
    )
    return ExpectationError(wanted="no packet that nobody expects", problem=problem, seen=texts, count=len(crossings))
