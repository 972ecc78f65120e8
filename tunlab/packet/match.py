"""Matching packets and explaining why they do not match: one function does both.

`TCP.where(dst_port=80)` makes a `Match`; `difference(packet)` is the list of what differs, and a
match is an empty list. A field is compared by what it is given:

    a value                       equal
    a range, a set, a network     contained
    a function                    true of the field's value
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast

from msgspec import Struct

if TYPE_CHECKING:
    from tunlab.packet.header import Header
    from tunlab.packet.packet import Packet


FunctionNamer: TypeAlias = Callable[[Callable[..., object]], str]
"""What to call a function in a text; this floor knows its name alone, one that may read files knows its source."""


def function_name(function: Callable[..., object]) -> str:
    """The function's own name."""
    return getattr(function, "__name__", repr(function))


ABSENT = "present"
"""What is wanted of a layer that is not there."""

_FAR = 1000


class Difference(NamedTuple):
    """One field that is not as wanted: `field` as "TCP.dst_port", "TCP" for a layer that is not there."""

    field: str
    wanted: object
    got: object

    def text(self, name: FunctionNamer = function_name, labels: tuple[str, str] = ("wanted", "got")) -> str:
        """The row of a failure message, functions called by what `name` makes of them."""
        wanted, got = self.sides(name)
        return f"{self.field}: {labels[0]} {wanted}, {labels[1]} {got}"

    def sides(self, name: FunctionNamer = function_name) -> tuple[str, str]:
        """Both values as that row has them."""
        tell = _hexadecimal if self.field.endswith(".checksum") else format_value
        return tell(self.wanted, name), tell(self.got, name)

    def __str__(self) -> str:
        return self.text()


class Matcher(Protocol):
    """What can be held against a packet."""

    def difference(self, packet: Packet) -> list[Difference]:
        """As `Match.difference`."""


class Match(Struct, frozen=True):
    """Conditions on the headers of a packet and on its payload; made by `Header.where`, joined by `&`."""

    conditions: tuple[tuple[type[Header], tuple[tuple[str, object], ...]], ...]

    def difference(self, packet: Packet) -> list[Difference]:
        """The fields that differ from what is wanted, in the order they were given; empty for a match."""
        rows: list[Difference] = []
        for layer, wanted in self.conditions:
            header = packet.get(layer)
            if header is None:
                got = "/".join(type(each).__name__ for each in packet.headers) or "octets"
                rows.append(Difference(layer.__name__, ABSENT, got))
                continue
            for name, value in wanted:
                got_value = packet.payload if name == "payload" else getattr(header, name)
                if not _agrees(value, got_value):
                    rows.append(Difference(f"{layer.__name__}.{name}", value, got_value))
        return rows

    def matches(self, packet: Packet) -> bool:
        """Whether nothing differs."""
        return not self.difference(packet)

    def __and__(self, other: Match) -> Match:
        if not isinstance(other, Match):
            return NotImplemented
        return Match(self.conditions + other.conditions)

    def text(self, name: FunctionNamer = function_name) -> str:
        """The conditions, functions called by what `name` makes of them."""
        return " & ".join(
            f"{layer.__name__}({', '.join(f'{field}={format_value(value, name, 16)}' for field, value in wanted)})"
            for layer, wanted in self.conditions
        )

    def __str__(self) -> str:
        return self.text()


def where(layer: type[Header], fields: dict[str, object]) -> Match:
    """The `Match` of a layer's fields; a name or a value that the layer cannot have is a TypeError or ValueError."""
    known = (*layer.__struct_fields__, *layer.VIEWS, "payload")
    for name in fields:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise TypeError(f"{layer.__name__} has no field {name!r}; {hint}")
    return Match(((layer, tuple((name, _wanted(layer, name, value)) for name, value in fields.items())),))


def _wanted(layer: type[Header], name: str, value: object) -> object:
    """`value` as the field would hold it, so that a match can be by plain equality; refused where it never holds it."""
    if callable(value) or (value is None and name in layer.VIEWS):
        return value
    if isinstance(value, (set, frozenset)):
        return frozenset(_wanted(layer, name, each) for each in value)
    if isinstance(value, (range, IPv4Network)):
        for end in (value.network_address,) if isinstance(value, IPv4Network) else (*value[:1], *value[-1:]):
            layer.coerce(name, end)
        return value
    return layer.coerce(name, value)


def _agrees(wanted: object, got: object) -> bool:
    if isinstance(wanted, (range, frozenset)):
        return got in wanted
    if isinstance(wanted, IPv4Network):
        return isinstance(got, str) and IPv4Address(got) in wanted
    if callable(wanted):
        return bool(cast(Callable[[object], object], wanted)(got))
    return wanted == got


def format_value(value: object, name: FunctionNamer = function_name, octets: int = 32) -> str:
    """A value as a failure message should show it: octets in hexadecimal, so many; flags and functions by name."""
    if isinstance(value, bytes):
        cut = " …" if len(value) > octets else ""
        return f"{len(value)} octet{'s' * (len(value) != 1)} {value[:octets].hex(' ')}{cut}" if value else "no octets"
    if callable(value):
        return name(value)
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(format_value, value), key=lambda text: (len(text), text))) + "}"
    member = getattr(value, "name", None)
    if isinstance(member, str) and isinstance(value, int):
        return member
    return str(value) if isinstance(value, (str, int, IPv4Network)) else repr(value)


def _hexadecimal(value: object, name: FunctionNamer) -> str:
    return f"{value:#06x}" if isinstance(value, int) else format_value(value, name)


def distance(differences: Iterable[Difference]) -> int:
    """In how many fields a packet is not as wanted; one without the layer is farther than any that has it."""
    return sum(_FAR if each.wanted is ABSENT else 1 for each in differences)


def nearest(match: Matcher, packets: Sequence[Packet]) -> list[tuple[int, list[Difference]]]:
    """For each packet its index and differences, the fewest differences first, then the latest packet first."""
    rows = [(index, match.difference(packet)) for index, packet in enumerate(packets)]
    return sorted(rows, key=lambda row: (distance(row[1]), -row[0]))
