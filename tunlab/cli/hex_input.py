"""Octets as people give them: hexadecimal, with or without white space and offsets. Pure."""

from __future__ import annotations

import re

from tunlab.errors import PacketError

_OFFSET = re.compile(r"(0x)?[0-9a-fA-F]+:")
_HINT = "give two hexadecimal digits for each octet, as 45 00 00 1c"


def looks_hexadecimal(text: str) -> bool:
    """Whether there is nothing in it but hexadecimal digits and white space."""
    return bool(re.fullmatch(r"[0-9a-fA-F\s]+", text))


def parse_hex(text: str, what: str = "the text") -> bytes:
    """The octets of "4500001c", "45 00 00 1c", "0x0000:  4500 001c" (a dump's line); may be none.

    what   whose text it is, for the errors

    Raises PacketError with a sentence.
    """
    digits = "".join(word.removeprefix("0x") for word in text.split() if not _OFFSET.fullmatch(word))
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise PacketError(f"{what} is not hexadecimal: {wrong[0]!r} is no digit; {_HINT}")
    if len(digits) % 2:
        raise PacketError(f"{what} has an odd number of hexadecimal digits, {len(digits)}; {_HINT}")
    return bytes.fromhex(digits)
