"""Matches: conditions on the fields of a packet.

`TCP.where(dst_port=80)` makes a `Match`. `difference(packet)` returns the fields that differ; the list is empty if the
packet matches. The kind of the given value decides how a field is compared:

    a value                       equal
    has(flags)                    all of these flags are set
    a range, a set, a network     contained
    a function                    true for the field's value
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from enum import IntFlag
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from msgspec import Struct

from tunlab.errors import MalformedError
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

FunctionNamer: TypeAlias = Callable[[Callable[..., object]], str]
"""A function that names a function in messages: by its `__name__`, or by its source code."""


def function_name(function: Callable[..., object]) -> str:
    """Return the name of a function, or its repr if it has none."""
    return getattr(function, "__name__", repr(function))


ABSENT = "present"
"""The wanted value of a layer that the packet does not have."""

_FAR = 1000


class Matchable(Protocol):
    """An object that can be matched: iterable over headers, with a payload."""

    @property
    def payload(self) -> bytes:
        """The bytes behind the last header."""

    def __iter__(self) -> Iterator[object]: ...


class Has(Struct, frozen=True):
    """A condition on a flags field: all of these flags are set; other flags may be set too."""

    flags: IntFlag

    def __str__(self) -> str:
        return f"has({format_value(self.flags)})"


def has(flags: IntFlag) -> Any:
    """Match a flags field in which all of `flags` are set: `TCP.where(flags=has(TCPFlag.SYN))` matches a SYN-ACK too.

    A plain `flags=TCPFlag.SYN` is an exact match.
    """
    if not isinstance(flags, IntFlag):
        raise TypeError(f"has() got {flags!r}, which is not flags. Give flags, as has(TCPFlag.SYN).")
    return Has(flags)


class Difference(NamedTuple):
    """One field that differs: `field` is "TCP.dst_port", or "TCP" for a layer that the packet does not have."""

    field: str
    wanted: object
    got: object

    def text(self, name: FunctionNamer = function_name, labels: tuple[str, str] = ("wanted", "got")) -> str:
        """Return the line of a failure message, with functions named by `name`."""
        wanted, got = self.value_texts(name)
        return f"{self.field}: {labels[0]} {wanted}, {labels[1]} {got}"

    def value_texts(self, name: FunctionNamer = function_name) -> tuple[str, str]:
        """Return the wanted and the actual value as text."""
        text = _hexadecimal if self.field.endswith(".checksum") else format_value
        return text(self.wanted, name), text(self.got, name)

    def __str__(self) -> str:
        return self.text()


class Matcher(Protocol):
    """Anything that can be compared with a packet."""

    def difference(self, packet: Any) -> list[Difference]:
        """Return the fields that differ from the wanted values; an empty list is a match."""


class Match(Struct, frozen=True):
    """Conditions on the headers of a packet and on its payload; made by `Header.where`, joined by `&`."""

    conditions: tuple[tuple[Any, tuple[tuple[str, object], ...]], ...]

    def difference(self, packet: Matchable) -> list[Difference]:
        """Return the fields that differ, in the order in which they were given; an empty list is a match.

        If the packet has several headers of a class (a tunnel), the one that differs least counts.
        """
        found: list[Difference] = []
        for layer, wanted in self.conditions:
            headers = [header for header in packet if isinstance(header, layer)]
            if headers:
                rows = [_compare(layer, wanted, header, packet.payload) for header in headers]
                found += min(rows, key=distance)
            else:
                got = "/".join(type(each).__name__ for each in packet) or "bytes"
                found.append(Difference(layer.__name__, ABSENT, got))
        return found

    def matches(self, packet: Matchable) -> bool:
        """Return True if nothing differs."""
        return not self.difference(packet)

    def __and__(self, other: Match) -> Match:
        if not isinstance(other, Match):
            return NotImplemented
        return Match(self.conditions + other.conditions)

    def text(self, name: FunctionNamer = function_name) -> str:
        """Return the conditions as text, with functions named by `name`."""
        return " & ".join(
            f"{layer.__name__}({', '.join(f'{field}={format_value(value, name, 16)}' for field, value in wanted)})"
            for layer, wanted in self.conditions
        )

    def __str__(self) -> str:
        return self.text()


def _compare(
    layer: type[Any], wanted: tuple[tuple[str, object], ...], header: object, payload: bytes
) -> list[Difference]:
    found = []
    for name, value in wanted:
        got = payload if name == "payload" else getattr(header, name)
        if not _agrees(value, got):
            found.append(Difference(f"{layer.__name__}.{name}", value, got))
    return found


def where(layer: type[Any], fields: dict[str, object]) -> Match:
    """Return the `Match` on a layer's fields.

    Raises:
        TypeError: If the layer has no field of this name.
        MalformedError: If the field cannot have this value.
    """
    __tracebackhide__ = True
    unknown = unknown_field(layer.__name__, fields, (*layer.__struct_fields__, *layer.VIEWS, "payload"))
    if unknown is not None:
        raise unknown
    return Match(((layer, tuple((name, _wanted(layer, name, value)) for name, value in fields.items())),))


def unknown_field(layer: str, names: Iterable[str], known: Sequence[str]) -> TypeError | None:
    """Return the error that names the first unknown field and suggests a known one; None if all are known."""
    name = next((name for name in names if name not in known), None)
    if name is None:
        return None
    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Its fields are {', '.join(known)}."
    return TypeError(f"{layer} has no field {name!r}. {hint}")


def _wanted(layer: type[Any], name: str, value: object) -> object:
    """Return a wanted value converted to the field's type, so that it can be compared with ==."""
    if callable(value) or (value is None and name in layer.VIEWS):
        return value
    if isinstance(value, (set, frozenset)):
        return frozenset(_wanted(layer, name, each) for each in value)
    if isinstance(value, Has):
        layer.coerce(name, value.flags)
        return value
    if isinstance(value, range):
        for end in (*value[:1], *value[-1:]):
            layer.coerce(name, end)
        return value
    if isinstance(value, (IPv4Network, IPv6Network)):
        try:
            layer.coerce(name, value.network_address)
        except MalformedError:
            rule = "the field cannot hold its addresses. Give a network of the header's IP version."
            raise MalformedError(layer=layer.__name__, field=name, value=value, rule=rule) from None
        return value
    return layer.coerce(name, value)


def _agrees(wanted: object, got: object) -> bool:
    if isinstance(wanted, (range, frozenset)):
        return got in wanted
    if isinstance(wanted, Has):
        return isinstance(got, int) and got & wanted.flags == wanted.flags
    if isinstance(wanted, (IPv4Network, IPv6Network)):
        try:
            return isinstance(got, str) and ip_address(got) in wanted
        except ValueError:  # an ARP address that is not an IPv4 address
            return False
    if callable(wanted):
        return bool(cast(Callable[[object], object], wanted)(got))
    return wanted == got


def format_value(value: object, name: FunctionNamer = function_name, most: int = 32) -> str:
    """Return a value as failure messages show it: up to `most` bytes in hexadecimal, flags and functions by name."""
    if isinstance(value, bytes):
        more = " …" if len(value) > most else ""
        return f"{len(value)} byte{'s' * (len(value) != 1)} {value[:most].hex(' ')}{more}" if value else "no bytes"
    if isinstance(value, Has):
        return str(value)
    if callable(value):
        return name(value)
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(format_value, value), key=lambda text: (len(text), text))) + "}"
    member = getattr(value, "name", None)
    if isinstance(member, str) and isinstance(value, int):
        return member
    return str(value) if isinstance(value, (str, int, IPv4Network, IPv6Network)) else repr(value)


def _hexadecimal(value: object, name: FunctionNamer) -> str:
    return f"{value:#06x}" if isinstance(value, int) else format_value(value, name)


def distance(differences: Iterable[Difference]) -> int:
    """Return the number of fields that differ; a missing layer counts more than any number of fields."""
    return sum(_FAR if each.wanted is ABSENT else 1 for each in differences)


def nearest(match: Matcher, packets: Sequence[Any]) -> list[tuple[int, list[Difference]]]:
    """Return index and differences of each packet, sorted: the fewest differences first, then the latest packet."""
    rows = [(index, match.difference(packet)) for index, packet in enumerate(packets)]
    return sorted(rows, key=lambda row: (distance(row[1]), -row[0]))
