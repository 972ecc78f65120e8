"""Values that users give: bring them into the form that a field holds, or say why they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag
from typing import SupportsBytes, TypeVar

from tunlab.errors import MalformedError

F = TypeVar("F", bound=IntFlag)


def check_width(layer: str, field: str, value: object, bits: int) -> int:
    """Return `value` if a field of so many bits holds it.

    Raises:
        MalformedError: If it does not.
    """
    if isinstance(value, int) and 0 <= value < 1 << bits:
        return value
    rule = f"the field has {bits} bits. Give a number from 0 to {(1 << bits) - 1}"
    raise MalformedError(layer=layer, field=field, value=value, rule=rule)


def to_bytes(value: object) -> bytes:
    """Return the bytes of a bytes-like object or of an object with `__bytes__`.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, (bytes, bytearray, memoryview, SupportsBytes)):
        return bytes(value)
    raise ValueError("not bytes. Give bytes, or an object that has __bytes__")


def flag_converter(kind: type[F]) -> Callable[[object], F]:
    """Return a converter of numbers to flags of `kind` for COERCE, which rejects numbers that the field cannot hold."""
    highest = sum(kind)

    def convert(value: object) -> F:
        if isinstance(value, int) and 0 <= value <= highest:
            return kind(value)
        raise ValueError(f"not flags. Join members of {kind.__name__} by |, or give a number from 0 to {highest}")

    return convert
