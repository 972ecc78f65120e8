"""IPv4 addresses between their three forms: four octets, dotted text (RFC 791 section 3.2), `ipaddress` objects.

Headers hold the text: it prints, compares and hashes as a person reads it. Both directions are
remembered, because a test meets the same few addresses again and again (59 ns against 466).
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import TypeAlias

from tunlab.errors import MalformedError

AddressLike: TypeAlias = str | IPv4Address

REMEMBERED = 65_536
"""So many addresses at most are remembered, so that a scan of the whole Internet does not fill the memory."""


class _Octets(dict[str, bytes]):
    def __missing__(self, text: str) -> bytes:
        # IPv4Address takes numbers and octets too; remembered, they would pass for text in the next header.
        if type(text) is not str:
            raise AddressValueError(f"{text!r} is no text")
        return self.remember(text, IPv4Address(text).packed)

    def remember(self, text: str, octets: bytes) -> bytes:
        if len(self) >= REMEMBERED:
            self.clear()
        self[text] = octets
        return octets


class _Texts(dict[bytes, str]):
    def __missing__(self, octets: bytes) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        text = self[octets] = "{}.{}.{}.{}".format(*octets)
        OCTETS.remember(text, octets)  # a parsed header looks its addresses up at once
        return text


OCTETS = _Octets()
"""Dotted text → four octets; raises `ipaddress.AddressValueError` for a text that is no address."""

TEXT = _Texts()
"""Four octets → dotted text."""


def address_text(address: object) -> str:
    """The dotted text of an address given as text or as an `ipaddress.IPv4Address` (or `IPv4Interface`).

    Raises MalformedError with a sentence that says what an address looks like.
    """
    if isinstance(address, IPv4Address):
        return TEXT[address.packed]
    if isinstance(address, str):
        text = str.__str__(address)  # not that of a subclass: an enum's member prints as its name
        try:
            OCTETS[text]
        except AddressValueError as error:
            rule = f"no IPv4 address ({error}); write four numbers from 0 to 255, as 10.1.2.1"
            raise MalformedError(layer="address", field="", value=address, rule=rule) from None
        return text
    rule = "no IPv4 address; give text as '10.1.2.1' or an ipaddress.IPv4Address"
    raise MalformedError(layer="address", field="", value=address, rule=rule)
