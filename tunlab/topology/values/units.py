"""Quantities as people write them: "20ms", "10mbit", "1%", octets.

Source: tc(8) for the words; RFC 791 section 3.2 and RFC 8200 section 5 for the least MTUs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tunlab.topology.values.problems import InvalidValueError

LEAST_MTU, LEAST_MTU_IPV6, LARGEST_MTU = 68, 1280, 65_535
"""Octets: "every internet module must be able to forward a datagram of 68 octets" (RFC 791), "IPv6 requires that every
link in the Internet have an MTU of 1280 octets or greater" (RFC 8200), and what the TUN and veth drivers take."""

LONGEST_DELAY = 240_000_000
"""Microseconds: netem counts in 32 bits of 64 ns."""

_QUANTITY = re.compile(r"\s*(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})\s*([^\s\d.]*)\s*", re.ASCII)
_MICROSECONDS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
_BITS = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}


def duration(value: object) -> int:
    """Microseconds from "20ms", "1.5s", "100us". Raises InvalidValueError."""
    return _quantity(value, _MICROSECONDS, 'write a time as "20ms", "1.5s" or "100us"')


def delay(value: object) -> int:
    """Microseconds that netem can hold a packet back. Raises InvalidValueError."""
    microseconds = duration(value)
    if microseconds > LONGEST_DELAY:
        raise InvalidValueError(f"{value!r} is longer than netem can hold a packet back", 'take "240s" at most')
    return microseconds


def seconds(value: object) -> float:
    """Seconds, more than none, from "10s". Raises InvalidValueError."""
    microseconds = duration(value)
    if microseconds == 0:
        raise InvalidValueError("no time at all", 'write a time as "10s"')
    return microseconds / 1_000_000


def rate(value: object) -> int:
    """Bits per second from "10mbit", "1gbit", "500kbit". Raises InvalidValueError."""
    hint = 'write a rate as "500kbit", "10mbit" or "1gbit", in bits per second'
    bits = _quantity(value, _BITS, hint)
    if not 8 <= bits <= 10**12:
        raise InvalidValueError(f"{value!r} is no rate that a link can have", 'take "8bit" to "1000gbit"')
    return bits


def share(value: object) -> float:
    """A part of the whole, from 0 to 1, from "1%" or 0.01. Raises InvalidValueError."""
    hint = 'write a share as "1%" or 0.01'
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None or match[2] != "%":
            raise InvalidValueError(f"{value!r} is no share", hint)
        number = float(match[1]) / 100
    elif type(value) is float or (value == 0 and type(value) is int):
        number = float(value)
    elif type(value) is int:  # loss = 1: one percent, or all of it?
        raise InvalidValueError(f"{value!r} may be percent or the whole", f'write "{value}%" or {value / 100}')
    else:
        raise InvalidValueError(f"{value!r} is no share", hint)
    if not 0 <= number <= 1:
        raise InvalidValueError(f"{value!r} is not between nothing and all", hint)
    return number


def mtu(value: object) -> int:
    """Octets. Raises InvalidValueError."""
    # True is an int to Python, and no number to TOML.
    if type(value) is int and LEAST_MTU <= value <= LARGEST_MTU:
        return value
    raise InvalidValueError(f"{value!r} is no MTU", f"give a number of octets from {LEAST_MTU} to {LARGEST_MTU}")


def _quantity(value: object, units: Mapping[str, int], hint: str) -> int:
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} has no unit", hint)
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise InvalidValueError(f"{value!r} is no number with a unit", hint)
    number, unit = match[1], match[2].lower()
    if not unit:
        raise InvalidValueError(f"{value!r} has no unit", hint)
    if unit not in units:
        raise InvalidValueError(f"{value!r} has an unknown unit", hint)
    return round(float(number) * units[unit])
