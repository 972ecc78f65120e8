"""The format of option lists that IPv4 (RFC 791 section 3.1) and TCP (RFC 9293 section 3.1) share.

Kind 0 ends the list, kind 1 is one byte of padding, every other kind is followed by a length byte that counts kind and
length too, and by length - 2 bytes of data. Reading always ends: an impossible length
(0, 1, or past the end) stops it with a fault.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self, TypeAlias

from msgspec import Struct

from tunlab.errors import MalformedError
from tunlab.packet.field import Field, count
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Layer
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

END_OF_OPTIONS = 0
NO_OPERATION = 1
MAX_OPTIONS_LENGTH = 40
"""In bytes: a header has at most 15 words, and 20 bytes are fixed fields."""

NAMES = {END_OF_OPTIONS: "end of options", NO_OPERATION: "no operation"}
SHORT_NAMES = {END_OF_OPTIONS: "eol", NO_OPERATION: "nop"}


class Option(Struct, frozen=True, gc=False):
    """An option as kind and data (the bytes behind the length byte); kinds 0 and 1 have no data."""

    kind: int
    data: bytes = b""

    def __bytes__(self) -> bytes:
        if self.kind in NAMES and not self.data:
            return bytes((self.kind,))
        try:
            return bytes((self.kind, len(self.data) + 2)) + self.data
        except (TypeError, ValueError):
            rule = "an option has a kind up to 255 and at most 253 bytes of data"
            raise MalformedError(layer="Option", field="", value=self, rule=rule) from None

    def __str__(self) -> str:
        return SHORT_NAMES.get(self.kind, f"kind {self.kind}")


class TypedOption(Struct, frozen=True, gc=False):
    """The base class of known options, which have fields instead of data."""

    KIND: ClassVar[int]
    LENGTHS: ClassVar[Sequence[int]]
    """The numbers of bytes that the data may have."""
    FORM: ClassVar[str]
    """The required length with its source, as the end of a sentence in a finding."""
    DATA_PATTERN: ClassVar[bytes] = b""
    """A regular expression for data that breaks no rule; empty for any data."""
    GROUP: ClassVar[str] = ""
    """A header may have one option of a group only; empty if it may have any number."""
    GROUP_SOURCE: ClassVar[str] = "RFC 791 section 3.1"
    SHORT_NAME: ClassVar[str] = ""
    """The name that tcpdump prints."""
    RAW: ClassVar[type[Option]] = Option
    """The class of an option of this list as kind and data."""

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """Return the option with these data bytes; None if an option of this kind cannot have so many."""
        return cls.decode(data) if len(data) in cls.LENGTHS else None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the option with these data bytes, whose number is right."""
        raise NotImplementedError

    def data(self) -> bytes:
        """Return the option's data: its bytes behind kind and length."""
        raise NotImplementedError

    @property
    def fault(self) -> str:
        """The rule that the option breaks, with the source; empty if it breaks none."""
        return ""

    def __bytes__(self) -> bytes:
        try:
            data = self.data()
        except (struct.error, TypeError, ValueError) as error:
            name = type(self).__name__
            rule = f"{name} has a field that does not fit its bytes ({error})"
            raise MalformedError(layer=name, field="", value=self, rule=rule) from None
        return bytes(self.RAW(self.KIND, data))

    def __str__(self) -> str:
        values = " ".join(value_text(getattr(self, field)) for field in self.__struct_fields__)
        return f"{self.SHORT_NAME or type(self).__name__.lower()} {values}".strip()

    @property
    def text(self) -> str:
        """The option's values, each after the name of its field."""
        fields = self.__struct_fields__
        return ", ".join(f"{field.replace('_', ' ')} {value_text(getattr(self, field))}" for field in fields)


def value_text(value: object) -> str:
    """Return a value of an option as text."""
    if isinstance(value, tuple):
        return " ".join("-".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    return value.hex() if isinstance(value, bytes) else str(value)


def ordinary_options(types: Iterable[type[TypedOption]]) -> re.Pattern[bytes]:
    """Return a regular expression that matches lists without faults: options of these types, no-operations, an end.

    A match is ten times as fast as reading the options. Types with a rule need a DATA_PATTERN.
    """
    forms = [
        b"\\x%02x\\x%02x" % (each.KIND, size + 2) + (each.DATA_PATTERN or b".{%d}" % size)
        for each in types
        for size in each.LENGTHS
    ]
    return re.compile(b"(?:\\x01|" + b"|".join(forms) + b")*\\x00*", re.DOTALL)


class OptionFault(Struct, frozen=True):
    """The place in an option list where reading stopped.

    Attributes:
        offset: The offset of the option in the list.
        length: Its length byte; None if it is missing.
        present: The number of bytes from the start of the option to the end of the list.
    """

    offset: int
    kind: int
    length: int | None
    present: int

    @property
    def rule(self) -> str:
        """The rule that the option breaks, as a sentence."""
        if self.length is None:
            return f"option {self.kind} has no length byte"
        if self.length < 2:
            return f"option {self.kind} has length {self.length}; the minimum is 2"
        return f"option {self.kind} has length {self.length} and overruns the header"


Pair: TypeAlias = tuple[int, bytes]
"""An option's kind and data."""

Types: TypeAlias = Mapping[int, type[TypedOption]]
"""The known options by their kind."""

_END, _NOP = (END_OF_OPTIONS, b""), (NO_OPERATION, b"")
_BARE = {kind: Option(kind) for kind in NAMES}


def split_options(data: bytes) -> tuple[tuple[Pair, ...], OptionFault | None]:
    """Return kind and data of each option up to the end-of-options, and the fault at which reading stopped, if any."""
    offset, end = 0, len(data)
    if end == 12 and data[:4] == b"\x01\x01\x08\x0a":  # most segments have the layout of RFC 7323 appendix A
        return (_NOP, _NOP, (8, data[4:])), None
    found: list[Pair] = []
    while offset < end:
        kind = data[offset]
        if kind > 1:
            try:
                after = offset + data[offset + 1]
            except IndexError:
                return tuple(found), OptionFault(offset, kind, None, 1)
            body = offset + 2
            if after < body or after > end:
                return tuple(found), OptionFault(offset, kind, after - offset, end - offset)
            found.append((kind, data[body:after]))
            offset = after
        elif kind:
            found.append(_NOP)
            offset += 1
        else:
            found.append(_END)
            break
    return tuple(found), None


def decode_options(data: bytes, types: Types) -> tuple[Option | TypedOption, ...]:
    """Return the options as objects; an unknown option, or one with a wrong length, is an `Option`."""
    if not data:
        return ()
    found: list[Option | TypedOption] = []
    for kind, body in split_options(data)[0]:
        known = types.get(kind)
        found.append((known.read(body) if known is not None else _BARE.get(kind)) or Option(kind, body))
    return tuple(found)


def option_summary(data: bytes, types: Types) -> str:
    """Return the options as tcpdump prints them: "mss 1460,nop,wscale 7"."""
    texts: list[str] = []
    for kind, body in split_options(data)[0]:
        known = types.get(kind)
        option = known.read(body) if known is not None else None
        texts.append(SHORT_NAMES.get(kind) or (f"kind {kind}" if option is None else str(option)))
    return ",".join(texts)


def options_to_bytes(options: object) -> bytes:
    """Return options given as bytes (kept as they are) or as option objects.

    Raises:
        ValueError: If they are neither.
    """
    if isinstance(options, Iterable) and not isinstance(options, (str, bytes, bytearray, memoryview)):
        return b"".join(to_bytes(option) for option in options)
    return to_bytes(options)


def pad_options(data: bytes) -> bytes:
    """Return the options padded with zeros to a multiple of four bytes, the unit of the header length."""
    return data + bytes(-len(data) % 4)


def check_options(layer: str, data: bytes, source: str) -> bytes:
    """Return options padded to a multiple of four bytes.

    Raises:
        MalformedError: If they are longer than 40 bytes.
    """
    data = pad_options(data)
    if len(data) > MAX_OPTIONS_LENGTH:
        rule = f"a header holds at most {MAX_OPTIONS_LENGTH} bytes of options ({source})"
        raise MalformedError(layer=layer, field="options", value=f"{len(data)} bytes", rule=rule)
    return data


_NO_RULES = TypedOption.fault


def option_findings(layer: Layer, data: bytes, at: int, length_from: str, types: Types) -> list[Finding]:
    """Return the faults of the options of a header.

    Args:
        at: The offset of the options in the header.
        length_from: The field that gives their end.
    """
    found: list[Finding] = []
    pairs, fault = split_options(data)
    seen = set[str]()
    offset = 0
    for kind, body in pairs:
        known = types.get(kind)
        if known is not None:
            rule = ""
            if known.fault is not _NO_RULES or len(body) not in known.LENGTHS:
                option = known.read(body)
                rule = (
                    f"option {kind} ({known.__name__}) has length {len(body) + 2}; it needs {known.FORM}"
                    if option is None
                    else option.fault
                )
            if known.GROUP in seen and not rule:
                rule = f"option {kind} ({known.__name__}) is the second {known.GROUP}; one is allowed"
                rule += f" ({known.GROUP_SOURCE})"
            if known.GROUP:
                seen.add(known.GROUP)
            if rule:
                found.append(layer.finding("options", FindingKind.OPTION, at + offset, rule))
        offset += 1 if kind in NAMES else len(body) + 2
    if fault is not None:
        needed, present = fault.length or 2, fault.present
        if fault.length is not None and fault.length < 2:
            needed, present, length_from = 2, fault.length, f"{layer.header.layer_name}.options"
        offset = at + fault.offset
        found.append(layer.finding("options", FindingKind.OPTION, offset, fault.rule, needed, present, length_from))
    elif any(data[offset:]):
        rule = "bytes behind the end of the options are not zero (RFC 791 section 3.1, RFC 9293 section 3.1)"
        found.append(layer.finding("options", FindingKind.OPTION, at + offset, rule))
    return found


def options_field(data: bytes, start: int, types: Types) -> Field:
    """Return the options as a field, each option a child with its kind, length and data."""
    pairs, fault = split_options(data)
    children: list[Field] = []
    at = start
    for kind, body in pairs:
        if kind in NAMES:
            children.append(Field(NAMES[kind], kind, "", at, 8))
            at += 8
            continue
        option = types[kind].read(body) if kind in types else None
        name, text = (f"kind {kind}", body.hex(" ")) if option is None else (type(option).__name__, option.text)
        parts = [Field("kind", kind, str(kind), at, 8), Field("length", len(body) + 2, str(len(body) + 2), at + 8, 8)]
        if body:
            parts.append(Field("data", body, body.hex(" "), at + 16, len(body) * 8))
        bits = (len(body) + 2) * 8
        children.append(Field(name, option or body, text, at, bits, tuple(parts), folded=True))
        at += bits
    left = start + len(data) * 8 - at
    if left:
        name = "unread" if fault else "padding"
        children.append(Field(name, data[-(left // 8) :], count(left // 8, "byte"), at, left))
    return Field("options", data, count(len(data), "byte"), start, len(data) * 8, tuple(children))
