"""IPv4 addresses between their three forms: four octets, dotted text (RFC 791 section 3.2), `ipaddress` objects.

Headers hold the text: it prints, compares and hashes as a person reads it. Both directions are
remembered, because a test meets the same few addresses again and again (59 ns against 466).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address
from typing import Generic, TypeAlias, TypeVar

from tunlab.errors import MalformedError

AddressLike: TypeAlias = str | IPv4Address

Key = TypeVar("Key", str, bytes)
Value = TypeVar("Value", str, bytes, tuple[str, str])

REMEMBERED = 65_536
"""So many addresses at most are remembered, so that a scan of the whole Internet does not fill the memory."""


class _Memory(Generic[Key, Value]):
    """What was asked for before is answered from `known`, a plain dict: a subclass takes three times as long."""

    def __init__(self) -> None:
        self.known: dict[Key, Value] = {}

    def __getitem__(self, key: Key) -> Value:
        value = self.known.get(key)
        return self.meet(key) if value is None else value

    def __iter__(self) -> Iterator[Key]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def __contains__(self, key: object) -> bool:
        return key in self.known

    def clear(self) -> None:
        self.known.clear()

    def remember(self, key: Key, value: Value) -> None:
        if len(self.known) >= REMEMBERED:
            self.known.clear()
        self.known[key] = value

    def meet(self, key: Key) -> Value:
        """The value of a key that is not known yet, known from now on."""
        raise NotImplementedError


class _Octets(_Memory[str, bytes]):
    def meet(self, key: str) -> bytes:
        # IPv4Address takes numbers and octets too; remembered, they would pass for text in the next header.
        if type(key) is not str:
            raise AddressValueError(f"{key!r} is no text")
        octets = IPv4Address(key).packed
        self.remember(key, octets)
        return octets


class _Texts(_Memory[bytes, str]):
    def meet(self, key: bytes) -> str:
        text = "{}.{}.{}.{}".format(*key)
        # A parsed header looks its addresses up at once, the faster for finding the very same text.
        OCTETS.known.pop(text, None)
        OCTETS.remember(text, key)
        self.remember(key, text)
        return text


class _Ends(_Memory[bytes, tuple[str, str]]):
    def meet(self, key: bytes) -> tuple[str, str]:
        ends = TEXT[key[:4]], TEXT[key[4:]]
        self.remember(key, ends)
        return ends


OCTETS = _Octets()
"""Dotted text → four octets; raises `ipaddress.AddressValueError` for a text that is no address."""

TEXT = _Texts()
"""Four octets → dotted text."""

ENDS = _Ends()
"""Eight octets, as source and destination stand in a header → the two as dotted text."""


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
