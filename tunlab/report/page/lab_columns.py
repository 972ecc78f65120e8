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
from tunlab.recorder import LINKTYPE_ETHERNET, RecordedPacket, locate_ipv4
from tunlab.report.evidence import Evidence, Observation
from tunlab.report.ladder import TEST, LadderRow, ladder_rows
from tunlab.report.page.arrows import Arrow, Columns

MOST = 8
"""Columns of nodes at most; what is beyond stands in one more, for all others."""

_NAME = re.compile(r"([^:\s]+):([^:\s]+)")


def have_nodes(records: Sequence[RecordedPacket]) -> bool:
    """Whether every record says on which device of which node it was, and which way it went."""
    return bool(records) and all(each.direction and _NAME.fullmatch(each.interface.name) for each in records)


def between_nodes(records: Sequence[RecordedPacket], packets: Sequence[Packet | None]) -> Columns:
    """The nodes that packets went between, in the order of their interfaces, the test before them where it is one."""
    observations = [_observation(*each) for each in zip(records, packets, strict=True)]
    switches = _switches(observations)
    order = sorted({(each.interface.index, seen.node) for each, seen in zip(records, observations, strict=True)})
    nodes = [name for name in dict.fromkeys(node for _, node in order) if name not in switches]
    found = ladder_rows(Evidence(observations, nodes, test_is_endpoint=False, lost={}, tuns=[]))
    columns, places = _columns([TEST, *nodes], found)
    arrows: list[Arrow | None] = [None] * len(observations)
    for number, group in groupby(found, key=lambda row: row.number):
        same = list(group)
        arrows[number - 1] = Arrow(
            places.get(same[0].origin, -1),
            tuple(places[row.target] for row in same if row.target),
            tuple(row.received - 1 for row in same if row.target and row.received != number),
        )
    _pass_on(observations, switches, arrows)
    return Columns(columns, arrows)


def _observation(record: RecordedPacket, packet: Packet | None) -> Observation:
    node, _, ifname = record.interface.name.partition(":")
    place = locate_ipv4(record)
    return Observation(
        node=node,
        device=record.interface.name,
        ifname=ifname,
        on_link=record.interface.linktype == LINKTYPE_ETHERNET,
        linktype=record.interface.linktype,
        time=record.time_ns or 0,
        direction=record.direction or "in",
        frame=record.data,
        octets=record.data if place is None else record.data[place],
        packet=packet,
    )


def _switches(observations: Sequence[Observation]) -> set[str]:
    came = defaultdict[tuple[str, bytes], set[str]](set)
    for each in observations:
        if each.on_link and each.direction == "in":
            came[each.node, each.frame].add(each.ifname)
    return {
        each.node
        for each in observations
        if each.on_link and each.direction == "out" and came[each.node, each.frame] - {each.ifname}
    }


def _columns(names: Sequence[str], found: Sequence[LadderRow]) -> tuple[list[tuple[str, str]], Mapping[str, int]]:
    """The names that have an arrow, each with the number of its column: those with fewest share the last."""
    counted = Counter(name for row in found for name in {row.origin, row.target} if name)
    used = [name for name in names if counted[name]]
    often = {name for name, _ in counted.most_common(MOST)} if len(used) > MOST + 1 else set(used)
    shown = [name for name in used if name in often]
    places = {name: shown.index(name) if name in often else len(shown) for name in used}
    titles = [(name, "") for name in shown]
    others = len(used) - len(shown)
    return ([*titles, ("others", f"{others} more")] if others else titles), places


def _pass_on(observations: Sequence[Observation], switches: set[str], arrows: list[Arrow | None]) -> None:
    """Put the records of switches into the arrow of the packet that they passed on: the last that had left before."""
    begun = dict[bytes, int]()
    for number, each in enumerate(observations):
        arrow = arrows[begun[each.frame]] if each.frame in begun else None
        if each.node in switches and arrow is not None:
            arrows[begun[each.frame]] = arrow._replace(passed=(*arrow.passed, number))
        elif each.node not in switches and arrows[number] is not None:
            begun[each.frame] = number
