"""The base of every header: typed immutable fields, checked on construction, and what the package asks of a header.

One protocol is one file. It has, in this order: flags and names, the header class (layout, fields, properties),
reading and writing, findings, texts; and it registers its class in the table of the header that carries it
(`tunlab.packet.tables`). Nothing else names it. Start from `transport/udp.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntFlag
from functools import cache
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

from msgspec import UNSET, Struct, StructMeta
from msgspec.structs import asdict, force_setattr

from tunlab.errors import MalformedError
from tunlab.packet.checksum import Checksum, Verdict, internet_checksum
from tunlab.packet.field import Field, flag_fields, flag_names
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.match import Match, unknown_field, where
from tunlab.packet.values import check_width, is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

H = TypeVar("H", bound="Header")


class HeaderMeta(StructMeta):
    """Checks the fields of a header where it is constructed by a user.

    The check is here and not in `__post_init__`, so that readers can skip it (see `Header.unchecked`).
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
    """A header: equal by value, hashable, usable in `match`; `replace` makes a changed copy.

    A value that does not fit its field is a MalformedError where the header is constructed.

    Class attributes of a protocol:
        LAYOUT: The fixed fields in the order of the wire, each with its width in bits.
        TAIL: The field that holds the variable bytes behind them, as "options".
        DERIVED: The fields that may be None, which means that they are computed on building.
        VIEWS: Properties that `where` accepts like fields, each with the fields in which its value stands.
        COERCE: Fields that accept several kinds of value, each with the function that converts it.
        LENGTH_FIELD: The field that says how long the content is.
        CHECKSUM_OFFSET: Where the checksum stands, in bytes from the header's first.
    """

    LAYOUT: ClassVar[tuple[tuple[str, int], ...]] = ()
    TAIL: ClassVar[str] = ""
    DERIVED: ClassVar[frozenset[str]] = frozenset()
    VIEWS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    COERCE: ClassVar[Mapping[str, Callable[[Any], object]]] = {}
    LENGTH_FIELD: ClassVar[str] = ""
    CHECKSUM_OFFSET: ClassVar[int | None] = None

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
        that the header does not have is None. `payload=` is compared with what follows the last header.

        Raises:
            TypeError: If the header has no field of this name.
            MalformedError: If the field cannot have this value.
        """
        __tracebackhide__ = True
        return where(cls, fields)

    @classmethod
    def coerce(cls, field: str, value: object) -> object:
        """Return `value` in the form that the field holds.

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
        """Return a constructor without checks, with positional fields, for values that come off the wire."""
        return StructMeta.__call__.__get__(cls)  # type: ignore[no-any-return]

    def _check(self) -> None:
        """Check every field, and bring it into the form that the field holds."""
        for field, most, derived, plain in _checked_fields(type(self)):
            value = getattr(self, field)
            if plain and type(value) is int and 0 <= value <= most:
                continue
            if value is None and derived:
                continue
            if value is UNSET:
                rule = "required. Give it as text, as '10.1.2.1' or 'fd00::1'"
                raise MalformedError(layer=type(self).__name__, field=field, value=None, rule=rule)
            held = self.coerce(field, value)
            if held is not value:
                force_setattr(self, field, held)

    def field_error(self) -> MalformedError:
        """Return the error that names the field which does not fit; for `to_bytes`, when packing failed."""
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
        """Read a header of `data[start:end]`, which has at least one byte.

        Returns the header, where its content starts and ends, and the reader of the header that follows (None: bytes).

        Raises:
            PacketError: If there is no header to give. A transport header that is cut short is a `TruncatedHeader`.
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
        """Bytes of the header."""
        return sum(bits for _, bits in self.LAYOUT) // 8

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:  # noqa: ARG002
        """Return this header with every derived field that is None computed.

        Args:
            outer: The headers before this one; theirs may still be None.
            content: The bytes behind this header, the inner headers included.
            inner: The next header, complete; None if the payload follows.
        """
        return self

    def content_end(self, start: int, limit: int) -> int:  # noqa: ARG002
        """Return where the content ends by the header's own length field; `limit` if it has none or it says nothing.

        Args:
            start: Where the header starts.
            limit: Where the content ends by the outer headers.
        """
        return limit

    # ----- checksums

    def checksum_of(self, outer: Sequence[Header], data: bytes) -> int:  # noqa: ARG002
        """Return the checksum for `data`: this header, with a checksum of zero, and its content."""
        return internet_checksum(data)

    def unverifiable(self, layer: Layer) -> str:  # noqa: ARG002
        """Return why the checksum cannot be verified; empty if it can."""
        return ""

    def checksum_verdict(self, layer: Layer) -> Checksum | None:
        """Return the verdict on this header's checksum; None if it has none."""
        at = self.CHECKSUM_OFFSET
        if at is None:
            return None
        name, value = type(self).__name__, self.checksum or 0  # type: ignore[attr-defined]
        reason = layer.incomplete or self.unverifiable(layer)
        if reason:
            return Checksum(name, Verdict.UNVERIFIABLE, value, None, reason)
        data = layer.data[layer.start : layer.end]
        expected = self.checksum_of(layer.outer, data[:at] + b"\0\0" + data[at + 2 :])
        # In ones' complement 0xffff is zero too, and sums to the same; 0 for 0xffff does not, where all else is zero.
        good = value == expected or (value == 0xFFFF and expected == 0)
        return Checksum(name, Verdict.GOOD if good else Verdict.BAD, value, expected)

    # ----- what is wrong with it

    def findings(self, layer: Layer) -> list[Finding]:  # noqa: ARG002
        """Return what is wrong with the header in its packet, except for its checksum."""
        return []

    def incomplete(self, layer: Layer) -> str:  # noqa: ARG002
        """Return why the bytes behind this header are not all that a checksum covers; empty if they are."""
        return ""

    # ----- texts

    def to_dict(self) -> dict[str, object]:
        """Return the fields as numbers and text for JSON, bytes in hexadecimal."""
        return {field: _plain(getattr(self, field)) for field in self.__struct_fields__}

    @property
    def layer_name(self) -> str:
        """The protocol: "TCP"."""
        return type(self).__name__

    @property
    def title(self) -> str:
        """The header in a few words, as the HTML page shows it beside the protocol."""
        return ""

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port, if the protocol has them."""
        return None

    def fields(self) -> list[Field]:
        """Return every field as the verbose listing, the diagram and the HTML page show it."""
        found, at = list[Field](), 0
        for name, bits in self.LAYOUT:
            value = getattr(self, name)
            children = flag_fields(value, at, bits) if isinstance(value, IntFlag) else ()
            found.append(Field(name, value, self.field_text(name, value), at, bits, children, bool(children)))
            at += bits
        return found

    def field_text(self, name: str, value: object) -> str:
        """Return a field's value as text."""
        if isinstance(value, IntFlag):
            return flag_names(value)
        if name == "checksum" and isinstance(value, int):
            return f"{value:#06x}"
        return str(int(value)) if isinstance(value, int) else str(value)

    def listing(self, layer: Layer, *, verbose: bool) -> list[str]:
        """Return the lines of `tunlab.packet.listing` about this header; only an IP header has some if not verbose."""
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

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:  # noqa: ARG002
        """Return this header and those behind it in a part of a line, as tcpdump prints them.

        Args:
            inner: The layers behind this one.
            text: Their part of the line.
        """
        return text or f"{self.layer_name}, length {layer.size}"

    def reply(self, layer: Layer) -> Header | None:  # noqa: ARG002
        """Return the header that answers this one; None if nothing does."""
        return None


class Layer(Struct, frozen=True, gc=False):
    """A header at its place in the bytes of a packet, for findings, verdicts and texts.

    Attributes:
        outer: The headers before it.
        data: The bytes of the whole packet.
        start: The header's first byte.
        body: The first byte behind it.
        end: Where its content ends, as far as it is present.
        limit: Where the outer headers end their content, as far as it is present.
        cut: How many bytes behind `limit` a capture left out.
        length_from: What set `limit`: "input" or a length field.
        size: Bytes behind the header by the length fields, present or not.
        incomplete: Why the content of the outer headers is not whole; empty if it is.
    """

    header: Header
    outer: tuple[Header, ...]
    data: bytes
    start: int
    body: int
    end: int
    limit: int
    cut: int = 0
    length_from: str = INPUT
    size: int = 0
    incomplete: str = ""

    @property
    def present(self) -> int:
        """Bytes from the header's first to the end of the outer headers' content."""
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
        """Return a finding about a field that starts `at` bytes behind the header's first."""
        return Finding(self.header.layer_name, field, kind, self.start + at, rule, needed, present, length_from)


Reader: TypeAlias = Callable[[bytes, int, int], "Reading"]
"""The `read` of a header class."""

Reading: TypeAlias = tuple[Header, int, int, Reader | None]
"""A header, where its content starts and ends, and the reader of the header that follows."""


def layer_of(reader: Reader) -> type[Header]:
    """Return the header class of a reader."""
    return reader.__self__  # type: ignore[attr-defined, no-any-return]


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return int(value) if isinstance(value, int) else value


@cache
def _checked_fields(layer: type[Header]) -> tuple[tuple[str, int, bool, bool], ...]:
    """Return each field that is checked: its name, its highest value, if it may be None, if it is a plain number."""
    widths = dict(layer.LAYOUT)
    return tuple(
        (name, (1 << widths.get(name, 0)) - 1, name in layer.DERIVED, name not in layer.COERCE)
        for name in layer.__struct_fields__
        if name in widths or name in layer.COERCE
    )
