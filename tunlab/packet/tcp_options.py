"""The options of TCP: RFC 9293 section 3.2, RFC 7323, RFC 2018, RFC 7413, RFC 2385, RFC 5925.

The signatures of MD5 and TCP-AO are kept as bytes: verifying them needs the peers' keys.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import force_setattr

from tunlab.packet.options import END_OF_OPTIONS, NO_OPERATION, Option, TypedOption, Types, ordinary_options
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

_TWO_WORDS = struct.Struct("!II")

END = Option(END_OF_OPTIONS)
NOP = Option(NO_OPERATION)


class MSS(TypedOption, frozen=True, gc=False):
    """Maximum segment size in bytes (RFC 9293 section 3.7.1); in SYN segments only."""

    KIND: ClassVar = 2
    LENGTHS: ClassVar = (2,)
    FORM: ClassVar = "4 (RFC 9293 section 3.2)"

    size: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data[0] << 8 | data[1])

    def data(self) -> bytes:
        return struct.pack("!H", self.size)

    def __str__(self) -> str:
        return f"mss {self.size}"


class WindowScale(TypedOption, frozen=True, gc=False):
    """Window scale: windows are in units of 2**shift bytes (RFC 7323 section 2); in SYN segments only."""

    KIND: ClassVar = 3
    LENGTHS: ClassVar = (1,)
    DATA_PATTERN: ClassVar = b"[\\x00-\\x0e]"
    FORM: ClassVar = "3 (RFC 7323 section 2.2)"

    shift: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data[0])

    def data(self) -> bytes:
        return bytes((self.shift,))

    def __str__(self) -> str:
        return f"wscale {self.shift}"

    @property
    def fault(self) -> str:
        if self.shift <= 14:
            return ""
        return f"the window scale is {self.shift}; the maximum is 14 (RFC 7323 section 2.3)"


class SACKPermitted(TypedOption, frozen=True, gc=False):
    """SACK permitted: the sender understands selective acknowledgements (RFC 2018 section 2); in SYN segments only."""

    KIND: ClassVar = 4
    SHORT_NAME: ClassVar = "sackOK"
    LENGTHS: ClassVar = (0,)
    FORM: ClassVar = "2 (RFC 2018 section 2)"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls()

    def data(self) -> bytes:
        return b""


class SACK(TypedOption, frozen=True, gc=False):
    """Blocks received out of order, each (left edge, right edge) in sequence numbers (RFC 2018 section 3)."""

    KIND: ClassVar = 5
    LENGTHS: ClassVar = range(8, 256, 8)
    FORM: ClassVar = "2 and 8 for each block, one at least (RFC 2018 section 3)"

    blocks: tuple[tuple[int, int], ...]

    if TYPE_CHECKING:

        def __init__(self, blocks: Iterable[Sequence[int]]) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "blocks", tuple(map(tuple, self.blocks)))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(_TWO_WORDS.iter_unpack(data))

    def data(self) -> bytes:
        return b"".join(_TWO_WORDS.pack(*block) for block in self.blocks)


class Timestamps(TypedOption, frozen=True, gc=False):
    """The sender's timestamp and an echo of the peer's latest, each in units of its sender (RFC 7323 section 3)."""

    KIND: ClassVar = 8
    LENGTHS: ClassVar = (8,)
    FORM: ClassVar = "10 (RFC 7323 section 3.2)"

    value: int
    echo_reply: int = 0

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(*_TWO_WORDS.unpack(data))

    def data(self) -> bytes:
        return _TWO_WORDS.pack(self.value, self.echo_reply)

    def __str__(self) -> str:
        return f"TS val {self.value} ecr {self.echo_reply}"


class FastOpen(TypedOption, frozen=True, gc=False):
    """A fast-open cookie of 4 to 16 bytes; empty to request one (RFC 7413 section 4.1.1)."""

    KIND: ClassVar = 34
    SHORT_NAME: ClassVar = "tfo"
    LENGTHS: ClassVar = (0, *range(4, 17, 2))
    FORM: ClassVar = "2, or 6 to 18 by twos (RFC 7413 section 4.1.1)"

    cookie: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data)

    def data(self) -> bytes:
        return self.cookie


class MD5(TypedOption, frozen=True, gc=False):
    """The MD5 signature of 16 bytes (RFC 2385)."""

    KIND: ClassVar = 19
    GROUP: ClassVar = "signature"
    GROUP_SOURCE: ClassVar = "RFC 5925 section 2.2"
    LENGTHS: ClassVar = (16,)
    FORM: ClassVar = "18 (RFC 2385 section 3)"

    digest: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data)

    def data(self) -> bytes:
        return self.digest


class AO(TypedOption, frozen=True, gc=False):
    """The TCP authentication option (RFC 5925 section 2.2)."""

    KIND: ClassVar = 29
    GROUP: ClassVar = "signature"
    GROUP_SOURCE: ClassVar = "RFC 5925 section 2.2"
    LENGTHS: ClassVar = range(2, 254)
    FORM: ClassVar = "4 at least (RFC 5925 section 2.2)"

    key_id: int
    receive_next_key_id: int
    mac: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data[0], data[1], data[2:])

    def data(self) -> bytes:
        return bytes((self.key_id, self.receive_next_key_id)) + self.mac


_TYPES = (MSS, WindowScale, SACKPermitted, SACK, Timestamps, FastOpen, MD5, AO)
TYPES: Types = {each.KIND: each for each in _TYPES}
ORDINARY = ordinary_options((SACK, Timestamps, FastOpen))
ORDINARY_SYN = ordinary_options((MSS, WindowScale, SACKPermitted, SACK, Timestamps, FastOpen))
"""The same for segments with SYN, which have more options."""
SYN_ONLY = frozenset({MSS.KIND, WindowScale.KIND, SACKPermitted.KIND})
"""Options for SYN segments only (RFC 9293 section 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2)."""
