"""Option lists of IPv6: of neighbor discovery (RFC 4861 section 4.6) and of extension headers (RFC 8200 section 4.2).

The formats differ in the length byte, so each has a function of its own that splits a list; all else is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from tunlab.packet.field import Field, count
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Layer
from tunlab.packet.options import Option, TypedOption, Types


class OptionItem(NamedTuple):
    """An option with its place in a list.

    Attributes:
        offset: Its offset in the list, in bytes.
        size: Its bytes, kind and length included.
    """

    offset: int
    kind: int
    body: bytes
    size: int


class OptionStop(NamedTuple):
    """The place in a list at which reading stopped, and the rule that is broken there."""

    offset: int
    rule: str
    needed: int
    present: int


Split: TypeAlias = Callable[[bytes], tuple[list[OptionItem], OptionStop | None]]
"""A function that splits a list into its options, up to the place at which reading stops."""


def decode_option_list(data: bytes, split: Split, types: Types, raw: type[Option]) -> tuple[Option | TypedOption, ...]:
    """Return the options as objects; an unknown option, or one with a wrong length, has the class `raw`."""
    found: list[Option | TypedOption] = []
    for item in split(data)[0]:
        known = types.get(item.kind)
        option = known.read(item.body) if known is not None else None
        found.append(option or raw(item.kind, item.body))
    return tuple(found)


def option_list_findings(
    layer: Layer, data: bytes, at: int, length_from: str, split: Split, types: Types
) -> list[Finding]:
    """Return the faults of the options of a header.

    Args:
        at: The offset of the options in the header.
        length_from: The field that gives their end.
    """
    found = list[Finding]()
    items, stop = split(data)
    for item in items:
        known = types.get(item.kind)
        if known is None:
            continue
        option = known.read(item.body)
        if option is None:
            rule = f"option {item.kind} ({known.__name__}) has {item.size} bytes; it needs {known.FORM}"
        else:
            rule = option.fault
        if rule:
            found.append(layer.finding("options", FindingKind.OPTION, at + item.offset, rule))
    if stop is not None:
        offset = at + stop.offset
        found.append(
            layer.finding("options", FindingKind.OPTION, offset, stop.rule, stop.needed, stop.present, length_from)
        )
    return found


def option_list_field(data: bytes, start: int, split: Split, types: Types) -> Field:
    """Return the options as a field, each option a child with its kind, length and data."""
    items, stop = split(data)
    children, end = list[Field](), 0
    for offset, kind, body, size in items:
        known = types.get(kind)
        option = known.read(body) if known is not None else None
        name, text = (f"kind {kind}", body.hex(" ")) if option is None else (type(option).__name__, option.text)
        at, parts = start + offset * 8, list[Field]()
        if size > 1:
            parts = [
                Field("kind", kind, str(kind), at, 8),
                Field("length", data[offset + 1], str(data[offset + 1]), at + 8, 8),
            ]
        if body:
            parts.append(Field("data", body, body.hex(" "), at + 16, len(body) * 8))
        children.append(Field(name, option or body, text, at, size * 8, tuple(parts), folded=bool(parts)))
        end = offset + size
    left = data[end:]
    if left:
        name = "unread" if stop else "padding"
        children.append(Field(name, left, count(len(left), "byte"), start + end * 8, len(left) * 8))
    return Field("options", data, count(len(data), "byte"), start, len(data) * 8, tuple(children))
