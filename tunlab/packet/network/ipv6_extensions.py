"""The extension headers of IPv6: RFC 8200 section 4."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet.address import ipv6_text
from tunlab.packet.field import Field, count
from tunlab.packet.findings import INPUT, Finding, FindingKind, trailer_rule
from tunlab.packet.header import FRAGMENTED, Header, Layer, Reading
from tunlab.packet.ipv6_options import TYPES, IPv6Option, JumboPayload, jumbo_length, split_ipv6_options
from tunlab.packet.kinds import Extension, Network
from tunlab.packet.option_lists import decode_option_list, option_list_field, option_list_findings
from tunlab.packet.options import Option, TypedOption, options_to_bytes
from tunlab.packet.tables import IPV6_EXTENSIONS, next_header_name, next_header_of, next_reader
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

_FRAGMENT = struct.Struct("!BBHI")


class LengthExtension(Extension, frozen=True, gc=False):
    """The base class of extension headers with a length field.

    Attributes:
        next_header: The protocol of the next header; None: computed, 59 if nothing follows.
        length: The header's length in 8-byte units without the first; None: computed.
    """

    DERIVED: ClassVar = frozenset({"next_header", "length"})

    @property
    def payload_name(self) -> str:
        return next_header_name(self.next_header)  # type: ignore[attr-defined]

    @property
    def tail(self) -> bytes:
        """The bytes behind the fixed fields."""
        tail: bytes = getattr(self, self.TAIL)
        return tail

    @property
    def header_length(self) -> int:
        """The header's length in bytes, from `length`; if that is None, from the fields."""
        length: int | None = self.length  # type: ignore[attr-defined]
        return sum(bits for _, bits in self.LAYOUT) // 8 + len(self.tail) if length is None else length * 8 + 8

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < 8:
            raise _too_short(cls.__name__, start, end)
        fixed = len(cls.LAYOUT)  # each of the fixed fields is a byte
        body = min(start + data[start + 1] * 8 + 8, end)
        header = cls.unchecked()(*data[start : start + fixed], data[start + fixed : body])
        return header, body, end, next_reader(data[start])

    def to_bytes(self) -> bytes:
        try:
            return bytes([getattr(self, name) for name, _ in self.LAYOUT]) + self.tail
        except (TypeError, ValueError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with next header and length computed where they are None; then it is padded.

        Raises:
            MalformedError: If they cannot be computed.
        """
        name = type(self).__name__
        following, length, tail = self.next_header, self.length, self.tail  # type: ignore[attr-defined]
        if following is None:
            following = next_header_of(name, inner, content)
        if length is None:
            fixed = len(self.LAYOUT)
            tail += self.padding(-(fixed + len(tail)) % 8)
            length = (fixed + len(tail)) // 8 - 1
            if length > 255:
                rule = "an extension header has at most 2048 bytes (RFC 8200 section 4)"
                raise MalformedError(layer=name, field=self.TAIL, value=f"{len(tail)} bytes", rule=rule)
        return replace(self, next_header=following, length=length, **{self.TAIL: tail})

    def padding(self, size: int) -> bytes:
        """Return `size` bytes of padding, which fill the header up to a multiple of 8 bytes."""
        return bytes(size)

    def findings(self, layer: Layer) -> list[Finding]:
        needed, present = self.header_length, layer.limit - layer.start
        if needed <= present + layer.missing:
            return []
        rule = "the header runs past the end"
        return [layer.finding("length", FindingKind.TRUNCATED, 1, rule, needed, present, layer.length_from)]

    def field_text(self, name: str, value: object) -> str:
        return _field_text(name, value) or super().field_text(name, value)

    def fields(self) -> list[Field]:
        found, tail = super().fields(), self.tail
        start = len(self.LAYOUT) * 8
        return [*found, Field(self.TAIL, tail, count(len(tail), "byte"), start, len(tail) * 8)] if tail else found


class OptionsExtension(LengthExtension, frozen=True, gc=False):
    """The base class of the extension headers with options."""

    LAYOUT: ClassVar = (("next_header", 8), ("length", 8))
    TAIL: ClassVar = "options"
    COERCE: ClassVar = {"options": options_to_bytes}

    next_header: int | None = None
    length: int | None = None
    options: bytes = b""

    @property
    def decoded_options(self) -> tuple[Option | TypedOption, ...]:
        """The options as objects, as far as they can be read; `findings` says where reading stopped."""
        return decode_option_list(self.options, split_ipv6_options, TYPES, IPv6Option)

    def has_option(self, kind: type[TypedOption]) -> bool:
        """Return True if there is an option of this class."""
        return any(item.kind == kind.KIND for item in split_ipv6_options(self.options)[0])

    def padding(self, size: int) -> bytes:
        """Return the option Pad1 or PadN (RFC 8200 section 4.2)."""
        return bytes(size) if size < 2 else bytes((1, size - 2)) + bytes(size - 2)

    def findings(self, layer: Layer) -> list[Finding]:
        found = super().findings(layer)
        if found or (layer.missing and layer.body == layer.limit):
            return found
        name = f"{self.layer_name}.length"
        return option_list_findings(layer, self.options, 2, name, split_ipv6_options, TYPES)

    def fields(self) -> list[Field]:
        found = super().fields()
        if self.options:
            found[-1] = option_list_field(self.options, 16, split_ipv6_options, TYPES)
        return found


class HopByHop(OptionsExtension, frozen=True, gc=False):
    """Hop-by-hop options (RFC 8200 section 4.3): every node on the path may examine them.

    The jumbo payload option holds the length of a packet whose IPv6 payload length is 0 (RFC 2675).
    """

    LENGTH_FROM: ClassVar = "JumboPayload.length"

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        header, body, end, following = super().read(data, start, end)
        return header, body, min(header.content_end(start, end), end), following

    def content_end(self, start: int, limit: int) -> int:
        length = jumbo_length(self.options)  # it counts this header too (RFC 2675 section 2)
        return start + length if length else limit

    def content_length(self, size: int) -> int:
        length = jumbo_length(self.options)
        return min(size, length - self.header_length) if length else size

    def incomplete(self, layer: Layer) -> str:
        if not _has_payload_length_0(layer):
            return ""
        length = jumbo_length(self.options)
        if not length:
            return "the payload length does not say what it covers"
        if length > layer.present:
            return "the capture is cut short" if layer.missing else "the packet is cut short"
        return ""

    def findings(self, layer: Layer) -> list[Finding]:
        found = super().findings(layer)
        if layer.outer and not isinstance(layer.outer[-1], Network):
            rule = "the header must follow the IPv6 header immediately (RFC 8200 section 4.1)"
            found.insert(0, layer.finding("next_header", FindingKind.VALUE, 0, rule))
        for option in self.decoded_options:
            if isinstance(option, JumboPayload):
                found += _jumbo_findings(layer, option.length)
        if _has_payload_length_0(layer) and not found and not self.has_option(JumboPayload):
            rule = "0 needs a jumbo payload option (RFC 2675 section 3)"
            found.append(Finding("IPv6", "payload_length", FindingKind.LENGTH, layer.start - 36, rule))
        return found


def _has_payload_length_0(layer: Layer) -> bool:
    """Return True if the header before this layer is an IPv6 header with the payload length 0."""
    return any(getattr(header, "payload_length", None) == 0 for header in layer.outer[-1:])


class DestinationOptions(OptionsExtension, frozen=True, gc=False):
    """Options for the destination (RFC 8200 section 4.6)."""


class Routing(LengthExtension, frozen=True, gc=False):
    """A routing header (RFC 8200 section 4.4).

    Attributes:
        type: 0 is deprecated (RFC 5095), 2 is Mobile IPv6 (RFC 6275), 4 is segment routing (RFC 8754).
        data: The bytes behind `segments_left`.
    """

    LAYOUT: ClassVar = (("next_header", 8), ("length", 8), ("type", 8), ("segments_left", 8))
    TAIL: ClassVar = "data"
    COERCE: ClassVar = {"data": to_bytes}

    next_header: int | None = None
    length: int | None = None
    type: int = 4
    segments_left: int = 0
    data: bytes = b""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses in a header of type 0, 2 or 4, as far as they are present; empty for other types."""
        if self.type not in (0, 2, 4):
            return ()
        ends = range(20, len(self.data) + 1, 16)
        addresses = tuple([ipv6_text(self.data[end - 16 : end]) for end in ends])
        return addresses[: self.data[0] + 1] if self.type == 4 else addresses

    @property
    def final_destination(self) -> str:
        """The last address of the route if segments are left, else empty. Transport checksums cover this address."""
        addresses = self.addresses
        if not self.segments_left or not addresses:
            return ""
        return addresses[0] if self.type == 4 else addresses[-1]

    def findings(self, layer: Layer) -> list[Finding]:
        found = super().findings(layer)
        if found or (layer.missing and layer.body == layer.limit):
            return found
        left, addresses = self.segments_left, len(self.addresses)
        if self.type == 0:
            rule = "type 0 is deprecated and must not be used (RFC 5095)"
            found.append(layer.finding("type", FindingKind.VALUE, 2, rule))
        elif self.type == 2 and (left, addresses, self.length) != (1, 1, 2):
            rule = "a type 2 header has one address and one segment left (RFC 6275 section 6.4)"
            found.append(layer.finding("segments_left", FindingKind.VALUE, 3, rule))
        elif self.type == 4 and left > addresses:
            rule = f"{left} segments are left of {count(addresses, 'address', 'addresses')} (RFC 8754 section 4.3.1.1)"
            found.append(layer.finding("segments_left", FindingKind.VALUE, 3, rule))
        return found


class Fragment(Extension, frozen=True, gc=False):
    """A fragment header (RFC 8200 section 4.5).

    Attributes:
        next_header: The protocol of the next header; None: computed. Give it for later fragments.
        fragment_offset: In 8-byte units, as on the wire.
        more_fragments: 1 in all fragments but the last.
    """

    LAYOUT: ClassVar = (
        ("next_header", 8), ("reserved", 8), ("fragment_offset", 13), ("reserved_bits", 2), ("more_fragments", 1),
        ("identification", 32),
    )  # fmt: skip
    DERIVED: ClassVar = frozenset({"next_header"})

    next_header: int | None = None
    reserved: int = 0
    fragment_offset: int = 0
    reserved_bits: int = 0
    more_fragments: int = 0
    identification: int = 0

    @property
    def payload_name(self) -> str:
        return next_header_name(self.next_header)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < 8:
            raise _too_short("Fragment", start, end)
        following, reserved, bits, identification = _FRAGMENT.unpack_from(data, start)
        header = _fragment(following, reserved, bits >> 3, bits >> 1 & 3, bits & 1, identification)
        return header, start + 8, end, None if bits >> 3 else next_reader(following)

    def to_bytes(self) -> bytes:
        offset, reserved, more = self.fragment_offset, self.reserved_bits, self.more_fragments
        try:
            if offset >> 13 or reserved >> 2 or more >> 1:
                raise self.field_error()
            bits = offset << 3 | reserved << 1 | more
            return _FRAGMENT.pack(self.next_header, self.reserved, bits, self.identification)
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with the next header computed if it is None.

        Raises:
            MalformedError: If it cannot be computed.
        """
        if self.next_header is not None:
            return self
        return replace(self, next_header=next_header_of("Fragment", inner, content))

    def incomplete(self, layer: Layer) -> str:
        if self.fragment_offset or self.more_fragments:
            return FRAGMENTED
        return ""

    def findings(self, layer: Layer) -> list[Finding]:
        found: list[Finding] = []
        size = layer.size
        if self.more_fragments and size % 8:
            rule = "all fragments but the last hold a multiple of 8 bytes (RFC 8200 section 4.5)"
            found.append(layer.finding("more_fragments", FindingKind.FRAGMENT, 3, rule))
        if self.fragment_offset * 8 + size > 0xFFFF:
            rule = "the fragment ends past the largest packet of 65535 bytes (RFC 8200 section 4.5)"
            found.append(layer.finding("fragment_offset", FindingKind.FRAGMENT, 2, rule))
        if self.reserved or self.reserved_bits:
            found.append(layer.finding("reserved", FindingKind.RESERVED, 1, "must be zero (RFC 8200 section 4.5)"))
        return found

    def field_text(self, name: str, value: object) -> str:
        if name == "identification" and isinstance(value, int):
            return f"{value:#010x}"
        if name == "fragment_offset" and isinstance(value, int) and value:
            return f"{value} (byte {value * 8})"
        return _field_text(name, value) or super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        text = text or f"{self.payload_name}, length {layer.size}"
        more = "+" * self.more_fragments
        return f"{text}, fragment id {self.identification:#x} {layer.size}@{self.fragment_offset * 8}{more}"


def _too_short(layer: str, start: int, end: int) -> TruncatedError:
    return TruncatedError(layer=layer, field="", offset=start, needed=8, present=end - start, length_from=INPUT)


def _field_text(name: str, value: object) -> str:
    """Return the value of `next_header` or `length` as text; empty for other fields."""
    if name == "next_header" and isinstance(value, int):
        return f"{value} ({next_header_name(value)})"
    if name == "length" and isinstance(value, int):
        return f"{value} ({value * 8 + 8} bytes)"
    return ""


def _jumbo_findings(layer: Layer, length: int) -> list[Finding]:
    rules = []
    if length <= 0xFFFF:
        rules.append("the jumbo payload length is below 65536 (RFC 2675 section 3)")
    if not _has_payload_length_0(layer):
        rules.append("the IPv6 payload length must be 0 beside a jumbo payload option (RFC 2675 section 3)")
    found = [layer.finding("options", FindingKind.OPTION, 2, rule) for rule in rules]
    if found or layer.present <= length <= layer.present + layer.missing:
        return found
    present, kind, rule = layer.present, FindingKind.TRUNCATED, "the packet is cut short"
    if length < present:
        kind, rule = FindingKind.TRAILER, trailer_rule(present - length, "the packet")
    return [layer.finding("options", kind, 2, rule, length, present, layer.length_from)]


_fragment = Fragment.unchecked()
IPV6_EXTENSIONS[0] = HopByHop.read
IPV6_EXTENSIONS[43] = Routing.read
IPV6_EXTENSIONS[44] = Fragment.read
IPV6_EXTENSIONS[60] = DestinationOptions.read
