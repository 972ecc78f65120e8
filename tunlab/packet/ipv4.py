"""The IPv4 header: RFC 791, with DSCP (RFC 2474) and ECN (RFC 3168) in the former type of service."""

from __future__ import annotations

import struct
from enum import IntFlag
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, ClassVar

from msgspec import UNSET
from msgspec.structs import replace

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import ip_options
from tunlab.packet.address import OCTETS, AddressLike, address_text
from tunlab.packet.checksum import internet_checksum
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, flag_converter
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

FIXED = 20
"""Octets of a header without options."""


class IPFlag(IntFlag):
    """The three flags before the fragment offset (RFC 791 section 3.1)."""

    MF = 1  # more fragments
    DF = 2  # do not fragment
    RESERVED = 4  # must be zero


FLAGS = tuple(IPFlag(number) for number in range(8))  # a table of members is 25 times faster than the enum's call

_PACKED = struct.Struct("!BBHHBBBBH8s")
unpack_ipv4 = _PACKED.unpack_from
SERVICE = tuple((octet >> 2, octet & 3) for octet in range(256))
"""By the former type of service: DSCP and ECN."""
FRAGMENT = tuple((FLAGS[octet >> 5], (octet & 31) << 8) for octet in range(256))
"""By the first octet of two: the flags, and what it adds to the fragment offset."""
_KNOWN = OCTETS.known


class IPv4(Header, frozen=True, gc=False):
    """An IPv4 header.

    ihl, total_length   in 32-bit words and in octets; None: computed
    protocol            None: that of the header which follows
    checksum            None: computed
    fragment_offset     in 8-octet units, as on the wire
    src, dst            given as text or `ipaddress` objects, held as dotted text
    options             octets as on the wire, given as octets or as a list of options (`ip_options`)
    """

    LAYOUT: ClassVar = (
        ("version", 4), ("ihl", 4), ("dscp", 6), ("ecn", 2), ("total_length", 16),
        ("identification", 16), ("flags", 3), ("fragment_offset", 13),
        ("ttl", 8), ("protocol", 8), ("checksum", 16), ("src", 32), ("dst", 32),
    )  # fmt: skip
    DERIVED: ClassVar = frozenset({"ihl", "total_length", "protocol", "checksum"})
    COERCE: ClassVar = {
        "src": address_text, "dst": address_text, "final_destination": address_text,
        "flags": flag_converter(IPFlag), "options": options_to_bytes,
    }  # fmt: skip
    VIEWS: ClassVar = ("header_length", "is_fragment", "final_destination")

    version: int = 4
    ihl: int | None = None
    dscp: int = 0
    ecn: int = 0
    total_length: int | None = None
    identification: int = 0
    flags: IPFlag = FLAGS[0]
    fragment_offset: int = 0
    ttl: int = 64
    protocol: int | None = None
    checksum: int | None = None
    src: str = UNSET  # type: ignore[assignment]  # a header without them is refused below
    dst: str = UNSET  # type: ignore[assignment]
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            src: AddressLike,
            dst: AddressLike,
            version: int = 4,
            ihl: int | None = None,
            dscp: int = 0,
            ecn: int = 0,
            total_length: int | None = None,
            identification: int = 0,
            flags: IPFlag | int = FLAGS[0],
            fragment_offset: int = 0,
            ttl: int = 64,
            protocol: int | None = None,
            checksum: int | None = None,
            options: bytes | Iterable[SupportsBytes] = b"",
        ) -> None: ...

    def __post_init__(self) -> None:
        # Each parsed header comes through here, with addresses that are known: two look-ups are all it should cost.
        src, dst = self.src, self.dst
        if type(src) is not str or type(dst) is not str or src not in _KNOWN or dst not in _KNOWN:
            self._settle_addresses()
        if type(self.flags) is not IPFlag:
            self.normalize("flags")
        if type(self.options) is not bytes:
            self.normalize("options")

    def _settle_addresses(self) -> None:
        for field in ("src", "dst"):
            if getattr(self, field) is UNSET:
                rule = "every datagram has one; give it as text, as '10.1.2.1'"
                raise MalformedError(layer="IPv4", field=field, value=None, rule=rule)
            self.normalize(field)

    @property
    def header_length(self) -> int:
        """Octets of the header as `ihl` says; with options as they are where `ihl` is None."""
        return self.ihl * 4 if self.ihl is not None else FIXED + len(pad_options(self.options))

    @property
    def is_fragment(self) -> bool:
        """Whether this datagram is a part of a larger one."""
        return self.fragment_offset != 0 or IPFlag.MF in self.flags

    @property
    def src_address(self) -> IPv4Address:
        """`src` as an `ipaddress` object."""
        return IPv4Address(self.src)

    @property
    def dst_address(self) -> IPv4Address:
        """`dst` as an `ipaddress` object."""
        return IPv4Address(self.dst)

    @property
    def decoded_options(self) -> tuple[Option | TypedOption, ...]:
        """The options as objects, as far as they can be read; `findings` says where reading stopped."""
        return tuple(decode_options(self.options, ip_options.READERS)) if self.options else ()

    @property
    def final_destination(self) -> str:
        """Where the datagram ends: `dst`, or the last hop of a source route that is not used up (RFC 791 section 3.1).

        Transport checksums cover this address.
        """
        if self.options:
            for option in self.decoded_options:
                if isinstance(option, ip_options.SourceRoute) and option.pointer <= len(option.addresses) * 4 + 3:
                    return option.addresses[-1]
        return self.dst

    def split_options(self) -> tuple[tuple[tuple[int, bytes], ...], OptionFault | None]:
        """Kind and data of each option, as far as they can be read, and why not further; None: all of them were."""
        return split_options(self.options) if self.options else ((), None)

    def pseudo_header(self, protocol: int, length: int) -> bytes:
        """The 12 octets that TCP and UDP checksums cover too; `length` in octets (RFC 9293 section 3.1, RFC 768).

        Raises MalformedError for a length that no datagram has.
        """
        if length > 0xFFFF:
            raise _too_long(FIXED + len(self.options) + length)
        return OCTETS[self.src] + OCTETS[self.final_destination] + struct.pack("!HH", protocol, length)

    def complete(self, payload: bytes, protocol: int | None = None) -> IPv4:
        """This header for `payload` behind it; `protocol` is what that says of itself.

        Raises MalformedError where the length or the protocol cannot be computed.
        """
        if self.protocol is None and protocol is None:
            rule = "no header follows that would say it; give protocol=…"
            raise MalformedError(layer="IPv4", field="protocol", value=None, rule=rule)
        options = self.options
        if self.ihl is None:
            options = pad_options(options)
            if len(options) > MAX_OPTIONS_LENGTH:
                rule = f"a header holds {MAX_OPTIONS_LENGTH} octets of them (RFC 791 section 3.1)"
                raise MalformedError(layer="IPv4", field="options", value=f"{len(options)} octets", rule=rule)
        total_length = self.total_length
        if total_length is None:
            total_length = FIXED + len(options) + len(payload)
            if total_length > 0xFFFF:
                raise _too_long(total_length)
        header = replace(
            self,
            ihl=5 + len(options) // 4 if self.ihl is None else self.ihl,
            total_length=total_length,
            protocol=protocol if self.protocol is None else self.protocol,
            options=options,
            checksum=0 if self.checksum is None else self.checksum,
        )
        return header if self.checksum is not None else replace(header, checksum=internet_checksum(header.to_bytes()))

    def to_bytes(self) -> bytes:
        """The header on the wire, options included; raises MalformedError where a field does not fit."""
        version, ihl, dscp, ecn = self.version, self.ihl, self.dscp, self.ecn
        flags, offset = self.flags, self.fragment_offset
        try:
            if version >> 4 or ihl >> 4 or dscp >> 6 or ecn >> 2 or flags >> 3 or offset >> 13:  # type: ignore[operator]
                raise self.field_error()
            return (
                _PACKED.pack(
                    version << 4 | ihl,  # type: ignore[operator]  # None is a TypeError, and refused below
                    dscp << 2 | ecn,
                    self.total_length,
                    self.identification,
                    flags << 5 | offset >> 8,
                    offset & 0xFF,
                    self.ttl,
                    self.protocol,
                    self.checksum,
                    OCTETS[self.src] + OCTETS[self.dst],
                )
                + self.options
            )
        except (struct.error, TypeError):
            raise self.field_error() from None


def header_error(octets: bytes) -> TruncatedError | MalformedError:
    """Why there is no IPv4 header to give; the version first, so that an IPv6 datagram is called one."""
    if octets and octets[0] >> 4 != 4:
        rule = "an IPv4 header begins with the version 4 (RFC 791 section 3.1)"
        return MalformedError(layer="IPv4", field="version", value=octets[0] >> 4, rule=rule, offset=0)
    if len(octets) < FIXED:
        return TruncatedError(layer="IPv4", field="", offset=0, needed=FIXED, present=len(octets), length_from="octets")
    rule = "the least is 5 words, for the fixed fields (RFC 791 section 3.1)"
    return MalformedError(layer="IPv4", field="ihl", value=octets[0] & 15, rule=rule, offset=0)


def _too_long(total_length: int) -> MalformedError:
    rule = "a datagram has at most 65535 octets (RFC 791 section 3.1); send fragments, or force lengths and checksums"
    return MalformedError(layer="IPv4", field="total_length", value=total_length, rule=rule)


def ipv4_findings(ip: IPv4, present: int) -> list[Finding]:
    """What is wrong with a header at the start of a datagram of `present` octets, its checksum apart."""
    found: list[Finding] = []

    def find(
        field: str, kind: FindingKind, offset: int, rule: str, *numbers: int, length_from: str | None = None
    ) -> None:
        needed, there = numbers or (None, None)
        found.append(Finding("IPv4", field, kind, offset, rule, needed, there, length_from))

    length, total_length = ip.header_length, ip.total_length
    if length > present:
        find("ihl", FindingKind.TRUNCATED, 0, "the header runs past the end", length, present, length_from="octets")
    if total_length == 0:
        find("total_length", FindingKind.OFFLOAD, 2, "it is 0, as segmentation offload leaves it in a capture")
    elif total_length is not None and total_length < length:
        rule = "it is less than the header"
        find("total_length", FindingKind.LENGTH, 2, rule, length, total_length, length_from="IPv4.total_length")
    elif total_length is not None and total_length > present:
        rule = "the datagram is cut short"
        find("total_length", FindingKind.TRUNCATED, 2, rule, total_length, present, length_from="octets")
    elif total_length is not None and total_length < present:
        rule = f"{present - total_length} octets stand after the datagram's end"
        find("total_length", FindingKind.TRAILER, 2, rule, total_length, present, length_from="octets")
    if IPFlag.RESERVED in ip.flags:
        find("flags", FindingKind.RESERVED, 6, "the first bit must be zero (RFC 791 section 3.1)")
    if total_length and total_length >= length:
        size = total_length - length
        if IPFlag.MF in ip.flags and size % 8:
            find(
                "total_length",
                FindingKind.FRAGMENT,
                2,
                "all fragments but the last hold a multiple of 8 octets (RFC 791)",
            )
        if ip.fragment_offset * 8 + size > 0xFFFF - FIXED and ip.is_fragment:
            find(
                "fragment_offset",
                FindingKind.FRAGMENT,
                6,
                "it ends past the largest datagram of 65535 octets (RFC 791)",
            )
    if ip.options:
        found += option_findings("IPv4", ip.options, FIXED, "IPv4.ihl", ip_options.TYPES)
    return found
