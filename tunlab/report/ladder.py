"""The ladder: who sent what to whom, an arrow for each packet between the ends, down the time.

Source: the message sequence chart, ITU-T Z.120, as far as plain text goes. 100 columns.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from msgspec import Struct

from tunlab.packet import summary
from tunlab.report import arp
from tunlab.report.evidence import Evidence, Sighting

WIDTH = 100
TEST = "test"
_FIRST, _LAST = 20, 40  # of a long test these rows are shown


class Row(Struct, frozen=True):
    """An arrow.

    number    of the packet in the recording, from 1: of its first sighting
    origin    the name of an end; "" where it came from nowhere that is recorded
    target    the same; "" where nobody has received it
    received  the number of its sighting at the target; the same number where there is one sighting, 0 for no target
    """

    number: int
    sighting: Sighting
    origin: str
    target: str
    comment: str
    received: int


def rows(evidence: Evidence) -> list[Row]:
    """The arrows: each packet once from end to end, however many devices it passed between."""
    found = list[Row]()
    received: defaultdict[bytes, deque[tuple[int, Sighting]]] = defaultdict(deque)
    left: defaultdict[bytes, list[tuple[int, str]]] = defaultdict(list)
    numbered = [(n, each) for n, each in enumerate(evidence.sightings, 1) if each.home in evidence.ends]
    for number, each in numbered:
        if each.wire and each.direction == "in":
            received[each.frame].append((number, each))
        elif each.wire:
            left[each.frame].append((number, each.home))
    taken = set[int]()
    for number, each in numbered:
        if not each.wire:
            ends = (TEST, each.home) if each.direction == "in" else (each.home, TEST)
            found.append(Row(number, each, *ends, each.comment, number))
        elif each.direction == "out":
            targets = _receivers(each, received[each.frame], taken)
            for target, there in targets or [("", 0)]:
                found.append(Row(number, each, each.home, target, each.comment, there))
        elif number not in taken and (each.ifname == "lo" or not _sent_later(each, number, left[each.frame])):
            origin = each.home if each.ifname == "lo" else ""
            found.append(Row(number, each, origin, each.home, each.comment, number))
    return found


def _receivers(sent: Sighting, candidates: deque[tuple[int, Sighting]], taken: set[int]) -> list[tuple[str, int]]:
    """Who has received it, with the number of that sighting: each other end once, the first time after it was sent."""
    names = dict[str, int]()
    while candidates and candidates[0][0] in taken:
        candidates.popleft()
    for number, each in candidates:
        if each.home in names:  # it was sent again
            break
        if number not in taken and each.home != sent.home and each.time >= sent.time:
            taken.add(number)
            names[each.home] = number
    return list(names.items())


def _sent_later(received: Sighting, number: int, left: Sequence[tuple[int, str]]) -> bool:
    # Two namespaces' records are put together by time: a packet may seem to arrive before it left.
    return bool(left) and left[-1][0] > number and left[-1][1] != received.home


def describe(sighting: Sighting) -> str:
    """The packet in one line."""
    octets = sighting.octets
    if sighting.packet is not None:
        return summary(sighting.packet)
    if sighting.wire and sighting.frame[12:14] == b"\x08\x06" and arp.is_message(octets):
        return arp.in_words(octets)
    if octets and octets[0] >> 4 == 6:
        return f"IPv6, {len(octets)} octets"
    return summary(octets)


def draw(evidence: Evidence) -> list[str]:
    """The ladder in lines; none where nothing passed."""
    found = rows(evidence)
    if not found:
        return []
    names = ([TEST] if evidence.tested else []) + evidence.ends
    used = {name for row in found for name in (row.origin, row.target)} | {TEST}
    columns = _Columns([name for name in names if name in used], digits=len(str(found[-1].number)))
    several = len({row.sighting.device for row in found if not row.sighting.wire}) > 1
    start = found[0].sighting.time
    lines = [columns.header()]
    left_out = len(found) - _FIRST - _LAST
    for index, row in enumerate(found):
        if left_out > 0 and _FIRST <= index < _FIRST + left_out:
            if index == _FIRST:
                lines.append(f"      … {left_out} more packets, all of them in the recording …")
            continue
        prefix = f"{row.sighting.device}: " if several and not row.sighting.wire else ""
        text = prefix + describe(row.sighting)
        if not row.target:
            text += " – nobody received it"
        lines += columns.arrow(row, (row.sighting.time - start) / 1e6, text)
    return lines


class _Columns:
    """Where the lines of the ends stand."""

    def __init__(self, names: Sequence[str], *, digits: int) -> None:
        self.names, self.digits = list(names), max(3, digits)
        longest = max(map(len, names))
        room = 46 if len(names) > 2 else 10
        self.gap = max(7, min(longest + 2 if len(names) > 2 else 10, room // max(1, len(names) - 1)))
        self.first = self.digits + 12
        self.places = {name: self.first + index * self.gap for index, name in enumerate(names)}
        self.end = self.first + (len(names) - 1) * self.gap
        self.own_line = WIDTH - self.end < 44  # too many ends for a text beside them

    def header(self) -> str:
        line = [" "] * (self.end + self.gap)
        line[self.first - 7 : self.first - 5] = "ms"
        for name, place in self.places.items():
            shown = name if len(name) < self.gap else name[: self.gap - 2] + "…"
            begin = max(0, place - len(shown) // 2)
            line[begin : begin + len(shown)] = shown
        return "".join(line).rstrip()

    def _lifelines(self) -> list[str]:
        line = [" "] * (self.end + 1)
        for place in self.places.values():
            line[place] = "│"
        return line

    def arrow(self, row: Row, milliseconds: float, text: str) -> Iterator[str]:
        line = self._lifelines()
        line[: self.first - 2] = f"{row.number:{self.digits}}{milliseconds:10.3f}"
        begin, end = self.places.get(row.origin), self.places.get(row.target)
        if begin is not None and begin == end:  # over lo
            line[begin] = "↻"
        elif begin is not None and end is not None:
            low, high = sorted((begin, end))
            line[low + 1 : high] = "─" * (high - low - 1)
            line[begin] = "├" if begin < end else "┤"
            line[end - 1 if begin < end else end + 1] = "▶" if begin < end else "◀"
        elif begin is not None:
            step = 1 if begin != self.end or len(self.names) == 1 else -1
            line[begin] = "├" if step > 0 else "┤"
            places = [begin + step * n for n in range(1, 5)]
            line += [" "] * (max(places) + 1 - len(line))
            for place in places:
                line[place] = "─"
            line[places[-1]] = "✗"
        elif end is not None:
            line[end] = "◀" if end != self.first else "▶"
        drawn = "".join(line)
        beside = max(self.end, len(drawn) - 1) + 3
        if self.own_line:
            yield drawn.rstrip()
            yield from (f"{'':{self.first}}{part}" for part in _wrapped(text, WIDTH - self.first))
        else:
            first, *more = _wrapped(text, WIDTH - beside)
            yield f"{drawn:{beside}}{first}"
            yield from (f"{''.join(self._lifelines()):{beside}}{part}" for part in more)
        for comment in row.comment.splitlines():
            lifelines = "" if self.own_line else "".join(self._lifelines())
            place = self.first if self.own_line else beside
            for index, part in enumerate(_wrapped(comment, WIDTH - place - 2)):
                yield f"{lifelines:{place}}{'  ' if index else '· '}{part}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=True) or [""]
