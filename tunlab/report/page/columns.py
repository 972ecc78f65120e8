"""Columns and arrows of the HTML page's sequence diagram, for any recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tunlab.packet import ARP, Network, Packet
from tunlab.recorder import RecordedPacket
from tunlab.report.page.arrows import Arrow, Columns
from tunlab.report.page.lab_columns import between_nodes, have_nodes

MAX_COLUMNS = 5
"""Number of addresses with a column of their own; all other addresses share one more."""


def find_columns(records: Sequence[RecordedPacket], packets: Sequence[Packet | None]) -> Columns:
    """Return the sequence diagram of a recording.

    The columns are the nodes for a lab, test and kernel for a TUN or TAP, and IP addresses for any other recording.
    """
    if have_nodes(records):
        return between_nodes(records, packets)
    directed = all(each.direction and not each.interface.is_link for each in records)
    return _by_direction(records) if records and directed else _by_address(packets)


def _by_direction(records: Sequence[RecordedPacket]) -> Columns:
    """Return the diagram for TUNs and TAPs: the test sent packets with the direction "in", the kernel the others."""
    names = list(dict.fromkeys(each.interface.name for each in records))
    columns = [("test", ""), *(("kernel", name) for name in names)]
    arrows: list[Arrow | None] = []
    for each in records:
        kernel = names.index(each.interface.name) + 1
        arrows.append(Arrow(0, (kernel,)) if each.direction == "in" else Arrow(kernel, (0,)))
    return Columns(columns, arrows)


def _by_address(packets: Sequence[Packet | None]) -> Columns:
    """Return the diagram with a column for each of the most frequent IP addresses, in order of appearance."""
    pairs = [None if packet is None else _addresses(packet) for packet in packets]
    counts = Counter(address for pair in pairs if pair for address in pair)
    frequent = {address for address, _ in counts.most_common(MAX_COLUMNS)}
    columns = [address for address in counts if address in frequent]
    positions = {address: columns.index(address) if address in frequent else len(columns) for address in counts}
    arrows = [None if pair is None else Arrow(positions[pair[0]], (positions[pair[1]],)) for pair in pairs]
    titles = [(address, "") for address in columns]
    others = len(counts) - len(columns)
    return Columns([*titles, ("others", f"{others} more")] if others else titles, arrows)


def _addresses(packet: Packet) -> tuple[str, str] | None:
    """Return the addresses of the innermost IP header or of ARP; None without them."""
    network = next((header for header in reversed(packet.headers) if isinstance(header, Network)), None)
    if network is not None:
        return network.src, network.dst
    arp = packet.get(ARP)
    return None if arp is None else (arp.sender_protocol, arp.target_protocol)
