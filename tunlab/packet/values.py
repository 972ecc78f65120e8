"""Checks and conversions of values that users give for fields."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag
from typing import Protocol, SupportsBytes, TypeVar

from tunlab.errors import MalformedError, PacketError

F = TypeVar("F", bound=IntFlag)


class RaisedError(Protocol):
    """An object that holds a raised error, as pytest's `ExceptionInfo` does."""

    @property
    def value(self) -> BaseException:
        """The error."""


def is_packet_error(error: RaisedError) -> bool:
    """Return True if the error is a PacketError, which is about a value that the user gave.

    The modules of this package have it as `__tracebackhide__`: pytest then ends the traceback at the user's line.
    """
    return isinstance(error.value, PacketError)


__tracebackhide__ = is_packet_error


def check_width(layer: str, field: str, value: object, bits: int) -> int:
    """Return `value` if it fits a field of `bits` bits.

    Raises:
        MalformedError: If it does not fit, or is not an integer.
    """
    highest = (1 << bits) - 1
    if isinstance(value, int):
        if 0 <= value <= highest:
            return value
        rule = f"the field has {bits} bits. Give a number from 0 to {highest}."
    else:
        rule = f"not an integer. Give an integer from 0 to {highest}."
    raise MalformedError(layer=layer, field=field, value=value, rule=rule)


def to_bytes(value: object, name: str = "data") -> bytes:
    """Return the bytes of a bytes-like object or of an object with `__bytes__`.

    Raises:
        MalformedError: If it is neither; `name` is the first word of the message.
    """
    if isinstance(value, (bytes, bytearray, memoryview, SupportsBytes)):
        return bytes(value)
    rule = "not bytes. Give bytes, or an object that has __bytes__."
    raise MalformedError(layer=name, field="", value=value, rule=rule)


def required_error(layer: str, field: str, convert: Callable[[object], object]) -> MalformedError:
    """Return the error about a required field without a value, with the advice of the field's converter."""
    try:
        convert(None)
    except MalformedError as error:
        rule = f"required. {error.rule.partition('. ')[2]}"
        return MalformedError(layer=layer, field=field, value=None, rule=rule)
    return MalformedError(layer=layer, field=field, value=None, rule="required")


def flag_converter(kind: type[F]) -> Callable[[object], F]:
    """Return a function that converts a number to flags of the class `kind`, for `Header.COERCE`."""
    highest = sum(kind)

    def convert(value: object) -> F:
        if isinstance(value, int) and 0 <= value <= highest:
            return kind(value)
        raise ValueError(f"not flags. Join members of {kind.__name__} by |, or give a number from 0 to {highest}.")

    return convert
