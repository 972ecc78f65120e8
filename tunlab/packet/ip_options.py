"""The options of IPv4: RFC 791 section 3.1, and the router alert of RFC 2113.

The kind is the whole octet (copied flag, class and number): masked, different options look the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import force_setattr

from tunlab.packet.address import OCTETS, TEXT, AddressLike, address_text
from tunlab.packet.header import check_width
from tunlab.packet.options import END_OF_OPTIONS, NO_OPERATION, Option, Readers, TypedOption, Types

END = Option(END_OF_OPTIONS)
NOP = Option(NO_OPERATION)


class Route(TypedOption, frozen=True, gc=False):
    """A list of addresses with a pointer to the next: in octets from the option's first, counted from 1, so that 4
    is the first address, 8 the second.
    """

    FORM: ClassVar = "takes 3 and 4 for each address, with a pointer of 4 at least (RFC 791 section 3.1)"

    addresses: tuple[str, ...]
    pointer: int = 4

    if TYPE_CHECKING:

        def __init__(self, addresses: Iterable[AddressLike], pointer: int = 4) -> None: ...

    def __post_init__(self) -> None:
        addresses = self.addresses
        if type(addresses) is not tuple or not all(address in OCTETS for address in addresses):
            force_setattr(self, "addresses", tuple(address_text(address) for address in addresses))

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        if len(data) % 4 != 1 or data[0] < 4:
            return None
        return cls(tuple([TEXT[data[at : at + 4]] for at in range(1, len(data), 4)]), data[0])

    def data(self) -> bytes:
        return bytes((self.pointer,)) + b"".join(OCTETS[address] for address in self.addresses)


class RecordRoute(Route, frozen=True, gc=False):
    """Each router on the way writes its address at the pointer."""

    KIND: ClassVar = 7


class SourceRoute(Route, frozen=True, gc=False):
    """The routers to pass; the last address is the destination. Loose or strict: its subclasses."""


class LooseSourceRoute(SourceRoute, frozen=True, gc=False):
    """Other routers may lie between those named."""

    KIND: ClassVar = 131


class StrictSourceRoute(SourceRoute, frozen=True, gc=False):
    """No other router may lie between those named."""

    KIND: ClassVar = 137


class Timestamp(TypedOption, frozen=True, gc=False):
    """Internet timestamps.

    pointer    in octets, from 5, as on the wire
    overflow   routers that found no room
    flag       0 timestamps alone, 1 with addresses, 3 with addresses given beforehand
    words      32-bit numbers as they stand: milliseconds since midnight UT, or addresses between them
    """

    KIND: ClassVar = 68
    FORM: ClassVar = "takes 4 and 4 for each word (RFC 791 section 3.1)"

    words: tuple[int, ...]
    pointer: int = 5
    overflow: int = 0
    flag: int = 0

    if TYPE_CHECKING:

        def __init__(self, words: Iterable[int], pointer: int = 5, overflow: int = 0, flag: int = 0) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "words", tuple(self.words))

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        if len(data) % 4 != 2:
            return None
        return cls(struct.unpack(f"!{len(data) // 4}I", data[2:]), data[0], data[1] >> 4, data[1] & 15)

    def data(self) -> bytes:
        overflow, flag = (check_width("Timestamp", field, getattr(self, field), 4) for field in ("overflow", "flag"))
        return bytes((self.pointer, overflow << 4 | flag)) + struct.pack(f"!{len(self.words)}I", *self.words)


class StreamIdentifier(TypedOption, frozen=True, gc=False):
    """The SATNET stream identifier, 16 bits."""

    KIND: ClassVar = 136
    FORM: ClassVar = "takes 4 (RFC 791 section 3.1)"

    identifier: int

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        return cls(int.from_bytes(data, "big")) if len(data) == 2 else None

    def data(self) -> bytes:
        return struct.pack("!H", self.identifier)


class RouterAlert(TypedOption, frozen=True, gc=False):
    """Routers look at this datagram though it is not for them (RFC 2113); the value 0 is the only one defined there."""

    KIND: ClassVar = 148
    FORM: ClassVar = "takes 4 (RFC 2113 section 2.1)"

    value: int = 0

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        return cls(int.from_bytes(data, "big")) if len(data) == 2 else None

    def data(self) -> bytes:
        return struct.pack("!H", self.value)


_TYPES = (RecordRoute, LooseSourceRoute, StrictSourceRoute, Timestamp, StreamIdentifier, RouterAlert)
TYPES: Types = {each.KIND: each for each in _TYPES}
READERS: Readers = {each.KIND: each.read for each in _TYPES}
