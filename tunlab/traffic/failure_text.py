"""Errors for failed expectations. They list the packets that arrived, closest match first, with their differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunlab.errors import ExpectationError
from tunlab.packet import Difference, Packet
from tunlab.packet.match import distance
from tunlab.packet.text.diagram import difference_lines, differing_ranges, explain, short_values
from tunlab.traffic.deadlines import Deadline
from tunlab.traffic.expectation import CombinedExpectation
from tunlab.traffic.function_names import function_name
from tunlab.traffic.trace import FieldDifference, TraceEntry

_MAX_LISTED = 100  # An error lists at most this many packets.
_MAX_EXPLAINED = 5  # Only this many packets of the list have a line for each difference.
_MAX_RANGES = 100  # The byte ranges of a packet must fit a pcapng option of 65,535 bytes.


class Candidate(NamedTuple):
    """A packet that was compared with an expectation. `differences` is None if its bytes cannot be read."""

    entry: TraceEntry
    differences: list[Difference] | None


def time_and_summary(entry: TraceEntry, started_ns: int) -> str:
    """Return a line with the packet's arrival time, in milliseconds since the wait began, and its summary."""
    return f"{(entry.time_ns - started_ns) / 1e6:+.2f} ms  {entry}"


def timeout_error(wanted: object, seen: Sequence[Candidate], deadline: Deadline) -> ExpectationError:
    """Return the error for a packet that did not arrive in time."""
    return ExpectationError(
        wanted=str(wanted),
        seen=describe_candidates(seen, deadline.started_ns),
        count=len(seen),
        elapsed=deadline.elapsed,
        timeout=deadline.timeout,
        margin=deadline.margin,
    )


def find_injected_match(record: Iterable[TraceEntry], expected: CombinedExpectation) -> str:
    """Return where the test injected a packet that meets the expectation, in the other direction; "" if it did not.

    An expectation without fields, such as `TCP`, says too little for this.
    """
    if not any(fields for _, fields in expected.match.conditions):
        return ""
    for entry in record:
        if entry.direction == "in" and "fence" not in entry.notes and expected.matches(entry.to_packet()):
            return entry.notes[0].removeprefix("injected at ")
    return ""


def describe_candidates(seen: Sequence[Candidate], started_ns: int) -> list[str]:
    """Return one text per packet, closest match first. Of equally close packets, the latest comes first.

    The text of the closest match has a header diagram. Its TraceEntry keeps the differences for the recording.
    """
    order = _closest_first(seen)
    if order and (differences := seen[order[0]].differences) is not None:
        seen[order[0]].entry.blame("closest match", tuple(map(_as_text, differences)))
    texts = []
    for rank, index in enumerate(order[:_MAX_LISTED]):
        entry, differences = seen[index]
        lines = [time_and_summary(entry, started_ns)]
        if entry.packet is not None and differences and rank == 0:
            lines += explain(entry.packet, differences, function_name)
        elif entry.packet is not None and differences:
            details = difference_lines(differences, function_name)
            if rank < _MAX_EXPLAINED:
                lines += details
            else:
                lines[0] += f"   <-- {'; '.join(line for line in details if line[:1].strip())}"
        texts.append("\n".join(lines))
    return texts


def _as_text(difference: Difference) -> FieldDifference:
    wanted, got = short_values(difference, function_name)
    ranges: tuple[tuple[int, int], ...] = ()
    if isinstance(difference.wanted, bytes) and isinstance(difference.got, bytes):
        ranges = tuple(
            (start, end - 1) for start, end in differing_ranges(difference.wanted, difference.got)[:_MAX_RANGES]
        )
    return FieldDifference(difference.field, wanted, got, ranges)


def _closest_first(seen: Sequence[Candidate]) -> list[int]:
    return sorted(
        range(len(seen)),
        key=lambda index: (
            distance(differences) if (differences := seen[index].differences) is not None else float("inf"),
            -index,
        ),
    )


def expect_all_error(
    wanted: Sequence[CombinedExpectation],
    matches: Sequence[TraceEntry | None],
    others: Sequence[Candidate],
    deadline: Deadline,
    *,
    ordered: bool,
    in_any_order: bool,
) -> ExpectationError:
    """Return the error for several packets of which at least one did not arrive.

    Args:
        wanted: The expectations.
        matches: For each expectation the packet assigned to it, or None.
        others: The packets that matched no expectation.
        deadline: The wait that ended.
        ordered: True if the packets had to arrive in this order.
        in_any_order: True if all the packets arrived, but in another order.
    """
    progress = []
    for number, (expected, entry) in enumerate(zip(wanted, matches, strict=True), 1):
        if entry is not None:
            arrival = time_and_summary(entry, deadline.started_ns)
            progress.append(f"{number}. arrived      {expected}\n                {arrival}")
        elif ordered and None in matches[: number - 1]:
            progress.append(f"{number}. not reached  {expected}")
        else:
            progress.append(f"{number}. missing      {expected}")
    order = "in this order" if ordered else "in any order"
    arrived = sum(entry is not None for entry in matches)
    description = f"{len(wanted)} packets {order}: {arrived} arrived, {len(wanted) - arrived} did not"
    if in_any_order:
        description += "; all of them arrived, but in another order"
    return ExpectationError(
        wanted=description,
        progress=progress,
        seen=describe_candidates(others, deadline.started_ns),
        count=len(others),
        elapsed=deadline.elapsed,
        timeout=deadline.timeout,
        margin=deadline.margin,
    )


def unwanted_error(
    unwanted: CombinedExpectation, found: Sequence[TraceEntry], unread: Iterable[TraceEntry], deadline: Deadline
) -> ExpectationError:
    """Return the error for unwanted packets. It lists the unwanted ones in `found`, then the other unread packets."""
    numbers = {id(entry) for entry in found}
    texts = []
    for entry in found:
        entry.blame("unwanted")
        texts.append(f"{time_and_summary(entry, deadline.started_ns)}   <-- unwanted{_reason(unwanted, entry.packet)}")
    texts += [time_and_summary(entry, deadline.started_ns) for entry in unread if id(entry) not in numbers]
    wanted = f"no {str(unwanted).removeprefix('any ')}"
    return ExpectationError(
        wanted=wanted,
        problem=f"wanted {wanted}, but {len(found)} arrived:",
        seen=texts[:_MAX_LISTED],
        count=len(texts),
        elapsed=deadline.elapsed,
        timeout=deadline.timeout,
    )


def _reason(unwanted: CombinedExpectation, packet: Packet | None) -> str:
    """Return why a packet is unwanted that does not match: a header of it could not be read."""
    if packet is None:
        return ": it cannot be read, and may be one"
    if packet.unread_header is None or unwanted.matches(packet):
        return ""
    return f": its {packet.unread_header.__name__} header cannot be read, and it may be one"


def strict_error(entries: Sequence[TraceEntry], ifname: str) -> ExpectationError:
    """Return the error that fails a strict test for packets that it did not expect, capture or read."""
    started_ns = entries[0].time_ns
    texts = [
        f"{time_and_summary(entry, started_ns)}   <-- {entry.comment or 'never read'}"
        for entry in entries[:_MAX_LISTED]
    ]
    for entry in entries:
        entry.blame("unexpected")
    packets = "1 packet" if len(entries) == 1 else f"{len(entries)} packets"
    problem = (
        f"strict: the test did not expect, capture or read {packets} from {ifname}"
        " (a packet that expect() skips is not expected):"
    )
    return ExpectationError(wanted="no unexpected packet", problem=problem, seen=texts, count=len(entries))
