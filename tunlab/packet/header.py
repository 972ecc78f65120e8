"""The base of every header: typed immutable fields, checked on construction, and the methods of a protocol.

One protocol is one file: flags and names, the header class (layout, fields, properties, reading and writing, findings,
texts), and its registration in the table of the header that carries it (`tunlab.packet.tables`). No other module names
the protocol. Start from `transport/udp.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from functools import cache
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

from msgspec import UNSET, Struct, StructMeta
from msgspec.structs import asdict, force_setattr, replace

from tunlab.errors import MalformedError
from tunlab.packet.checksum import Checksum, Verdict, internet_checksum, word_sum
from tunlab.packet.field import Field, flag_fields, flag_names
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.match import Match, unknown_field, where
from tunlab.packet.values import check_width, is_packet_error, required_error, to_bytes

__tracebackhide__ = is_packet_error

H = TypeVar("H", bound="Header")


class HeaderMeta(StructMeta):
    """The metaclass of headers: it checks the fields of a header that a user constructs.

    The check is here and not in `__post_init__`, so that parsing can skip it (see `Header.unchecked`).
    """

    def __call__(cls, *args: Any, **fields: Any) -> Any:  # noqa: N805
        __tracebackhide__ = True
        try:
            header = super().__call__(*args, **fields)
        except TypeError as error:
            raise unknown_field(cls.__name__, fields, cls.__struct_fields__) or error from None
        header._check()
        return header


class Header(Struct, frozen=True, gc=False, metaclass=HeaderMeta):
    """A header: immutable, equal by value, hashable, usable in `match` statements.

    A value that does not fit its field is a MalformedError where the header is constructed.

    Class attributes of a protocol:
        LAYOUT: The fixed fields in the order of the wire, each with its width in bits.
        TAIL: The field with the bytes behind the fixed fields, as "options".
        DERIVED: The fields that may be None: `build` then computes them.
        VIEWS: Properties that `where` accepts like fields, each with the fields that it is computed from.
        COERCE: Fields that accept several kinds of value, each with the function that converts it.
        LENGTH_FROM: The field that gives the length of the content, as "IPv4.total_length".
        CHECKSUM_OFFSET: The offset of the checksum in the header, in bytes.
        IS_LAST: True if no header can follow.
        HOP_LIMIT: The hop limit that the IPv6 header before this one gets if none is given.
        ZERO_CHECKSUM: The number sent if the computed checksum is 0: 0xffff for UDP, where 0 means "no checksum".
    """

    LAYOUT: ClassVar[tuple[tuple[str, int], ...]] = ()
    TAIL: ClassVar[str] = ""
    DERIVED: ClassVar[frozenset[str]] = frozenset()
    VIEWS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    COERCE: ClassVar[Mapping[str, Callable[[Any], object]]] = {}
    LENGTH_FROM: ClassVar[str] = ""
    CHECKSUM_OFFSET: ClassVar[int | None] = None
    IS_LAST: ClassVar[bool] = False
    HOP_LIMIT: ClassVar[int] = 64
    ZERO_CHECKSUM: ClassVar[int] = 0

    # ----- values

    def replace(self, **fields: Any) -> Self:
        """Return a copy with these fields changed: `packet.tcp.replace(seq=1, checksum=None)`."""
        __tracebackhide__ = True
        changed: Self = type(self)(**{**asdict(self), **fields})
        return changed

    @classmethod
    def where(cls, **fields: object) -> Match:
        """Return a `Match` on this header's fields; fields that are not named may have any value.

        A value matches if it is equal (`flags=TCPFlag.SYN` does not match a SYN-ACK; `flags=has(TCPFlag.SYN)`
        does); a range, set or network if it contains the field's value; a function if it returns True for it. A view
        that the header does not have is None. `payload=` is compared with the payload of the packet.

        Raises:
            TypeError: If the header has no field of this name.
            MalformedError: If the field cannot have this value.
        """
        __tracebackhide__ = True
        return where(cls, fields)

    @classmethod
    def coerce(cls, field: str, value: object) -> object:
        """Return `value` converted to the type of this field.

        Raises:
            MalformedError: If the field cannot hold it.
        """
        convert = to_bytes if field == "payload" else cls.COERCE.get(field)
        if convert is not None:
            try:
                return convert(value)
            except ValueError as error:
                rule = error.rule if isinstance(error, MalformedError) else str(error)
                raise MalformedError(layer=cls.__name__, field=field, value=value, rule=rule) from None
        bits = dict(cls.LAYOUT).get(field)
        return value if bits is None else check_width(cls.__name__, field, value, bits)

    @classmethod
    def unchecked(cls) -> Callable[..., Self]:
        """Return a constructor with positional fields that skips the checks, for values read from a packet."""
        return StructMeta.__call__.__get__(cls)  # type: ignore[no-any-return]

    def _check(self) -> None:
        """Check the value of every field, and convert it to the field's type."""
        for field, most, derived, plain in _checked_fields(type(self)):
            value = getattr(self, field)
            if plain and type(value) is int and 0 <= value <= most:
                continue
            if value is None and derived:
                continue
            if value is UNSET:
                raise required_error(type(self).__name__, field, self.COERCE.get(field, to_bytes))
            held = self.coerce(field, value)
            if held is not value:
                force_setattr(self, field, held)

    def field_error(self) -> MalformedError:
        """Return the error about the first field whose value does not fit; `to_bytes` raises it if packing fails."""
        for field, _ in self.LAYOUT:
            value = getattr(self, field)
            if value is None and field in self.DERIVED:
                rule = "it is computed only by complete() or build()"
                return MalformedError(layer=type(self).__name__, field=field, value=value, rule=rule)
            try:
                self.coerce(field, value)
            except MalformedError as error:
                return error
        raise AssertionError(f"{self!r} does not pack, but each field fits")

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        """Read a header from `data[start:end]`, which has at least one byte.

        Returns the header, the start and end of its content, and the reader of the next header (None: payload follows).

        Raises:
            PacketError: If the header cannot be read. A transport header that is cut short is a `TruncatedHeader`.
        """
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """Return the header's bytes, options included.

        Raises:
            MalformedError: If a derived field is None, or a field does not fit.
        """
        raise NotImplementedError

    @property
    def header_length(self) -> int:
        """The header's length in bytes."""
        return sum(bits for _, bits in self.LAYOUT) // 8

    @property
    def announced(self) -> type[Header] | None:
        """The class of the header that this one announces (its own class if it is cut short); None if there is none."""
        if self.IS_LAST:
            return None
        # A later fragment announces the header that is in the first one.
        header = replace(self, fragment_offset=0) if getattr(self, "fragment_offset", 0) else self
        try:
            following = self.read(data := header.to_bytes(), 0, len(data))[3]
        except MalformedError:  # a derived field is None
            return None
        return following and layer_of(following)

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with every derived field that is None computed.

        Args:
            outer: The headers before this one; their derived fields may still be None.
            content: The bytes behind this header, the inner headers included.
            inner: The next header, complete; None if payload follows.
        """
        return self

    def content_end(self, start: int, limit: int) -> int:
        """Return the offset at which the header's content ends according to its length field; without one, `limit`.

        Args:
            start: The offset of the header in the packet.
            limit: The end of the content according to the outer headers.
        """
        return limit

    # ----- checksums

    def covered(self, outer: Sequence[Header], data: bytes) -> bytes:
        """Return the bytes that the checksum covers: `data` (this header and its content), and a pseudo-header."""
        return data

    def checksum_of(self, outer: Sequence[Header], data: bytes) -> int:
        """Return the checksum computed over `data`: this header with its checksum set to 0, and its content."""
        return internet_checksum(self.covered(outer, data)) or self.ZERO_CHECKSUM

    def unverifiable(self, layer: Layer) -> str:
        """Return the reason why the header's checksum cannot be verified; empty if it can."""
        return ""

    def checksum_verdict(self, layer: Layer) -> Checksum | None:
        """Return the verdict on this header's checksum; None if it has none."""
        at = self.CHECKSUM_OFFSET
        if at is None:
            return None
        name, value = self.layer_name, self.checksum or 0  # type: ignore[attr-defined]
        reason = layer.incomplete or self.unverifiable(layer)
        if reason:
            return Checksum(name, Verdict.UNVERIFIABLE, value, None, reason)
        data = layer.data[layer.start : layer.end]
        # Summing the bytes with the checksum in them takes half the time of setting it to zero first. It gives the same
        # result for the checksums 0 and 0xffff.
        if 0 < value < 0xFFFF:
            covered = self.covered(layer.outer, data)
            error = word_sum(covered) % 65535
            if not error:
                return Checksum(name, Verdict.GOOD, value, value)
            if error != value and covered.endswith(data):  # the bytes covered include the checksum
                return Checksum(name, Verdict.BAD, value, (value - error) % 65535)
        expected = self.checksum_of(layer.outer, data[:at] + b"\0\0" + data[at + 2 :])
        # A sender may write the checksum 0 as 0xffff, which sums to the same (RFC 1071 section 1).
        good = value == expected or (value == 0xFFFF and expected == 0)
        return Checksum(name, Verdict.GOOD if good else Verdict.BAD, value, expected)

    # ----- findings

    def findings(self, layer: Layer) -> list[Finding]:
        """Return the faults of the header in its packet, except for a bad checksum."""
        return []

    def incomplete(self, layer: Layer) -> str:
        """Return the reason why checksums of inner headers cannot be verified, as in a fragment; empty if they can."""
        return ""

    # ----- texts

    def to_dict(self) -> dict[str, object]:
        """Return the fields as numbers and text for JSON, bytes in hexadecimal."""
        return {field: json_value(getattr(self, field)) for field in self.__struct_fields__}

    @property
    def layer_name(self) -> str:
        """The name of the protocol, as "TCP"."""
        return type(self).__name__

    @property
    def title(self) -> str:
        """The header in a few words, as the HTML page shows it beside the protocol."""
        return ""

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port; None if the protocol has no ports."""
        return None

    def fields(self) -> list[Field]:
        """Return every field as the verbose listing, the diagram and the HTML page show it."""
        found: list[Field] = []
        at = 0
        for name, bits in self.LAYOUT:
            value = getattr(self, name)
            children = flag_fields(value, at, bits) if isinstance(value, IntFlag) else ()
            found.append(Field(name, value, self.field_text(name, value), at, bits, children, bool(children)))
            at += bits
        return found

    def field_text(self, name: str, value: object) -> str:
        """Return the value of the field `name` as text, with its unit or its meaning."""
        if isinstance(value, IntFlag):
            return flag_names(value)
        if name == "checksum" and isinstance(value, int):
            return f"{value:#06x}"
        return str(int(value)) if isinstance(value, int) else str(value)

    def listing(self, layer: Layer, *, verbose: bool) -> list[str]:
        """Return the lines of `tunlab.packet.listing` about this header; if not verbose, only IP headers have lines."""
        if not verbose:
            return []
        verdict = self.checksum_verdict(layer)
        lines = [f"{self.layer_name}:"]
        for field in self.fields():
            text = f"{field.text} ({verdict})" if field.name == "checksum" and verdict else field.text
            if field.name != self.TAIL:
                lines.append(f"  {field.title}: {text}")
            elif field.children:
                lines += [f"  Option: {each.name} {each.text}".rstrip() for each in field.children]
        return lines

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        """Return the summary of this header and the inner ones, as tcpdump prints them.

        Args:
            inner: The layers behind this one.
            text: The summary of the inner layers.
        """
        return text or f"{self.layer_name}, length {layer.size}"

    def reply(self, layer: Layer) -> Header | None:
        """Return the header that answers this one; None if there is no answer."""
        return None


FRAGMENTED = "a fragment does not hold all that it covers"
"""The reason why checksums of a fragment cannot be verified, as `Header.incomplete` returns it."""


class Layer(Struct, frozen=True, gc=False):
    """A header with its offsets in a packet, for findings, checksum verdicts and texts.

    Attributes:
        outer: The headers before it.
        data: The bytes of the whole packet.
        start: The offset of the header.
        body: The offset of its content.
        end: The end of its content, as far as it is present.
        limit: The end of the outer header's content, as far as it is present.
        missing: The number of bytes behind `limit` that the capture left out.
        length_from: The length field that set `limit`, as "IPv4.total_length", or "input".
        size: The number of bytes behind the header that the length fields announce, present or not.
        incomplete: The reason why checksums cannot be verified, from the outer headers; empty if they can.
    """

    header: Header
    outer: tuple[Header, ...]
    data: bytes
    start: int
    body: int
    end: int
    limit: int
    missing: int = 0
    length_from: str = INPUT
    size: int = 0
    incomplete: str = ""

    @property
    def present(self) -> int:
        """The number of bytes from the start of the header to the end of the outer header's content."""
        return self.limit - self.start

    def finding(
        self,
        field: str,
        kind: FindingKind,
        at: int,
        rule: str,
        needed: int | None = None,
        present: int | None = None,
        length_from: str | None = None,
    ) -> Finding:
        """Return a finding about the field at byte `at` of the header."""
        return Finding(self.header.layer_name, field, kind, self.start + at, rule, needed, present, length_from)


Reader: TypeAlias = Callable[[bytes, int, int], "Reading"]
"""The `read` of a header class."""

Reading: TypeAlias = tuple[Header, int, int, Reader | None]
"""A header, the start and end of its content, and the reader of the next header."""


def layer_of(reader: Reader) -> type[Header]:
    """Return the header class whose method `read` is this reader."""
    return reader.__self__  # type: ignore[attr-defined, no-any-return]


def json_value(value: object) -> object:
    """Return a field's value for JSON: bytes in hexadecimal, flags as a number."""
    if isinstance(value, bytes):
        return value.hex()
    return int(value) if isinstance(value, int) else value


@cache
def _checked_fields(layer: type[Header]) -> tuple[tuple[str, int, bool, bool], ...]:
    """Return each checked field: its name, its highest value, True if it may be None, True if it is a plain number."""
    widths = dict(layer.LAYOUT)
    return tuple(
        (name, (1 << widths.get(name, 0)) - 1, name in layer.DERIVED, name not in layer.COERCE)
        for name in layer.__struct_fields__
        if name in widths or name in layer.COERCE
    )
