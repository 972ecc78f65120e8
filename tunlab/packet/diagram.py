"""Headers drawn as RFC 791 draws them, 32 bits a row, what differs marked; octets beside octets, likewise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntFlag
from typing import NamedTuple

from tunlab.packet.header import Header
from tunlab.packet.icmp import ICMP
from tunlab.packet.igmp import IGMP
from tunlab.packet.ipv4 import IPv4
from tunlab.packet.match import Difference, FunctionNamer, function_name
from tunlab.packet.packet import Packet
from tunlab.packet.tcp import TCP
from tunlab.packet.truncated import TruncatedHeader

_ROW = 32
_OPTIONS_A_LINE = 16
_BRIEF, _RUNS, _RUN = 100, 6, 8  # letters of a value, places, and octets of each, that a short line has
_SHORT = {"data_offset": "offset", "reserved": "rsvd", "max_response_code": "max resp code"}
"""Names that are wider than their fields."""

_FIELDS_OF_VIEWS: Mapping[type[Header], Mapping[str, tuple[str, ...]]] = {
    IPv4: {
        "header_length": ("ihl",),
        "is_fragment": ("flags", "fragment_offset"),
        "final_destination": ("dst", "options"),
    },
    TCP: dict.fromkeys(TCP.VIEWS, ("options",)),
    ICMP: {
        "gateway": ("identifier", "sequence_number"),
        "pointer": ("identifier",),
        "mtu": ("sequence_number",),
        "is_error": ("type",),
        "name": ("type", "code"),
    },
    IGMP: {
        "version": ("type", "rest"),
        "name": ("type",),
        **dict.fromkeys(("sources", "records", "record_count"), ("rest",)),
    },
}
"""Where a view's value stands on the wire."""


class _Cell(NamedTuple):
    name: str
    bits: int
    value: str
    marked: bool


def header_diagram(header: Header, marked: Collection[str] = (), *, offset: int = 0) -> list[str]:
    """The header as a diagram, a row of 32 bits each with its fields' names and values; `marked` ones underlined by ^.

    offset   where the header begins, in octets from the start of the datagram: at each row stands where that begins
    """
    margin = " " * 5
    tens = "".join(f"{bit // 10 if bit % 10 == 0 else ' '} " for bit in range(_ROW))
    units = "".join(f"{bit % 10} " for bit in range(_ROW))
    lines = [f"{margin} {tens}".rstrip(), f"{margin} {units}".rstrip(), margin + "+-" * _ROW + "+"]
    at = offset
    for row in _rows(header, marked):
        names = "|".join(_fitting(cell.name, cell).center(_width(cell)) for cell in row)
        values = "|".join(cell.value.center(_width(cell)) for cell in row)
        unfinished = sum(cell.bits for cell in row) < _ROW
        lines += [f"{at:4} |{names}|", f"{margin}|{values}|", margin + _border(row)]
        at += 4
        if unfinished:
            break
    rest = getattr(header, "options", b"") or getattr(header, "rest", b"")
    name = "options" if hasattr(header, "options") else "rest"
    for start in range(0, len(rest), _OPTIONS_A_LINE):
        text = f" {name if not start else '':8} {rest[start : start + _OPTIONS_A_LINE].hex(' ')}"
        lines.append(f"{at + start:4} |{text:<63}|")
    if rest:
        lines.append(margin + _border([_Cell(name, _ROW, "", name in marked)]))
    return lines


def _rows(header: Header, marked: Collection[str]) -> Iterator[list[_Cell]]:
    row: list[_Cell] = []
    bits = 0
    for cell in _cells(header, marked):
        row.append(cell)
        bits += cell.bits
        if bits == _ROW:
            yield row
            row, bits = [], 0
    if row:
        yield row


def _cells(header: Header, marked: Collection[str]) -> Iterator[_Cell]:
    if isinstance(header, TruncatedHeader):
        widths = dict(header.layer.LAYOUT)
        for name, value in header.fields.items():
            yield _Cell(name, widths[name], str(value), name in marked)
        return
    for name, bits in header.LAYOUT:
        yield _Cell(name, bits, _value(name, bits, getattr(header, name)), name in marked)


def _value(name: str, bits: int, value: object) -> str:
    width = 2 * bits - 1
    text = str(value)
    if name == "checksum" and isinstance(value, int):
        text = f"{value:#06x}"
    elif isinstance(value, IntFlag):
        text = value.name or "0"
        if len(text) > width:  # tcpdump's way: the first letters
            text = "".join(flag.name[0] for flag in type(value) if flag in value and flag.name)
    elif isinstance(value, int):
        text = str(int(value))
    return text if len(text) <= width else "…"


def _width(cell: _Cell) -> int:
    return 2 * cell.bits - 1


def _fitting(name: str, cell: _Cell) -> str:
    name = _SHORT.get(name, name) if len(name) > _width(cell) else name
    return name.replace("_", " ")[: _width(cell)]


def _border(row: Iterable[_Cell]) -> str:
    return "+" + "".join(("^" * _width(cell) if cell.marked else "-+" * (cell.bits - 1) + "-") + "+" for cell in row)


def differing_fields(differences: Iterable[Difference], packet: Packet) -> dict[type[Header], set[str]]:
    """The fields to mark, by the layer they stand in; of a view those that its value stands in."""
    found: dict[type[Header], set[str]] = {}
    layers = {type(header).__name__: type(header) for header in packet.headers}
    for difference in differences:
        name, _, field = difference.field.partition(".")
        layer = layers.get(name)
        if layer is not None and field and field != "payload":
            views = _FIELDS_OF_VIEWS.get(layer, {})
            found.setdefault(layer, set()).update(views.get(field, (field,)))
    return found


def explain(packet: Packet, differences: Sequence[Difference], name: FunctionNamer = function_name) -> list[str]:
    """Where a packet differs: what was wanted and came, then each header that does as a box with its fields marked.

    name   what functions are called
    """
    marked = differing_fields(differences, packet)
    lines: list[str] = []
    offset = 0
    for header in packet.headers:
        if type(header) in marked:
            lines += [
                f"{type(header).__name__}, as it came:",
                *header_diagram(header, marked[type(header)], offset=offset),
            ]
        offset += len(_octets(header))
    return difference_lines(differences, name) + lines


def difference_lines(
    differences: Iterable[Difference], name: FunctionNamer = function_name, labels: tuple[str, str] = ("wanted", "got")
) -> list[str]:
    """A line for each difference; octets that differ from wanted ones are laid beside these."""
    lines: list[str] = []
    for each in differences:
        if isinstance(each.wanted, bytes) and isinstance(each.got, bytes):
            lines += diff_bytes(each.wanted, each.got, each.field, labels)
        else:
            lines.append(each.text(name, labels))
    return lines


def _octets(header: Header) -> bytes:
    try:
        return header.to_bytes()
    except ValueError:  # put together and not built yet: fields may be None
        return bytes(sum(bits for _, bits in header.LAYOUT) // 8)


def diff_bytes(
    wanted: bytes, got: bytes, field: str = "octets", labels: tuple[str, str] = ("wanted", "got")
) -> list[str]:
    """Where two octet strings part: how many octets differ, and the lines of sixteen around the first three that do."""
    length = max(len(wanted), len(got))
    differing = [at for at in range(length) if wanted[at : at + 1] != got[at : at + 1]]
    left, right = labels
    if not differing:
        return []
    sizes = f"{left} {len(wanted)} octet{'s' * (len(wanted) != 1)}, {right} {len(got)}"
    which = f"octet {differing[0]} differs" if len(differing) == 1 else f"{len(differing)} octets differ"
    if len(differing) > 1:
        which += f", the first is octet {differing[0]}"
    lines = [f"{field}: {sizes}: {which}"]
    starts = list(dict.fromkeys(at // 16 * 16 for at in differing))
    size = max(map(len, labels))
    for start in starts[:3]:
        end = min(start + 16, length)
        for label, octets in ((left, wanted), (right, got)):
            cells = [octets[at : at + 1].hex() or "--" for at in range(start, end)]
            shown = "".join(chr(each) if 32 <= each < 127 else "." for each in octets[start:end])
            lines.append(f"  {label:{size}} {start:5}  {' '.join(cells):47}  {shown}".rstrip())
        carets = " ".join("^^" if at in set(differing) else "  " for at in range(start, end))
        lines.append(f"  {'':{size}} {'':5}  {carets}".rstrip())
    if len(starts) > 3:
        lines.append(f"  and {len(starts) - 3} more lines of sixteen octets that differ")
    return lines


def short_values(difference: Difference, name: FunctionNamer = function_name) -> tuple[str, str]:
    """Return the wanted and the actual value of a difference, each short enough for a comment.

    Of two byte strings only the bytes that differ are shown, in hexadecimal, with their offsets in the field:
    "58 at 30 and 61 62 at 41–42", "6c at 30 and 00 00 at 41–42".
    """
    if isinstance(difference.wanted, bytes) and isinstance(difference.got, bytes):
        return _differing_bytes(difference.wanted, difference.got)
    wanted, got = (side if len(side) <= _BRIEF else f"{side[:_BRIEF]}…" for side in difference.sides(name))
    return wanted, got


def differing_ranges(one: bytes, other: bytes) -> list[tuple[int, int]]:
    """Return start and end of each run of bytes in which two byte strings differ, their different ends included."""
    common, length = min(len(one), len(other)), max(len(one), len(other))
    runs = list[tuple[int, int]]()
    for at in range(common):
        if one[at] == other[at]:
            continue
        if runs and runs[-1][1] == at:
            runs[-1] = runs[-1][0], at + 1
        else:
            runs.append((at, at + 1))
    if common < length:
        runs.append((common, length))
    return runs


def _differing_bytes(one: bytes, other: bytes) -> tuple[str, str]:
    """Describe both byte strings by the bytes that differ, and by their lengths if these differ."""
    runs = differing_ranges(one, other)
    more = [f"{len(runs) - _RUNS} more places"] if len(runs) > _RUNS else []
    sides = []
    for octets in (one, other):
        size = "" if len(one) == len(other) else f"{len(octets)} byte{'s' * (len(octets) != 1)}, "
        sides.append(size + " and ".join([_run(octets, *each) for each in runs[:_RUNS]] + more))
    return sides[0], sides[1]


def _run(octets: bytes, start: int, end: int) -> str:
    shown = octets[start : min(end, start + _RUN)].hex(" ") + " …" * (start + _RUN < min(end, len(octets)))
    return f"{shown or 'nothing'} at {start}" + (f"–{end - 1}" if end - start > 1 else "")
