"""Header diagrams as in RFC 791, with the fields that differ underlined, and the comparison of byte strings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntFlag
from typing import NamedTuple

from tunlab.packet.field import Field, count
from tunlab.packet.header import Header
from tunlab.packet.match import Difference, FunctionNamer, function_name
from tunlab.packet.packet import Packet
from tunlab.packet.truncated import TruncatedHeader

_ROW = 32
_TAIL_BYTES_A_LINE = 16
_BRIEF, _RUNS, _RUN = 100, 6, 8  # limits in one line: characters of a value, runs of bytes, bytes of a run
_SHORT: Mapping[str, str] = {"data_offset": "offset", "reserved": "rsvd", "max_response_code": "max resp code"}
"""Short names for fields that are narrower than their names."""


class _Cell(NamedTuple):
    name: str
    bits: int
    value: str
    marked: bool


def header_diagram(header: Header, marked: Collection[str] = (), *, offset: int = 0) -> list[str]:
    """Return the header as a diagram, in rows of 32 bits with the fields' names and values.

    Args:
        marked: The fields that are underlined by ^.
        offset: The offset of the header in the packet, in bytes. Each row begins with its offset.
    """
    margin = " " * 5
    tens = "".join(f"{bit // 10 if bit % 10 == 0 else ' '} " for bit in range(_ROW))
    units = "".join(f"{bit % 10} " for bit in range(_ROW))
    lines = [f"{margin} {tens}".rstrip(), f"{margin} {units}".rstrip(), margin + "+-" * _ROW + "+"]
    at = offset
    for row in _rows(header, marked):
        names = "|".join(_fit(cell.name, cell).center(_width(cell)) for cell in row)
        values = "|".join(cell.value.center(_width(cell)) for cell in row)
        lines += [f"{at:4} |{names}|", f"{margin}|{values}|", margin + _border(row)]
        at += 4
        if sum(cell.bits for cell in row) < _ROW:
            break
    name = header.TAIL
    tail = getattr(header, name, b"") if name and not isinstance(header, TruncatedHeader) else b""
    for start in range(0, len(tail), _TAIL_BYTES_A_LINE):
        text = f" {name if not start else '':8} {tail[start : start + _TAIL_BYTES_A_LINE].hex(' ')}"
        lines.append(f"{at + start:4} |{text:<63}|")
    if tail:
        lines.append(margin + _border([_Cell(name, _ROW, "", name in marked)]))
    return lines


def _rows(header: Header, marked: Collection[str]) -> Iterator[list[_Cell]]:
    """Yield the fixed fields in rows of 32 bits; a field that does not fit its row continues in the next."""
    row: list[_Cell] = []
    room = _ROW
    layout = header.layer.LAYOUT if isinstance(header, TruncatedHeader) else header.LAYOUT
    # Optional fields, as of GRE, are drawn; options and other bytes behind the fixed fields are not.
    fixed = sum(bits for _, bits in layout) if header.TAIL else header.header_length * 8
    for field in header.fields():
        if field.start >= fixed or (isinstance(header, TruncatedHeader) and field.name == "rest"):
            break
        name, left, is_marked = field.name, field.bits, field.name in marked
        while left:
            bits = min(left, room)
            value = _value(field, bits) if left == field.bits else ""
            row.append(_Cell(name if left == field.bits else "", bits, value, is_marked))
            left -= bits
            room -= bits
            if not room:
                yield row
                row, room = [], _ROW
    if row:
        yield row


def _value(field: Field, bits: int) -> str:
    value, width = field.value, 2 * bits - 1
    text = str(value)
    if field.name == "checksum" and isinstance(value, int):
        text = f"{value:#06x}"
    elif isinstance(value, IntFlag):
        text = value.name or "0"
        if len(text) > width:  # the first letter of each flag
            text = "".join(flag.name[0] for flag in type(value) if flag in value and flag.name)
    elif isinstance(value, int):
        text = str(int(value))
    return text if len(text) <= width else "…"


def _width(cell: _Cell) -> int:
    return 2 * cell.bits - 1


def _fit(name: str, cell: _Cell) -> str:
    name = _SHORT.get(name, name) if len(name) > _width(cell) else name
    return name.replace("_", " ")[: _width(cell)]


def _border(row: Iterable[_Cell]) -> str:
    return "+" + "".join(("^" * _width(cell) if cell.marked else "-+" * (cell.bits - 1) + "-") + "+" for cell in row)


def differing_fields(differences: Iterable[Difference], packet: Packet) -> dict[type[Header], set[str]]:
    """Return the names of the fields to underline, by header class.

    A difference in a view, as `TCP.mss`, underlines the fields that the view is computed from.
    """
    found: dict[type[Header], set[str]] = {}
    layers = {base.__name__: type(header) for header in packet.headers for base in reversed(type(header).__mro__)}
    for difference in differences:
        name, _, field = difference.field.partition(".")
        layer = layers.get(name)
        if layer is not None and field and field != "payload":
            found.setdefault(layer, set()).update({field, *layer.VIEWS.get(field, ())})
    return found


def explain(packet: Packet, differences: Sequence[Difference], name: FunctionNamer = function_name) -> list[str]:
    """Return the lines that explain why a packet does not match: each difference, then diagrams of the headers.

    Args:
        name: A function that returns the text for a function in a condition.
    """
    marked = differing_fields(differences, packet)
    lines: list[str] = []
    offset = 0
    for header in packet.headers:
        if type(header) in marked:
            diagram = header_diagram(header, marked[type(header)], offset=offset)
            lines += [f"{type(header).__name__} as received:", *diagram]
        offset += header.header_length
    return difference_lines(differences, name) + lines


def difference_lines(
    differences: Iterable[Difference], name: FunctionNamer = function_name, labels: tuple[str, str] = ("wanted", "got")
) -> list[str]:
    """Return a line for each difference; two byte strings are compared in several lines."""
    lines: list[str] = []
    for each in differences:
        if isinstance(each.wanted, bytes) and isinstance(each.got, bytes):
            lines += diff_bytes(each.wanted, each.got, each.field, labels)
        else:
            lines.append(each.text(name, labels))
    return lines


def diff_bytes(
    wanted: bytes, got: bytes, field: str = "bytes", labels: tuple[str, str] = ("wanted", "got")
) -> list[str]:
    """Return the comparison of two byte strings: the number of bytes that differ, then three rows of sixteen bytes."""
    length = max(len(wanted), len(got))
    differing = [at for at in range(length) if wanted[at : at + 1] != got[at : at + 1]]
    left, right = labels
    if not differing:
        return []
    sizes = f"{left} {count(len(wanted), 'byte')}, {right} {len(got)}"
    which = f"byte {differing[0]} differs" if len(differing) == 1 else f"{len(differing)} bytes differ"
    if len(differing) > 1:
        which += f", the first is byte {differing[0]}"
    lines = [f"{field}: {sizes}: {which}"]
    starts = list(dict.fromkeys(at // 16 * 16 for at in differing))
    size = max(map(len, labels))
    for start in starts[:3]:
        end = min(start + 16, length)
        for label, data in ((left, wanted), (right, got)):
            cells = [data[at : at + 1].hex() or "--" for at in range(start, end)]
            shown = "".join(chr(each) if 32 <= each < 127 else "." for each in data[start:end])
            lines.append(f"  {label:{size}} {start:5}  {' '.join(cells):47}  {shown}".rstrip())
        carets = " ".join("^^" if at in set(differing) else "  " for at in range(start, end))
        lines.append(f"  {'':{size}} {'':5}  {carets}".rstrip())
    if len(starts) > 3:
        lines.append(f"  and {len(starts) - 3} more lines of sixteen bytes that differ")
    return lines


def short_values(difference: Difference, name: FunctionNamer = function_name) -> tuple[str, str]:
    """Return the wanted and the actual value of a difference, each short enough for a comment.

    Of two byte strings only the bytes that differ are shown, in hexadecimal, with their offsets in the field:
    "58 at 30 and 61 62 at 41–42", "6c at 30 and 00 00 at 41–42".
    """
    if isinstance(difference.wanted, bytes) and isinstance(difference.got, bytes):
        return _differing_bytes(difference.wanted, difference.got)
    wanted, got = (side if len(side) <= _BRIEF else f"{side[:_BRIEF]}…" for side in difference.value_texts(name))
    return wanted, got


def differing_ranges(one: bytes, other: bytes) -> list[tuple[int, int]]:
    """Return start and end of each run of differing bytes; the tail of the longer string counts as differing."""
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
    """Return both byte strings as text: the bytes that differ, and the lengths if they differ."""
    runs = differing_ranges(one, other)
    more = [f"{len(runs) - _RUNS} more places"] if len(runs) > _RUNS else []
    sides = []
    for data in (one, other):
        size = "" if len(one) == len(other) else f"{count(len(data), 'byte')}, "
        sides.append(size + " and ".join([_run(data, *each) for each in runs[:_RUNS]] + more))
    return sides[0], sides[1]


def _run(data: bytes, start: int, end: int) -> str:
    shown = data[start : min(end, start + _RUN)].hex(" ") + " …" * (start + _RUN < min(end, len(data)))
    return f"{shown or 'nothing'} at {start}" + (f"–{end - 1}" if end - start > 1 else "")
