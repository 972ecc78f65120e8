"""Conversions of IPv4, IPv6 and MAC addresses between bytes, text and `ipaddress` objects."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TypeAlias

from tunlab.errors import MalformedError
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

AddressLike: TypeAlias = str | IPv4Address
IPv6AddressLike: TypeAlias = str | IPv6Address
MACAddressLike: TypeAlias = str | bytes

BYTE_TEXT = tuple(map(str, range(256)))
"""Each byte in decimal: joining four of these is the fastest way to format an IPv4 address in Python."""

_WORDS = struct.Struct("!8H")
_MAC = re.compile(r"([0-9a-fA-F]{1,2})[:-]" * 5 + r"([0-9a-fA-F]{1,2})")
_IPV6 = ":".join(["%x"] * 8)  # formatting takes a third of the time of joining f-strings
_MAPPED = bytes(10) + b"\xff\xff"
_ZEROS = tuple(":" + "0:" * count for count in range(8, 1, -1))


def ipv4_text(data: bytes) -> str:
    """Return four bytes as an IPv4 address in text, as "10.1.2.1" (RFC 791 section 3.2)."""
    text = BYTE_TEXT
    a, b, c, d = data
    return f"{text[a]}.{text[b]}.{text[c]}.{text[d]}"


class AddressTexts(dict[bytes, tuple[str, str]]):
    """A cache from the eight address bytes of an IPv4 header to the source and destination address as text.

    It is emptied when it has `LIMIT` keys. A lookup takes a third of the time of formatting both addresses.
    """

    __slots__ = ()

    LIMIT = 1024

    def __missing__(self, key: bytes) -> tuple[str, str]:
        if len(self) >= self.LIMIT:
            self.clear()
        text = BYTE_TEXT
        a, b, c, d, e, f, g, h = key  # calling `ipv4_text` twice would take twice as long
        texts = self[key] = (
            f"{text[a]}.{text[b]}.{text[c]}.{text[d]}",
            f"{text[e]}.{text[f]}.{text[g]}.{text[h]}",
        )
        return texts


ADDRESS_TEXTS = AddressTexts()


@lru_cache(4096)
def ipv4_bytes(text: str) -> bytes:
    """Return the four bytes of a valid IPv4 address in text."""
    return bytes(map(int, text.split(".")))


def ipv4_address(address: object) -> str:
    """Convert an IPv4 address, given as text or as an `ipaddress.IPv4Address` (or `IPv4Interface`), to text.

    Raises:
        MalformedError: If it is not an IPv4 address.
    """
    if isinstance(address, IPv4Address):
        return ipv4_text(address.packed)
    if isinstance(address, str):
        text = str.__str__(address)  # str() of a member of `class Name(str, Enum)` is its name, not its value
        try:
            IPv4Address(text)
        except AddressValueError:
            rule = "not an IPv4 address. Write four numbers from 0 to 255, without leading zeros, as 10.1.2.1."
            raise MalformedError(layer="address", field="", value=address, rule=rule) from None
        return text
    rule = "not an IPv4 address. Give text as '10.1.2.1' or an ipaddress.IPv4Address."
    raise MalformedError(layer="address", field="", value=address, rule=rule)


@lru_cache(4096)
def ipv6_text(data: bytes) -> str:
    """Return sixteen bytes as an IPv6 address in the canonical text form of RFC 5952."""
    text = _IPV6 % _WORDS.unpack(data)
    if ":0:0" not in text and not text.startswith("0:0:"):
        return text
    if data.startswith(_MAPPED):
        return f"::ffff:{ipv4_text(data[12:])}"  # an IPv4-mapped address (RFC 5952 section 5)
    # The longest run of zeros becomes "::"; if several are equally long, the first one (section 4.2).
    text = f":{text}:"
    run = next(run for run in _ZEROS if run in text)
    head, _, tail = text.partition(run)
    return f"{head[1:]}::{tail[:-1]}"


@lru_cache(4096)
def ipv6_bytes(text: str) -> bytes:
    """Return the sixteen bytes of an IPv6 address in text."""
    return IPv6Address(text).packed


def ipv6_address(address: object) -> str:
    """Convert an IPv6 address, given as text, `ipaddress.IPv6Address` or `IPv6Interface`, to canonical text.

    Raises:
        MalformedError: If it is not an IPv6 address, or has a scope ("%eth0"), which no header carries.
    """
    if isinstance(address, (str, IPv6Address)):
        try:
            given = IPv6Address(str.__str__(address)) if isinstance(address, str) else address
        except AddressValueError as error:
            rule = f"not an IPv6 address ({error}). Write it as fd00::1."
            raise MalformedError(layer="address", field="", value=address, rule=rule) from None
        if given.scope_id is None:
            return ipv6_text(given.packed)
    rule = "not an IPv6 address. Give text as 'fd00::1' (without a scope) or an ipaddress.IPv6Address."
    raise MalformedError(layer="address", field="", value=address, rule=rule)


def is_link_local(address: str) -> bool:
    """Return True if an IPv6 address, given as text, is link-local: in fe80::/10 (RFC 4291 section 2.5.6)."""
    first, second = ipv6_bytes(address)[:2]
    return first == 0xFE and second & 0xC0 == 0x80


def mac_text(data: bytes) -> str:
    """Return six bytes as a MAC address in text, as "02:00:00:00:00:01"."""
    return data.hex(":")


def mac_bytes(text: str) -> bytes:
    """Return the six bytes of a MAC address, given as text in the form that `mac_address` returns."""
    return bytes.fromhex(text.replace(":", ""))


def mac_address(address: object) -> str:
    """Convert a MAC address, given as six bytes or as text with ":" or "-", to lower-case text with ":".

    Raises:
        MalformedError: If it is not a MAC address.
    """
    if isinstance(address, (bytes, bytearray)) and len(address) == 6:
        return mac_text(bytes(address))
    if isinstance(address, str):
        found = _MAC.fullmatch(str.__str__(address))
        if found:
            return ":".join(part.lower().zfill(2) for part in found.groups())
    rule = "not a MAC address. Give text as '02:00:00:00:00:01' or six bytes."
    raise MalformedError(layer="address", field="", value=address, rule=rule)
