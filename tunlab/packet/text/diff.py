"""The explanation of a failed `left == right` for packets and headers: the fields that differ."""

from __future__ import annotations

from collections.abc import Iterator

from tunlab.errors import PacketError
from tunlab.packet.header import Header
from tunlab.packet.match import Difference
from tunlab.packet.packet import Packet, parse
from tunlab.packet.text.diagram import difference_lines, header_diagram

SIDES = ("left", "right")


def parse_pair(left: bytes, right: bytes) -> tuple[Packet, Packet] | None:
    """Return both as packets if both are IP packets and at least one is as long as its total length; else None.

    The length distinguishes a packet that begins with 0x45 from text that begins with "E".
    """
    try:
        packets = parse(left), parse(right)
    except PacketError:
        return None
    ends = (packet.headers[0].content_end(0, -1) for packet in packets)
    if all(end != len(data) for end, data in zip(ends, (left, right), strict=True)):
        return None
    return packets


def diff(left: Packet | Header, right: Packet | Header) -> list[str]:
    """Return the lines that explain a failed `left == right`: each field that differs, then diagrams of `left`."""
    # Checksums come last: they differ because another field does.
    differences = sorted(_differences(left, right), key=lambda each: each.field.endswith(".checksum"))
    lines = [f"{_name(left)} == {_name(right)}, but for {', '.join(each.field for each in differences) or 'nothing'}"]
    lines += difference_lines(differences, labels=SIDES)
    if any(each.wanted is None or each.got is None for each in differences):
        lines.append("None is computed when the packet is built: compare complete(packet), or bytes(packet)")
    offset = 0
    for header in left.headers if isinstance(left, Packet) else (left,):
        layer = type(header).__name__
        drawn = {field.name for field in header.fields()} | {header.TAIL}
        marked = {each.field.partition(".")[2] for each in differences if each.field.startswith(f"{layer}.")} & drawn
        if marked:
            lines += [f"{layer}, left:", *header_diagram(header, marked, offset=offset)]
        offset += header.header_length
    return lines


def _name(side: Packet | Header) -> str:
    headers = side.headers if isinstance(side, Packet) else (side,)
    return "/".join(type(header).__name__ for header in headers)


def _differences(left: Packet | Header, right: Packet | Header) -> Iterator[Difference]:
    if isinstance(left, Packet) and isinstance(right, Packet):
        if list(map(type, left.headers)) != list(map(type, right.headers)):
            yield Difference("headers", _name(left), _name(right))
        for one, other in zip(left.headers, right.headers, strict=False):
            if type(one) is type(other):
                yield from _differences(one, other)
        names: tuple[str, ...] = ("payload", "trailer", "missing")
        layer = type(left.headers[-1]).__name__ if left.headers else "Packet"
    else:
        names, layer = left.__struct_fields__, type(left).__name__
    for name in names:
        one, other = getattr(left, name), getattr(right, name)
        if one != other:
            yield Difference(f"{layer}.{name}", one, other)
