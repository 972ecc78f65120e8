"""The HTML page's sequence diagram for a lab: one column per node, one arrow per packet and link.

A recording of several nodes names its interfaces "node:device". It does not say which nodes are switches, so a node
counts as a switch if it forwarded a frame unchanged, which no host or router does.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby

from tunlab.packet import Packet
from tunlab.recorder import RecordedPacket
from tunlab.report.evidence import Evidence, Observation
from tunlab.report.ladder import TEST, LadderRow, ladder_rows
from tunlab.report.page.arrows import Arrow, Columns

MAX_COLUMNS = 8
"""Number of nodes with a column of their own; all other nodes share one more."""

_NAME = re.compile(r"([^:\s]+):([^:\s]+)")


def have_nodes(records: Sequence[RecordedPacket]) -> bool:
    """Return True if every record of the recording has a direction and an interface named "node:device"."""
    return bool(records) and all(each.direction and _NAME.fullmatch(each.interface.name) for each in records)


def between_nodes(records: Sequence[RecordedPacket], packets: Sequence[Packet | None]) -> Columns:
    """Return the diagram with a column for the test, if it sent or received packets, and one for each node."""
    observations = [_observation(*each) for each in zip(records, packets, strict=True)]
    switches = _switches(observations)
    order = sorted({(each.interface.index, seen.node) for each, seen in zip(records, observations, strict=True)})
    nodes = [name for name in dict.fromkeys(node for _, node in order) if name not in switches]
    found = ladder_rows(Evidence(observations, nodes, test_is_endpoint=False, lost={}, tuns=[]))
    columns, positions = _columns([TEST, *nodes], found)
    arrows: list[Arrow | None] = [None] * len(observations)
    for number, group in groupby(found, key=lambda row: row.number):
        same = list(group)
        arrows[number - 1] = Arrow(
            positions.get(same[0].origin, -1),
            tuple(positions[row.target] for row in same if row.target),
            tuple(row.received - 1 for row in same if row.target and row.received != number),
        )
    _add_forwarded(observations, switches, arrows)
    return Columns(columns, arrows)


def _observation(record: RecordedPacket, packet: Packet | None) -> Observation:
    node, _, ifname = record.interface.name.partition(":")
    return Observation(
        node=node,
        device=record.interface.name,
        ifname=ifname,
        on_link=record.interface.is_link,
        linktype=record.interface.linktype,
        time=record.time_ns or 0,
        direction=record.direction or "in",
        frame=record.data,
        packet=packet,
    )


def _switches(observations: Sequence[Observation]) -> set[str]:
    received = defaultdict[tuple[str, bytes], set[str]](set)
    for each in observations:
        if each.on_link and each.direction == "in":
            received[each.node, each.frame].add(each.ifname)
    return {
        each.node
        for each in observations
        if each.on_link and each.direction == "out" and received[each.node, each.frame] - {each.ifname}
    }


def _columns(names: Sequence[str], found: Sequence[LadderRow]) -> tuple[list[tuple[str, str]], Mapping[str, int]]:
    """Return the columns, and the column number of each node. The nodes with the fewest arrows share one column."""
    counts = Counter(name for row in found for name in {row.origin, row.target} if name)
    used = [name for name in names if counts[name]]
    frequent = {name for name, _ in counts.most_common(MAX_COLUMNS)} if len(used) > MAX_COLUMNS + 1 else set(used)
    shown = [name for name in used if name in frequent]
    positions = {name: shown.index(name) if name in frequent else len(shown) for name in used}
    titles = [(name, "") for name in shown]
    others = len(used) - len(shown)
    return ([*titles, ("others", f"{others} more")] if others else titles), positions


def _add_forwarded(observations: Sequence[Observation], switches: set[str], arrows: list[Arrow | None]) -> None:
    """Add each record made at a switch to the arrow of the packet, which is the last one sent with the same bytes."""
    sent = dict[bytes, int]()
    for number, each in enumerate(observations):
        arrow = arrows[sent[each.frame]] if each.frame in sent else None
        if each.node in switches and arrow is not None:
            arrows[sent[each.frame]] = arrow._replace(forwarded=(*arrow.forwarded, number))
        elif each.node not in switches and arrows[number] is not None:
            sent[each.frame] = number
