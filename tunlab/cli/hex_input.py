"""Hexadecimal input: digits, with or without white space and the offsets of a hex dump."""

from __future__ import annotations

import re

from tunlab.errors import PacketError

_OFFSET = re.compile(r"(0x)?[0-9a-fA-F]+:")
_HINT = "Give two hexadecimal digits per byte, for example 45 00 00 1c."


def looks_hexadecimal(text: str) -> bool:
    """Return True if the text has only hexadecimal digits and white space."""
    return bool(re.fullmatch(r"[0-9a-fA-F\s]+", text))


def parse_hex(text: str, source: str = "the text") -> bytes:
    """Return the bytes of "4500001c", "45 00 00 1c" or "0x0000:  4500 001c" (tcpdump -x).

    Args:
        text: The input, possibly empty.
        source: Name of the input in errors.

    Raises:
        PacketError: The text is not hexadecimal or has an odd number of digits.
    """
    digits = "".join(word.removeprefix("0x") for word in text.split() if not _OFFSET.fullmatch(word))
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise PacketError(f"{source} is not hexadecimal: {wrong[0]!r} is not a digit. {_HINT}")
    if len(digits) % 2:
        raise PacketError(f"{source} has an odd number of hexadecimal digits, {len(digits)}. {_HINT}")
    return bytes.fromhex(digits)
