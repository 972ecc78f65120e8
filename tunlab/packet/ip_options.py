"""The options of IPv4: RFC 791 section 3.1, security of RFC 1108 and FIPS 188, router alert of RFC 2113.

The kind is the whole byte: copied flag, class and number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import force_setattr

from tunlab.packet.address import AddressLike, ipv4_address, ipv4_bytes, ipv4_text
from tunlab.packet.options import END_OF_OPTIONS, NO_OPERATION, Option, TypedOption, Types
from tunlab.packet.values import check_width, is_packet_error

__tracebackhide__ = is_packet_error

END = Option(END_OF_OPTIONS)
NOP = Option(NO_OPERATION)


class Route(TypedOption, frozen=True, gc=False):
    """The base class of options with a list of addresses and a pointer to the next one.

    Attributes:
        pointer: The byte of the next address, counted from 1: 4 is the first address, 8 the second.
    """

    LENGTHS: ClassVar = range(1, 254, 4)
    FORM: ClassVar = "3 and 4 for each address, with a pointer of at least 4 (RFC 791 section 3.1)"

    addresses: tuple[str, ...]
    pointer: int = 4

    if TYPE_CHECKING:

        def __init__(self, addresses: Iterable[AddressLike], pointer: int = 4) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "addresses", tuple([ipv4_address(address) for address in self.addresses]))

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        return cls.decode(data) if len(data) in cls.LENGTHS and data[0] >= 4 else None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(tuple([ipv4_text(data[at : at + 4]) for at in range(1, len(data), 4)]), data[0])

    def data(self) -> bytes:
        return bytes((self.pointer,)) + b"".join(map(ipv4_bytes, self.addresses))

    @property
    def fault(self) -> str:
        if self.pointer % 4 == 0:
            return ""
        return f"the pointer is {self.pointer}, where no address starts; 4, 8, 12, … point to one (RFC 791 section 3.1)"


class RecordRoute(Route, frozen=True, gc=False):
    """Record route: each router on the path writes its address at the pointer."""

    GROUP: ClassVar = "record route"
    KIND: ClassVar = 7


class SourceRoute(Route, frozen=True, gc=False):
    """The base class of source routes: the addresses of the routers to pass, then that of the destination."""

    GROUP: ClassVar = "source route"


class LooseSourceRoute(SourceRoute, frozen=True, gc=False):
    """A loose source route: the packet may pass other routers between the listed ones."""

    KIND: ClassVar = 131


class StrictSourceRoute(SourceRoute, frozen=True, gc=False):
    """A strict source route: the packet passes the listed routers only."""

    KIND: ClassVar = 137


class Timestamp(TypedOption, frozen=True, gc=False):
    """The Internet timestamp option.

    Attributes:
        words: 32-bit numbers: timestamps in milliseconds since midnight UT. If `flag` is 1 or 3, a router's address is
            before each timestamp.
        pointer: The byte of the next word, counted from 1: 5 is the first word.
        overflow: The number of routers that had no room for a timestamp.
        flag: 0: timestamps alone; 1: routers add their addresses; 3: the sender has given the addresses.
    """

    KIND: ClassVar = 68
    LENGTHS: ClassVar = range(2, 254, 4)
    FORM: ClassVar = "4 and 4 for each word (RFC 791 section 3.1)"
    GROUP: ClassVar = "timestamp"

    words: tuple[int, ...]
    pointer: int = 5
    overflow: int = 0
    flag: int = 0

    if TYPE_CHECKING:

        def __init__(self, words: Iterable[int], pointer: int = 5, overflow: int = 0, flag: int = 0) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "words", tuple(self.words))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(struct.unpack(f"!{len(data) // 4}I", data[2:]), data[0], data[1] >> 4, data[1] & 15)

    def data(self) -> bytes:
        overflow, flag = (check_width("Timestamp", field, getattr(self, field), 4) for field in ("overflow", "flag"))
        return bytes((self.pointer, overflow << 4 | flag)) + struct.pack(f"!{len(self.words)}I", *self.words)

    @property
    def fault(self) -> str:
        source = "(RFC 791 section 3.1)"
        if self.flag not in (0, 1, 3):
            return f"the timestamp flag is {self.flag}; it is 0, 1 or 3 {source}"
        step, end = (8 if self.flag else 4), len(self.words) * 4 + 4
        if self.pointer > end and self.overflow == 15:
            return f"the overflow counter is full {source}"
        if self.pointer < 5 or (self.pointer - 5) % step:
            return f"the pointer is {self.pointer}, where no timestamp starts; 5 points to the first {source}"
        if self.pointer <= end < self.pointer + step - 1:
            return f"the pointer is {self.pointer}, and the room behind it is too small for a timestamp {source}"
        return ""

    @property
    def text(self) -> str:
        """The option's values, each after the name of its field; a router's address is before its timestamp."""
        if not self.flag:
            return super().text
        pairs = zip(self.words[::2], (*self.words[1::2], ""), strict=False)
        words = ", ".join(f"{ipv4_text(address.to_bytes(4, 'big'))} {time}".strip() for address, time in pairs)
        return f"words {words}, pointer {self.pointer}, overflow {self.overflow}, flag {self.flag}"


class Security(TypedOption, frozen=True, gc=False):
    """The basic security option (RFC 1108 section 2): a classification level, and flags of protection authorities."""

    KIND: ClassVar = 130
    GROUP: ClassVar = "security option"
    GROUP_SOURCE: ClassVar = "RFC 1108 section 2"
    LENGTHS: ClassVar = range(1, 254)
    FORM: ClassVar = "3 at least (RFC 1108 section 2)"

    level: int
    authorities: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data[0], data[1:])

    def data(self) -> bytes:
        return bytes((self.level,)) + self.authorities


class CIPSO(TypedOption, frozen=True, gc=False):
    """The commercial security option (FIPS 188): a domain of interpretation, and tags with categories."""

    KIND: ClassVar = 134
    GROUP: ClassVar = "CIPSO option"
    GROUP_SOURCE: ClassVar = "FIPS 188"
    LENGTHS: ClassVar = range(6, 254)
    FORM: ClassVar = "8 at least (FIPS 188)"

    domain: int
    tags: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(int.from_bytes(data[:4], "big"), data[4:])

    def data(self) -> bytes:
        return struct.pack("!I", self.domain) + self.tags


class StreamIdentifier(TypedOption, frozen=True, gc=False):
    """The SATNET stream identifier, 16 bits."""

    KIND: ClassVar = 136
    GROUP: ClassVar = "stream identifier"
    LENGTHS: ClassVar = (2,)
    FORM: ClassVar = "4 (RFC 791 section 3.1)"

    identifier: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(int.from_bytes(data, "big"))

    def data(self) -> bytes:
        return struct.pack("!H", self.identifier)


class RouterAlert(TypedOption, frozen=True, gc=False):
    """Router alert: routers examine the packet although it is not addressed to them (RFC 2113)."""

    KIND: ClassVar = 148
    LENGTHS: ClassVar = (2,)
    FORM: ClassVar = "4 (RFC 2113 section 2.1)"

    value: int = 0

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(int.from_bytes(data, "big"))

    def data(self) -> bytes:
        return struct.pack("!H", self.value)


_TYPES = (RecordRoute, LooseSourceRoute, StrictSourceRoute, Timestamp, Security, CIPSO, StreamIdentifier, RouterAlert)
TYPES: Types = {each.KIND: each for each in _TYPES}
