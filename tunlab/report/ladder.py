"""The ladder: a sequence diagram in plain text, with an arrow from sender to receiver for each packet.

The diagram is 100 characters wide, or as wide as a narrower terminal. Source: message sequence charts, ITU-T Z.120.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from msgspec import Struct

from tunlab.packet import summary
from tunlab.report.evidence import Evidence, Note, Observation

WIDTH = 100
TEST = "test"
# A long ladder shows the first 20 rows, the last 40, and 3 on each side of a packet that made the test fail.
_FIRST, _LAST, _CONTEXT = 20, 40, 3
_MAX_NOTES = 20


class LadderRow(Struct, frozen=True):
    """An arrow of the ladder (sequence diagram).

    Attributes:
        number: Number of the packet in the recording, from 1, where it was first seen.
        observation: The packet, where it was first seen.
        origin: Name of the sending endpoint; "" if the sender is not recorded.
        target: Name of the receiving endpoint; "" if no endpoint received the packet.
        comment: Comment on the packet.
        received: Number of the packet in the recording, where the target received it; 0 without a target. Equal to
            `number` if the packet was seen only once.
    """

    number: int
    observation: Observation
    origin: str
    target: str
    comment: str
    received: int


def ladder_rows(evidence: Evidence) -> list[LadderRow]:
    """Return an arrow of the sequence diagram for each packet and receiver. Bridges have no arrows."""
    found = list[LadderRow]()
    received: defaultdict[bytes, deque[tuple[int, Observation]]] = defaultdict(deque)
    senders: defaultdict[bytes, list[tuple[int, str]]] = defaultdict(list)
    numbered = [(n, each) for n, each in enumerate(evidence.observations, 1) if each.node in evidence.endpoints]
    for number, each in numbered:
        if each.on_link and each.direction == "in":
            received[each.frame].append((number, each))
        elif each.on_link:
            senders[each.frame].append((number, each.node))
    received_numbers = set[int]()
    for number, each in numbered:
        if not each.on_link:
            ends = (TEST, each.node) if each.direction == "in" else (each.node, TEST)
            found.append(LadderRow(number, each, *ends, each.comment, number))
        elif each.direction == "out":
            targets = _receivers(each, received[each.frame], received_numbers)
            for target, there in targets or [("", 0)]:
                found.append(LadderRow(number, each, each.node, target, each.comment, there))
        elif number not in received_numbers and (
            each.ifname == "lo" or not _is_sent_later(each, number, senders[each.frame])
        ):
            origin = each.node if each.ifname == "lo" else ""
            found.append(LadderRow(number, each, origin, each.node, each.comment, number))
    return found


def _receivers(
    sent: Observation, candidates: deque[tuple[int, Observation]], received_numbers: set[int]
) -> list[tuple[str, int]]:
    """Return the name of each receiver, with the number in the recording of the packet that it received."""
    names = dict[str, int]()
    while candidates and candidates[0][0] in received_numbers:
        candidates.popleft()
    for number, each in candidates:
        if each.node in names:  # The node has received `sent` already, so this is a retransmission.
            break
        if number not in received_numbers and each.node != sent.node and each.time >= sent.time:
            received_numbers.add(number)
            names[each.node] = number
    return list(names.items())


def _is_sent_later(received: Observation, number: int, senders: Sequence[tuple[int, str]]) -> bool:
    # Each namespace has its own capture, so a packet may have an earlier timestamp at its receiver than at its sender.
    return bool(senders) and senders[-1][0] > number and senders[-1][1] != received.node


def describe(observation: Observation) -> str:
    """Return a one-line summary of a packet."""
    return summary(observation.packet or observation.frame, link_type=observation.linktype)


def draw_ladder(evidence: Evidence, *, width: int = WIDTH, since: int = -1) -> list[str]:
    """Return the lines of the ladder (sequence diagram); an empty list without packets.

    Args:
        evidence: The packets of the test.
        width: Width of a line in characters.
        since: Time in nanoseconds since the epoch. Packets up to this time are left out: an earlier ladder has them.
    """
    found = ladder_rows(evidence)
    if not found:
        return []
    names = ([TEST] if evidence.test_is_endpoint else []) + evidence.endpoints
    used = {name for row in found for name in (row.origin, row.target)} | {TEST}
    columns = _Layout([name for name in names if name in used], digits=len(str(found[-1].number)), width=width)
    several = len({row.observation.device for row in found if not row.observation.on_link}) > 1
    start = found[0].observation.time
    shown, notes = _shown(found, since), deque([each for each in evidence.notes if each.time > since][-_MAX_NOTES:])
    lines, left_out = [columns.header()], 0
    if before := sum(each.time <= since for each in evidence.observations):
        lines.append(f"      … {before} packet{'' if before == 1 else 's'} shown above …")
    for index, row in enumerate(found):
        while notes and notes[0].time < row.observation.time:
            lines += _left_out(left_out)
            left_out = 0
            lines += columns.note(notes.popleft(), start)
        if index not in shown:
            left_out += row.observation.time > since
            continue
        lines += _left_out(left_out)
        left_out = 0
        prefix = f"{row.observation.device}: " if several and not row.observation.on_link else ""
        text = prefix + describe(row.observation)
        if not row.target:
            text += " – not received"
        lines += columns.arrow(row, (row.observation.time - start) / 1e6, text)
    for note in notes:
        lines += columns.note(note, start)
    return lines


def _shown(found: Sequence[LadderRow], since: int) -> set[int]:
    """Return the indexes of the rows to draw: all, or the first, the last and those around a decisive packet."""
    begin = next((index for index, row in enumerate(found) if row.observation.time > since), len(found))
    end = len(found)
    if end - begin <= _FIRST + _LAST:
        return set(range(begin, end))
    decisive = [index for index in range(begin, end) if found[index].observation.annotation.decisive]
    shown = {*range(begin, begin + _FIRST), *range(end - _LAST, end)}
    for index in (*decisive[:2], *decisive[-1:]):
        shown.update(range(max(begin, index - _CONTEXT), min(end, index + _CONTEXT + 1)))
    return shown


def _left_out(count: int) -> Iterator[str]:
    if count:
        yield f"      … {count} more packet{'' if count == 1 else 's'} in the recording …"


class _Layout:
    """A layout of the sequence diagram: the position of each endpoint's vertical line."""

    def __init__(self, names: Sequence[str], *, digits: int, width: int) -> None:
        self.names, self.digits, self.width = list(names), max(3, digits), width
        longest = max(map(len, names))
        room = 46 if len(names) > 2 else 10
        self.gap = max(7, min(longest + 2 if len(names) > 2 else 10, room // max(1, len(names) - 1)))
        self.first = self.digits + 12
        self.positions = {name: self.first + index * self.gap for index, name in enumerate(names)}
        self.end = self.first + (len(names) - 1) * self.gap
        self.own_line = width - self.end < 44  # With many endpoints the text is on a line below the arrow.

    def header(self) -> str:
        line = [" "] * (self.end + self.gap)
        line[self.first - 7 : self.first - 5] = "ms"
        for name, position in self.positions.items():
            shown = name if len(name) < self.gap else name[: self.gap - 2] + "…"
            begin = max(0, position - len(shown) // 2)
            line[begin : begin + len(shown)] = shown
        return "".join(line).rstrip()

    def _lifelines(self) -> list[str]:
        line = [" "] * (self.end + 1)
        for position in self.positions.values():
            line[position] = "│"
        return line

    def note(self, note: Note, start: int) -> Iterator[str]:
        line, lifelines = self._lifelines(), "".join(self._lifelines())
        line[: self.first - 2] = f"{'':{self.digits}}{(note.time - start) / 1e6:10.3f}"
        begin, position = "".join(line), self.first if self.own_line else self.end + 3
        if self.own_line:
            yield begin.rstrip()
            begin = lifelines = ""
        for index, part in enumerate(_wrapped(note.text, self.width - position - 2)):
            yield f"{lifelines if index else begin:{position}}{'  ' if index else '– '}{part}"

    def arrow(self, row: LadderRow, milliseconds: float, text: str) -> Iterator[str]:
        line = self._lifelines()
        line[: self.first - 2] = f"{row.number:{self.digits}}{milliseconds:10.3f}"
        begin, end = self.positions.get(row.origin), self.positions.get(row.target)
        if begin is not None and begin == end:  # The packet crossed the loopback device.
            line[begin] = "↻"
        elif begin is not None and end is not None:
            low, high = sorted((begin, end))
            line[low + 1 : high] = "─" * (high - low - 1)
            line[begin] = "├" if begin < end else "┤"
            line[end - 1 if begin < end else end + 1] = "▶" if begin < end else "◀"
        elif begin is not None:
            step = 1 if begin != self.end or len(self.names) == 1 else -1
            line[begin] = "├" if step > 0 else "┤"
            positions = [begin + step * n for n in range(1, 5)]
            line += [" "] * (max(positions) + 1 - len(line))
            for position in positions:
                line[position] = "─"
            line[positions[-1]] = "✗"
        elif end is not None:
            line[end] = "◀" if end != self.first else "▶"
        drawn = "".join(line)
        beside = max(self.end, len(drawn) - 1) + 3
        if self.own_line:
            yield drawn.rstrip()
            yield from (f"{'':{self.first}}{part}" for part in _wrapped(text, self.width - self.first))
        else:
            first, *more = _wrapped(text, self.width - beside)
            yield f"{drawn:{beside}}{first}"
            yield from (f"{''.join(self._lifelines()):{beside}}{part}" for part in more)
        for comment in row.comment.splitlines():
            lifelines = "" if self.own_line else "".join(self._lifelines())
            position = self.first if self.own_line else beside
            for index, part in enumerate(_wrapped(comment, self.width - position - 2)):
                yield f"{lifelines:{position}}{'  ' if index else '· '}{part}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=True) or [""]
