"""What every header shares: typed immutable fields, eager checks, `where`, and errors that name the field.

Rule for editors: one protocol, one file, one shape. A header file has, in this order: its flags and
names, its format (`unpack_…`, where `parse` reads it in one step), the header (LAYOUT, DERIVED, fields, views),
`complete`, `octets`, `parse_…` where reading takes more, then what is suspicious about it. Lay a new one beside
udp.py, the shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntFlag
from typing import TYPE_CHECKING, Any, ClassVar, Self, SupportsBytes, TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr

from tunlab.errors import MalformedError
from tunlab.packet.match import Match, where

if TYPE_CHECKING:
    from tunlab.packet.ipv4 import IPv4

F = TypeVar("F", bound=IntFlag)


def check_width(layer: str, field: str, value: object, bits: int) -> int:
    """`value`, which a field of so many bits holds; raises MalformedError where it does not."""
    if isinstance(value, int) and 0 <= value < 1 << bits:
        return value
    rule = f"the field has {bits} bits and takes a number from 0 to {(1 << bits) - 1}"
    raise MalformedError(layer=layer, field=field, value=value, rule=rule)


def to_bytes(value: object) -> bytes:
    """What was given as octets or as an object with `__bytes__`; raises ValueError for anything else."""
    if isinstance(value, (bytes, bytearray, memoryview, SupportsBytes)):
        return bytes(value)
    raise ValueError("no octets; give bytes, or an object that has __bytes__")


def flag_converter(kind: type[F]) -> Callable[[object], F]:
    """For COERCE: what makes members of `kind` of numbers, the kind's own call taking negative ones for all bits."""
    highest = sum(kind)

    def normalize(value: object) -> F:
        if isinstance(value, int) and 0 <= value <= highest:
            return kind(value)
        raise ValueError(f"join members of {kind.__name__} by |, or give a number from 0 to {highest}")

    return normalize


class Header(Struct, frozen=True, gc=False):
    """A header: equal by value, hashable, usable in `match`; `msgspec.structs.replace` makes a changed copy.

    LAYOUT    the fixed fields in the order of the wire, each with its width in bits
    DERIVED   the fields that may be None, which means: compute on building
    VIEWS     read-only properties that `where` takes like fields
    COERCE    fields that take more than one kind of value, each with the function that settles it
    """

    LAYOUT: ClassVar[tuple[tuple[str, int], ...]] = ()
    DERIVED: ClassVar[frozenset[str]] = frozenset()
    VIEWS: ClassVar[tuple[str, ...]] = ()
    COERCE: ClassVar[Mapping[str, Callable[[Any], object]]] = {}

    @classmethod
    def where(cls, **fields: object) -> Match:
        """A `Match` on this header's fields; unnamed ones may be anything.

        A value matches by equality, a range, set or network by containing, a function by being true; a view that is not
        there is None, to a function too. `payload=` is matched against what follows the last header. A mistyped name
        raises TypeError at once, a value that the field cannot hold MalformedError.
        """
        return where(cls, fields)

    @classmethod
    def coerce(cls, field: str, value: object) -> object:
        """`value` in the form the field holds; raises MalformedError where it cannot hold it."""
        normalize = to_bytes if field == "payload" else cls.COERCE.get(field)
        if normalize is not None:
            try:
                return normalize(value)
            except ValueError as error:
                rule = error.rule if isinstance(error, MalformedError) else str(error)
                raise MalformedError(layer=cls.__name__, field=field, value=value, rule=rule) from None
        bits = dict(cls.LAYOUT).get(field)
        return value if bits is None else check_width(cls.__name__, field, value, bits)

    def normalize(self, field: str) -> None:
        """Bring a field that was given in another form into its own; for `__post_init__`."""
        force_setattr(self, field, self.coerce(field, getattr(self, field)))

    def field_error(self) -> MalformedError:
        """The error that names the field which does not fit; for `octets`, when packing failed."""
        for field, _ in self.LAYOUT:
            value = getattr(self, field)
            if value is None and field in self.DERIVED:
                rule = "it is computed only by complete() or build()"
                return MalformedError(layer=type(self).__name__, field=field, value=value, rule=rule)
            try:
                self.coerce(field, value)
            except MalformedError as error:
                return error
        raise AssertionError(f"{self!r} does not pack, but each field fits")  # a fault of ours

    def to_bytes(self) -> bytes:
        """The header on the wire, options included; raises MalformedError where a field does not fit."""
        raise NotImplementedError


class Transport(Header, frozen=True, gc=False):
    """A header that IPv4 carries; PROTOCOL is its number there."""

    PROTOCOL: ClassVar[int]

    if TYPE_CHECKING:

        @property
        def checksum(self) -> int | None:
            """Each has one; None: computed."""

    def complete(self, ip: IPv4, payload: bytes) -> Self:
        """This header behind `ip` and before `payload`, with the derived fields computed where they are None."""
        raise NotImplementedError
