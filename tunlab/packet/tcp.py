"""The TCP header: RFC 9293 section 3.1."""

from __future__ import annotations

import struct
from enum import IntFlag
from typing import TYPE_CHECKING, ClassVar, TypeVar

from msgspec.structs import replace

from tunlab.errors import MalformedError
from tunlab.packet import tcp_options
from tunlab.packet.checksum import internet_checksum
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Transport, flag_converter
from tunlab.packet.ipv4 import IPv4
from tunlab.packet.options import (
    MAX_OPTIONS_LENGTH,
    Option,
    OptionFault,
    TypedOption,
    decode_options,
    option_findings,
    options_to_bytes,
    pad_options,
    split_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import SupportsBytes

T = TypeVar("T", bound=TypedOption)

FIXED = 20
"""Octets of a header without options."""


class TCPFlag(IntFlag):
    """The eight control bits (RFC 9293 section 3.1)."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128


FLAGS = tuple(TCPFlag(number) for number in range(256))

_PACKED = struct.Struct("!HHIIBBHHH")
unpack_tcp = _PACKED.unpack_from
OFFSET_RESERVED = tuple((octet >> 4, octet & 15) for octet in range(256))
"""By the octet that holds both: data offset and reserved bits."""


class TCP(Transport, frozen=True, gc=False):
    """A TCP header.

    data_offset      in 32-bit words; None: computed
    reserved         the four bits between data offset and flags
    checksum         None: computed
    window           as on the wire, without the window scale
    options          octets as on the wire, given as octets or as a list of options (`tcp_options`)
    """

    PROTOCOL: ClassVar = 6
    LAYOUT: ClassVar = (
        ("src_port", 16), ("dst_port", 16), ("seq", 32), ("ack", 32),
        ("data_offset", 4), ("reserved", 4), ("flags", 8), ("window", 16), ("checksum", 16), ("urgent_pointer", 16),
    )  # fmt: skip
    DERIVED: ClassVar = frozenset({"data_offset", "checksum"})
    COERCE: ClassVar = {"flags": flag_converter(TCPFlag), "options": options_to_bytes}
    VIEWS: ClassVar = ("mss", "window_scale", "sack_permitted", "sack", "timestamps", "fast_open")

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

    def __post_init__(self) -> None:
        if type(self.flags) is not TCPFlag:
            self.normalize("flags")
        if type(self.options) is not bytes:
            self.normalize("options")

    @property
    def header_length(self) -> int:
        """Octets of the header as `data_offset` says; with options as they are where that is None."""
        return self.data_offset * 4 if self.data_offset is not None else FIXED + len(pad_options(self.options))

    @property
    def decoded_options(self) -> tuple[Option | TypedOption, ...]:
        """The options as objects, as far as they can be read; `findings` says where reading stopped."""
        return tuple(decode_options(self.options, tcp_options.READERS)) if self.options else ()

    @property
    def mss(self) -> int | None:
        """The maximum segment size in octets, where the option is there."""
        option = self._option(tcp_options.MSS)
        return None if option is None else option.size

    @property
    def window_scale(self) -> int | None:
        """The window's shift count, where the option is there."""
        option = self._option(tcp_options.WindowScale)
        return None if option is None else option.shift

    @property
    def sack_permitted(self) -> bool:
        """Whether the option is there."""
        return self._option(tcp_options.SACKPermitted) is not None

    @property
    def sack(self) -> tuple[tuple[int, int], ...]:
        """The blocks of the SACK option; empty where it is not there."""
        option = self._option(tcp_options.SACK)
        return () if option is None else option.blocks

    @property
    def timestamps(self) -> tuple[int, int] | None:
        """Value and echo reply of the timestamps option, where it is there."""
        option = self._option(tcp_options.Timestamps)
        return None if option is None else (option.value, option.echo_reply)

    @property
    def fast_open(self) -> bytes | None:
        """The fast-open cookie; empty for a request, None where the option is not there."""
        option = self._option(tcp_options.FastOpen)
        return None if option is None else option.cookie

    def _option(self, kind: type[T]) -> T | None:
        return next((each for each in self.decoded_options if isinstance(each, kind)), None)

    def split_options(self) -> tuple[tuple[tuple[int, bytes], ...], OptionFault | None]:
        """Kind and data of each option, as far as they can be read, and why not further; None: all of them were."""
        return split_options(self.options) if self.options else ((), None)

    def reply(self, payload_length: int) -> TCP:
        """The header that acknowledges this one and `payload_length` octets behind it; SYN and FIN count one each."""
        counted = payload_length + (TCPFlag.SYN in self.flags) + (TCPFlag.FIN in self.flags)
        return TCP(
            src_port=self.dst_port,
            dst_port=self.src_port,
            seq=self.ack,
            ack=(self.seq + counted) % 2**32,
            flags=TCPFlag.ACK,
        )

    def complete(self, ip: IPv4, payload: bytes) -> TCP:
        """This header behind `ip` and before `payload`, with data offset and checksum computed where they are None.

        Raises MalformedError for more options than a header holds.
        """
        options = self.options
        if self.data_offset is None:
            options = pad_options(options)
            if len(options) > MAX_OPTIONS_LENGTH:
                rule = f"a header holds {MAX_OPTIONS_LENGTH} octets of them (RFC 9293 section 3.1)"
                raise MalformedError(layer="TCP", field="options", value=f"{len(options)} octets", rule=rule)
        header = replace(
            self,
            data_offset=5 + len(options) // 4 if self.data_offset is None else self.data_offset,
            options=options,
            checksum=0 if self.checksum is None else self.checksum,
        )
        if self.checksum is None:
            header = replace(header, checksum=tcp_checksum(ip, header, payload))
        return header

    def to_bytes(self) -> bytes:
        """The header on the wire, options included; raises MalformedError where a field does not fit."""
        data_offset, reserved = self.data_offset, self.reserved
        try:
            if data_offset >> 4 or reserved >> 4:  # type: ignore[operator]  # None is a TypeError, and refused below
                raise self.field_error()
            return (
                _PACKED.pack(
                    self.src_port,
                    self.dst_port,
                    self.seq,
                    self.ack,
                    data_offset << 4 | reserved,  # type: ignore[operator]
                    self.flags,
                    self.window,
                    self.checksum,
                    self.urgent_pointer,
                )
                + self.options
            )
        except (struct.error, TypeError):
            raise self.field_error() from None


def tcp_checksum(ip: IPv4, tcp: TCP, payload: bytes) -> int:
    """The checksum that belongs into `tcp`, whatever stands there."""
    octets = replace(tcp, checksum=0).to_bytes() + payload
    return internet_checksum(ip.pseudo_header(TCP.PROTOCOL, len(octets)) + octets)


def tcp_findings(tcp: TCP, offset: int, present: int, length_from: str) -> list[Finding]:
    """What is wrong with a header at `offset`, with `present` octets from there on; its checksum apart."""
    found: list[Finding] = []
    length = tcp.header_length
    if length < FIXED:
        rule = "it is less than the fixed fields"
        found.append(
            Finding("TCP", "data_offset", FindingKind.LENGTH, offset + 12, rule, FIXED, length, "TCP.data_offset")
        )
    elif length > present:
        rule = "the header runs past the end"
        found.append(
            Finding("TCP", "data_offset", FindingKind.TRUNCATED, offset + 12, rule, length, present, length_from)
        )
    if tcp.reserved:
        rule = "they must be zero in segments of hosts that give them no meaning (RFC 9293 section 3.1)"
        found.append(Finding("TCP", "reserved", FindingKind.RESERVED, offset + 12, rule))
    if tcp.options:
        found += option_findings("TCP", tcp.options, offset + FIXED, "TCP.data_offset", tcp_options.TYPES)
    return found
