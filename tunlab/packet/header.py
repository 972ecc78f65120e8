"""What every header shares: typed immutable fields, eager checks, `where`, and errors that name the field.

Rule for editors: one protocol, one file, one shape. A header file has, in this order: its flags and
names, the header (LAYOUT, DERIVED, fields, views), `complete`, `octets`, `parse_…`, then what is
suspicious about it. Lay a new one beside udp.py, the shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from msgspec import Struct
from msgspec.structs import force_setattr

from tunlab.errors import MalformedError
from tunlab.packet.match import Match, where

if TYPE_CHECKING:
    from tunlab.packet.ipv4 import IPv4


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

        A value matches by equality, a range, set or network by containing, a function by being true. `payload=`
        is matched against what follows the last header. A mistyped name raises TypeError at once, a value
        that the field cannot hold MalformedError.
        """
        return where(cls, fields)

    @classmethod
    def coerce(cls, field: str, value: object) -> object:
        """`value` in the form the field holds; raises MalformedError where it cannot hold it."""
        if field in cls.COERCE:
            try:
                value = cls.COERCE[field](value)
            except (ValueError, TypeError) as error:
                raise MalformedError(layer=cls.__name__, field=field, value=value, rule=str(error)) from None
            if not isinstance(value, int):
                return value
        bits = dict(cls.LAYOUT).get(field)
        if bits is not None and not (isinstance(value, int) and 0 <= value < 1 << bits):
            rule = f"the field has {bits} bits and takes a number from 0 to {(1 << bits) - 1}"
            raise MalformedError(layer=cls.__name__, field=field, value=value, rule=rule)
        return value

    def settle(self, field: str) -> None:
        """Bring a field that was given in another form into its own; for `__post_init__`."""
        force_setattr(self, field, self.coerce(field, getattr(self, field)))

    def refuse(self) -> MalformedError:
        """The error that names the field which does not fit; for `octets`, when packing failed."""
        for field, _ in self.LAYOUT:
            value = getattr(self, field)
            if value is None:
                rule = "it is computed only by complete() or build()"
                return MalformedError(layer=type(self).__name__, field=field, value=value, rule=rule)
            try:
                self.coerce(field, value)
            except MalformedError as error:
                return error
        raise AssertionError(f"{self!r} does not pack, but each field fits")  # a fault of ours

    def octets(self) -> bytes:
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
