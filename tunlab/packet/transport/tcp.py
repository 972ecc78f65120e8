"""The TCP header: RFC 9293 section 3.1, with the AE flag of RFC 9768."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from msgspec.structs import replace

from tunlab.packet import tcp_options
from tunlab.packet.cache import Cache
from tunlab.packet.field import Field
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Transport
from tunlab.packet.options import (
    Option,
    TypedOption,
    check_options,
    decode_options,
    option_findings,
    option_summary,
    options_field,
    options_to_bytes,
    pad_options,
    split_options,
)
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.truncated import truncated
from tunlab.packet.values import flag_converter, is_packet_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import SupportsBytes

__tracebackhide__ = is_packet_error

T = TypeVar("T", bound=TypedOption)

FIXED = 20
"""Bytes of a header without options."""


class TCPFlag(IntFlag):
    """The nine control bits (RFC 9293 section 3.1, RFC 9768)."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128
    AE = 256


_SYN, _RST, _ACK, _URG = 2, 4, 16, 32

LETTERS = "FSRP.UEWe"
"""tcpdump's letters for the flags, the lowest first: a dot for ACK."""

FLAGS = tuple(TCPFlag(number) for number in range(512))
FLAG_LETTERS = tuple(
    "".join(letter for bit, letter in enumerate(LETTERS) if number >> bit & 1) or "none" for number in range(512)
)
"""The letters of the flags that are set, by the flags as a number. Operators of IntFlag take ten times as long."""

_PACKED = struct.Struct("!HHIIHHHH")
_unpack = _PACKED.unpack_from
_BITS = Cache[int, tuple[int, int, TCPFlag]](lambda bits: (bits >> 12, bits >> 9 & 7, FLAGS[bits & 511]))
"""Data offset, reserved bits and flags by the 16 bits that hold them."""


class TCP(Transport, frozen=True, gc=False):
    """A TCP header.

    Attributes:
        data_offset: The header's length in 32-bit words; None: computed.
        reserved: The three bits between data offset and flags.
        window: The value on the wire, without the window scale.
        checksum: None: computed.
        options: Bytes as on the wire, given as bytes or as a list of options (`tcp_options`).

    Raises:
        MalformedError: If a value does not fit its field. It is raised where the header is constructed.
    """

    PROTOCOL: ClassVar = 6
    LAYOUT: ClassVar = (
        ("src_port", 16), ("dst_port", 16), ("seq", 32), ("ack", 32),
        ("data_offset", 4), ("reserved", 3), ("flags", 9), ("window", 16), ("checksum", 16), ("urgent_pointer", 16),
    )  # fmt: skip
    TAIL: ClassVar = "options"
    DERIVED: ClassVar = frozenset({"data_offset", "checksum"})
    CHECKSUM_OFFSET: ClassVar = 16
    PSEUDO_HEADER: ClassVar = True
    COERCE: ClassVar = {"flags": flag_converter(TCPFlag), "options": options_to_bytes}
    VIEWS: ClassVar = dict.fromkeys(
        ("mss", "window_scale", "sack_permitted", "sack", "timestamps", "fast_open"), ("options",)
    )

    src_port: int = 0
    dst_port: int = 0
    seq: int = 0
    ack: int = 0
    data_offset: int | None = None
    reserved: int = 0
    flags: TCPFlag = FLAGS[0]
    window: int = 65535
    checksum: int | None = None
    urgent_pointer: int = 0
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            src_port: int = 0,
            dst_port: int = 0,
            seq: int = 0,
            ack: int = 0,
            data_offset: int | None = None,
            reserved: int = 0,
            flags: TCPFlag | int = FLAGS[0],
            window: int = 65535,
            checksum: int | None = None,
            urgent_pointer: int = 0,
            options: bytes | Iterable[SupportsBytes] = b"",
        ) -> None: ...

    @property
    def header_length(self) -> int:
        """The header's length in bytes, from `data_offset`; if that is None, from the options."""
        return self.data_offset * 4 if self.data_offset is not None else FIXED + len(pad_options(self.options))

    @property
    def decoded_options(self) -> tuple[Option | TypedOption, ...]:
        """The options as objects, as far as they can be read; `findings` says where reading stopped."""
        return decode_options(self.options, tcp_options.TYPES)

    @property
    def mss(self) -> int | None:
        """The maximum segment size in bytes; None without the option."""
        option = self._option(tcp_options.MSS)
        return None if option is None else option.size

    @property
    def window_scale(self) -> int | None:
        """The window's shift count; None without the option."""
        option = self._option(tcp_options.WindowScale)
        return None if option is None else option.shift

    @property
    def sack_permitted(self) -> bool:
        """True if the option "SACK permitted" is present."""
        return self._option(tcp_options.SACKPermitted) is not None

    @property
    def sack(self) -> tuple[tuple[int, int], ...]:
        """The blocks of the SACK option; empty without it."""
        option = self._option(tcp_options.SACK)
        return () if option is None else option.blocks

    @property
    def timestamps(self) -> tuple[int, int] | None:
        """Value and echo reply of the timestamps option; None without it."""
        option = self._option(tcp_options.Timestamps)
        return None if option is None else (option.value, option.echo_reply)

    @property
    def fast_open(self) -> bytes | None:
        """The fast-open cookie; empty for a request, None without the option."""
        option = self._option(tcp_options.FastOpen)
        return None if option is None else option.cookie

    def _option(self, kind: type[T]) -> T | None:
        return next((each for each in self.decoded_options if isinstance(each, kind)), None)

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        body = start + FIXED
        if body > end:
            return truncated(cls, data, start, end)
        src_port, dst_port, seq, ack, bits, window, checksum, urgent = _unpack(data, start)
        data_offset, reserved, flags = _BITS[bits]
        options = b""
        if data_offset > 5:
            body = min(start + data_offset * 4, end)
            options = data[start + FIXED : body]
        header = _tcp(
            src_port, dst_port, seq, ack, data_offset, reserved, flags, window, checksum, urgent, options
        )  # fmt: skip
        return header, body, end, None

    def to_bytes(self) -> bytes:
        data_offset, reserved, flags = self.data_offset, self.reserved, self.flags
        try:
            if data_offset >> 4 or reserved >> 3 or flags >> 9:  # type: ignore[operator]  # None is a TypeError
                raise self.field_error()
            # `+ flags`, because the operator | of IntFlag takes ten times as long.
            bits = (data_offset << 12 | reserved << 9) + flags  # type: ignore[operator]
            fixed = _PACKED.pack(
                self.src_port, self.dst_port, self.seq, self.ack, bits, self.window, self.checksum, self.urgent_pointer
            )  # fmt: skip
            return fixed + self.options
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with data offset and checksum computed if they are None.

        Raises:
            MalformedError: If a header cannot hold so many options.
        """
        header = self
        if self.data_offset is None:
            options = check_options("TCP", self.options, "RFC 9293 section 3.1")
            header = replace(self, data_offset=5 + len(options) // 4, options=options)
        return super(TCP, header).complete(outer, content, inner)

    # ----- judgement

    def findings(self, layer: Layer) -> list[Finding]:
        found: list[Finding] = []
        kind, find, flags = FindingKind, layer.finding, self.flags + 0  # a plain number: its operators are faster
        length = (self.data_offset or 0) * 4
        if length < FIXED:
            rule = "less than the fixed fields"
            found.append(find("data_offset", kind.LENGTH, 12, rule, FIXED, length, "TCP.data_offset"))
        elif length > layer.limit - layer.start + layer.missing:
            rule = "the header runs past the end"
            found.append(find("data_offset", kind.TRUNCATED, 12, rule, length, layer.present, layer.length_from))
        if self.reserved:
            rule = "must be zero in segments of hosts that give it no meaning (RFC 9293 section 3.1)"
            found.append(find("reserved", kind.RESERVED, 12, rule))
        rule = _FLAG_RULES[flags]
        if rule:
            found.append(find("flags", kind.VALUE, 12, rule))
        ordinary = tcp_options.ORDINARY_SYN if flags & _SYN else tcp_options.ORDINARY
        if self.options and not ordinary.fullmatch(self.options) and not (layer.missing and layer.body == layer.limit):
            found += option_findings(layer, self.options, FIXED, "TCP.data_offset", tcp_options.TYPES)
            if not flags & _SYN:
                misplaced = [each for each, _ in split_options(self.options)[0] if each in tcp_options.SYN_ONLY]
                names = ", ".join(tcp_options.TYPES[each].__name__ for each in misplaced)
                if names:
                    rule = f"{names} may be sent in segments with SYN only (RFC 9293 section 3.7.1, RFC 7323, RFC 2018)"
                    found.append(find("options", kind.OPTION, FIXED, rule))
        return found

    # ----- texts

    @property
    def title(self) -> str:
        return f"{self.src_port} → {self.dst_port}"

    @property
    def ports(self) -> tuple[int, int]:
        return self.src_port, self.dst_port

    def fields(self) -> list[Field]:
        found = super().fields()
        return [*found, options_field(self.options, FIXED * 8, tcp_options.TYPES)] if self.options else found

    def field_text(self, name: str, value: object) -> str:
        if name == "data_offset" and isinstance(value, int):
            return f"{value} ({value * 4} bytes)"
        return super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        flags, size, seq = self.flags + 0, layer.size, self.seq
        data = f":{(seq + size) % 2**32}" if size else ""
        ack = f", ack {self.ack}" if flags & _ACK else ""
        text = f"Flags [{FLAG_LETTERS[flags]}], seq {seq}{data}{ack}, win {self.window}"
        if flags & _URG:
            text += f", urg {self.urgent_pointer}"
        if self.options:
            text += f", options [{option_summary(self.options, tcp_options.TYPES)}]"
        return f"{text}, length {size}"

    def reply(self, layer: Layer) -> TCP:
        """Return the header that acknowledges this segment; SYN and FIN count one each (RFC 9293 section 3.4)."""
        counted = layer.size + (TCPFlag.SYN in self.flags) + (TCPFlag.FIN in self.flags)
        ack = (self.seq + counted) % 2**32
        return TCP(src_port=self.dst_port, dst_port=self.src_port, seq=self.ack, ack=ack, flags=TCPFlag.ACK)


def _flags_rule(flags: int) -> str:
    """Return the rule of RFC 9293 that this combination of flags breaks; empty if it breaks none."""
    if not flags & (_SYN | _RST | _ACK):
        return "without ACK, SYN or RST a receiver drops the segment (RFC 9293 section 3.10.7.4)"
    if flags & _SYN and flags & _RST:
        return "SYN and RST contradict each other (RFC 9293 section 3.5)"
    return ""


_FLAG_RULES = tuple(map(_flags_rule, range(512)))
_tcp = TCP.unchecked()
IP_PAYLOADS[TCP.PROTOCOL] = TCP.read
