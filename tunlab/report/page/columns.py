"""Between whom packets went: the columns of the ladder, each packet's from and to, and which records are one packet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tunlab.packet import Packet
from tunlab.recorder import LINKTYPE_ETHERNET, RecordedPacket
from tunlab.report.page.arrows import Arrow, Columns
from tunlab.report.page.lab_columns import between_nodes, have_nodes

MOST = 5
"""Columns of addresses at most; what is beyond stands in one more, for all others."""


def find_columns(records: Sequence[RecordedPacket], packets: Sequence[Packet | None]) -> Columns:
    """Whose columns there are: of a lab its nodes, of a TUN the test and the kernel, of any other the addresses."""
    if have_nodes(records):
        return between_nodes(records, packets)
    directed = all(each.direction and each.interface.linktype != LINKTYPE_ETHERNET for each in records)
    return _by_direction(records) if records and directed else _by_address(packets)


def _by_direction(records: Sequence[RecordedPacket]) -> Columns:
    """A TUN's "in" was injected by the test, its "out" was sent by the kernel behind it."""
    names = list(dict.fromkeys(each.interface.name for each in records))
    columns = [("test", ""), *(("kernel", name) for name in names)]
    arrows: list[Arrow | None] = []
    for each in records:
        kernel = names.index(each.interface.name) + 1
        arrows.append(Arrow(0, (kernel,)) if each.direction == "in" else Arrow(kernel, (0,)))
    return Columns(columns, arrows)


def _by_address(packets: Sequence[Packet | None]) -> Columns:
    """The addresses with most packets, in the order they came; the rest are one."""
    pairs = [None if packet is None else (packet.ip.src, packet.ip.dst) for packet in packets]
    counted = Counter(address for pair in pairs if pair for address in pair)
    often = {address for address, _ in counted.most_common(MOST)}
    columns = [address for address in counted if address in often]
    places = {address: columns.index(address) if address in often else len(columns) for address in counted}
    arrows = [None if pair is None else Arrow(places[pair[0]], (places[pair[1]],)) for pair in pairs]
    titles = [(address, "") for address in columns]
    others = len(counted) - len(columns)
    return Columns([*titles, ("others", f"{others} more")] if others else titles, arrows)
