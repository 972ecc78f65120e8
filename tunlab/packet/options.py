"""The option list that IPv4 (RFC 791 section 3.1) and TCP (RFC 9293 section 3.1) share.

Kind 0 ends the list, kind 1 is one octet of padding, every other kind is followed by a length octet
that counts kind and length too, and by length - 2 octets of data. Reading it always ends: a length
that cannot be (0, 1, or past the end) stops the walk with a fault, it never repeats or guesses.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Self, TypeAlias

from msgspec import Struct

from tunlab.errors import MalformedError
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import to_bytes

END_OF_OPTIONS = 0
NO_OPERATION = 1
MAX_OPTIONS_LENGTH = 40
"""Octets: a header of at most 15 words has 20 fixed octets."""


class Option(Struct, frozen=True, gc=False):
    """An option by its kind and data, in octets after the length; for kinds 0 and 1 there are none."""

    kind: int
    data: bytes = b""

    def __bytes__(self) -> bytes:
        if self.kind in (END_OF_OPTIONS, NO_OPERATION) and not self.data:
            return bytes((self.kind,))
        try:
            return bytes((self.kind, len(self.data) + 2)) + self.data
        except (TypeError, ValueError):
            rule = "an option has a kind up to 255 and at most 253 octets of data"
            raise MalformedError(layer="Option", field="", value=self, rule=rule) from None


class TypedOption(Struct, frozen=True, gc=False):
    """An option whose data have a meaning; each subclass reads and writes its own."""

    KIND: ClassVar[int]
    FORM: ClassVar[str]
    """What `read` takes, in words that go on from "the option has the length 3, and …", with the source."""

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """The option with this data, or None where the data are not of its form."""
        raise NotImplementedError

    def data(self) -> bytes:
        """The octets after kind and length."""
        raise NotImplementedError

    @property
    def fault(self) -> str:
        """What no correct sender would write in it, in words, with the source; "" for nothing."""
        return ""

    def __bytes__(self) -> bytes:
        try:
            data = self.data()
        except (struct.error, TypeError, ValueError) as error:
            name = type(self).__name__
            rule = f"{name} has a field that does not fit its octets ({error})"
            raise MalformedError(layer=name, field="", value=self, rule=rule) from None
        return bytes(Option(self.KIND, data))


class OptionFault(Struct, frozen=True):
    """Where the walk stopped: `offset` of the option in the list, its `length` octet (None: not there), `present`."""

    offset: int
    kind: int
    length: int | None
    present: int

    @property
    def rule(self) -> str:
        """In words."""
        if self.length is None:
            return f"option {self.kind} has no length octet"
        if self.length < 2:
            return f"option {self.kind} has the length {self.length}, and the least is 2"
        return f"option {self.kind} has the length {self.length} and overruns the header"

    def finding(self, layer: str, start: int, length_from: str) -> Finding:
        """This as a finding about `layer`, whose options start at `start` and end where `length_from` says."""
        needed, present = self.length or 2, self.present
        if self.length is not None and self.length < 2:
            needed, present, length_from = 2, self.length, f"{layer}.options"
        return Finding(
            layer, "options", FindingKind.OPTION, start + self.offset, self.rule, needed, present, length_from
        )


Pair: TypeAlias = tuple[int, bytes]
"""An option's kind and data, the least that can be said of it."""

Types: TypeAlias = Mapping[int, type[TypedOption]]
"""By kind: the options that are known."""

Readers: TypeAlias = Mapping[int, Callable[[bytes], TypedOption | None]]
"""By kind: what reads an option's data into its own type, or answers None where they have not its form."""


def split_options(octets: bytes) -> tuple[tuple[Pair, ...], OptionFault | None]:
    """Kind and data of each option, up to and including the end of the list, and where it could not be read further."""
    found: list[Pair] = []
    offset, end = 0, len(octets)
    while offset < end:
        kind = octets[offset]
        if kind > NO_OPERATION:
            try:
                after = offset + octets[offset + 1]
            except IndexError:
                return tuple(found), OptionFault(offset, kind, None, 1)
            data = offset + 2
            if after < data or after > end:
                return tuple(found), OptionFault(offset, kind, after - offset, end - offset)
            found.append((kind, octets[data:after]))
            offset = after
        elif kind == NO_OPERATION:
            found.append(_NOP)
            offset += 1
        else:
            found.append(_END)
            break
    return tuple(found), None


def option_findings(layer: str, octets: bytes, start: int, length_from: str, types: Types) -> list[Finding]:
    """What is wrong with the options of `layer`, at `start`: known ones of another form, and where reading ends.

    length_from   which length says where they end
    """
    found: list[Finding] = []
    pairs, fault = split_options(octets)
    offset = start
    for kind, data in pairs:
        known = types.get(kind)
        if known is not None:
            option = known.read(data)
            said = f"option {kind} ({known.__name__}) has the length {len(data) + 2}, and {known.FORM}"
            rule = said if option is None else option.fault
            if rule:
                found.append(Finding(layer, "options", FindingKind.OPTION, offset, rule))
        offset += 1 if kind in (END_OF_OPTIONS, NO_OPERATION) else len(data) + 2
    if fault is not None:
        found.append(fault.finding(layer, start, length_from))
    return found


_END, _NOP = (END_OF_OPTIONS, b""), (NO_OPERATION, b"")


def decode_options(octets: bytes, readers: Readers) -> list[Option | TypedOption]:
    """`split_options` as objects: an option that no reader knows, or not in this form, is given as an `Option`."""
    return [
        (readers[kind](data) if kind in readers else None) or Option(kind, data)
        for kind, data in split_options(octets)[0]
    ]


def options_to_bytes(options: object) -> bytes:
    """Options given as octets (kept as they are) or as option objects; raises ValueError for anything else."""
    if isinstance(options, Iterable) and not isinstance(options, (str, bytes, bytearray, memoryview)):
        return b"".join(to_bytes(option) for option in options)
    return to_bytes(options)


def pad_options(octets: bytes) -> bytes:
    """Options filled up with ends-of-options to whole 32-bit words, in which headers count their length."""
    return octets + bytes(-len(octets) % 4)
