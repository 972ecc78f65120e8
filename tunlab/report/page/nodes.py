"""The ladder between the nodes of a lab: what the recording says is one packet on one link is one arrow.

Source: a recording names its interfaces "node:device" where there are several nodes, and so says whose they are. It
does not say which of them are switches: a node is one if it has passed a frame on as it came, which no host or router
does. All else is as in the terminal's ladder, by the same function.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby

from tunlab.packet import Packet
from tunlab.recorder import LINKTYPE_ETHERNET, Record, datagram_place
from tunlab.report.evidence import Evidence, Sighting
from tunlab.report.ladder import TEST, Row, rows
from tunlab.report.page.steps import Ends, Step

MOST = 8
"""Columns of nodes at most; what is beyond stands in one more, for all others."""

_NAME = re.compile(r"([^:\s]+):([^:\s]+)")


def have_nodes(records: Sequence[Record]) -> bool:
    """Whether every record says on which device of which node it was, and which way it went."""
    return bool(records) and all(each.direction and _NAME.fullmatch(each.interface.name) for each in records)


def between_nodes(records: Sequence[Record], packets: Sequence[Packet | None]) -> Ends:
    """The nodes that packets went between, in the order of their interfaces, the test before them where it is one."""
    sightings = [_sighting(*each) for each in zip(records, packets, strict=True)]
    switches = _switches(sightings)
    order = sorted({(each.interface.index, seen.home) for each, seen in zip(records, sightings, strict=True)})
    nodes = [name for name in dict.fromkeys(home for _, home in order) if name not in switches]
    found = rows(Evidence(sightings, nodes, tested=False, lost={}, tuns=[]))
    columns, places = _columns([TEST, *nodes], found)
    steps: list[Step | None] = [None] * len(sightings)
    for number, group in groupby(found, key=lambda row: row.number):
        arrows = list(group)
        steps[number - 1] = Step(
            places.get(arrows[0].origin, -1),
            tuple(places[row.target] for row in arrows if row.target),
            tuple(row.received - 1 for row in arrows if row.target and row.received != number),
        )
    _pass_on(sightings, switches, steps)
    return Ends(columns, steps)


def _sighting(record: Record, packet: Packet | None) -> Sighting:
    home, _, ifname = record.interface.name.partition(":")
    place = datagram_place(record)
    return Sighting(
        home=home,
        device=record.interface.name,
        ifname=ifname,
        wire=record.interface.linktype == LINKTYPE_ETHERNET,
        linktype=record.interface.linktype,
        time=record.time_ns or 0,
        direction=record.direction or "in",
        frame=record.octets,
        octets=record.octets if place is None else record.octets[place],
        packet=packet,
    )


def _switches(sightings: Sequence[Sighting]) -> set[str]:
    came = defaultdict[tuple[str, bytes], set[str]](set)
    for each in sightings:
        if each.wire and each.direction == "in":
            came[each.home, each.frame].add(each.ifname)
    return {
        each.home
        for each in sightings
        if each.wire and each.direction == "out" and came[each.home, each.frame] - {each.ifname}
    }


def _columns(names: Sequence[str], found: Sequence[Row]) -> tuple[list[tuple[str, str]], Mapping[str, int]]:
    """The names that have an arrow, each with the number of its column: those with fewest share the last."""
    counted = Counter(name for row in found for name in {row.origin, row.target} if name)
    used = [name for name in names if counted[name]]
    often = {name for name, _ in counted.most_common(MOST)} if len(used) > MOST + 1 else set(used)
    shown = [name for name in used if name in often]
    places = {name: shown.index(name) if name in often else len(shown) for name in used}
    titles = [(name, "") for name in shown]
    others = len(used) - len(shown)
    return ([*titles, ("others", f"{others} more")] if others else titles), places


def _pass_on(sightings: Sequence[Sighting], switches: set[str], steps: list[Step | None]) -> None:
    """Put the records of switches into the step of the packet that they passed on: the last that had left before."""
    begun = dict[bytes, int]()
    for number, each in enumerate(sightings):
        step = steps[begun[each.frame]] if each.frame in begun else None
        if each.home in switches and step is not None:
            steps[begun[each.frame]] = step._replace(passed=(*step.passed, number))
        elif each.home not in switches and steps[number] is not None:
            begun[each.frame] = number
