"""Parse quantities such as "20ms", "10mbit" and "1%", and MTUs in bytes.

Source: tc(8) for the units; RFC 791 section 3.2 and RFC 8200 section 5 for the minimum MTUs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tunlab.topology.values.problems import InvalidValueError

LEAST_MTU, LEAST_MTU_IPV6, LARGEST_MTU = 68, 1280, 65_535
"""Bytes: "every internet module must be able to forward a datagram of 68 octets" (RFC 791), "IPv6 requires that every
link in the Internet have an MTU of 1280 octets or greater" (RFC 8200), and the maximum of the TUN and veth drivers."""

LONGEST_DELAY = 240_000_000
"""Microseconds: netem stores a delay in 32 bits, in units of 64 ns."""

_QUANTITY = re.compile(r"\s*(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})\s*([^\s\d.]*)\s*", re.ASCII)
_MICROSECONDS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
_BITS = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}


def duration(value: object) -> int:
    """Parse "20ms", "1.5s" or "100us" into microseconds. Raises InvalidValueError."""
    return _quantity(value, _MICROSECONDS, 'Write a time such as "20ms", "1.5s" or "100us".')


def delay(value: object) -> int:
    """Parse a delay of at most 240 s into microseconds. Raises InvalidValueError."""
    microseconds = duration(value)
    if microseconds > LONGEST_DELAY:
        raise InvalidValueError(f"is {value!r}; netem delays a packet by at most 240 s", 'Set "240s" or less.')
    return microseconds


def seconds(value: object) -> float:
    """Parse a time above zero into seconds. Raises InvalidValueError."""
    microseconds = duration(value)
    if microseconds == 0:
        raise InvalidValueError(f"is {value!r}; it must be more than 0", 'Write a time such as "10s".')
    return microseconds / 1_000_000


def rate(value: object) -> int:
    """Parse "500kbit", "10mbit" or "1gbit" into bits per second. Raises InvalidValueError."""
    hint = 'Write bits per second, such as "500kbit", "10mbit" or "1gbit".'
    bits = _quantity(value, _BITS, hint)
    if not 8 <= bits <= 10**12:
        raise InvalidValueError(f"is {value!r}; a link has 8bit to 1000gbit", 'Set "8bit" to "1000gbit".')
    return bits


def share(value: object) -> float:
    """Parse a share such as "1%" or 0.01 into a number from 0 to 1. Raises InvalidValueError."""
    hint = 'Write a share such as "1%" or 0.01.'
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None or match[2] != "%":
            raise InvalidValueError(f"is {value!r}, which is not a share", hint)
        number = float(match[1]) / 100
    elif type(value) is float or (value == 0 and type(value) is int):
        number = float(value)
    elif type(value) is int:  # loss = 1 could mean one percent or all packets
        raise InvalidValueError(
            f"is {value!r}, which could mean {value} % or all packets", f'Write "{value}%" or {value / 100}.'
        )
    else:
        raise InvalidValueError(f"is {value!r}, which is not a share", hint)
    if not 0 <= number <= 1:
        raise InvalidValueError(f"is {value!r}; a share is 0 to 100 %", hint)
    return number


def mtu(value: object, *, ipv6: bool = False) -> int:
    """Check an MTU in bytes, with `ipv6` also the minimum of IPv6. Raises InvalidValueError."""
    # isinstance() would accept a TOML boolean, because it is an int in Python.
    if type(value) is int and LEAST_MTU <= value <= LARGEST_MTU:
        if ipv6 and value < LEAST_MTU_IPV6:
            problem = f"is {value}; the minimum for IPv6 is {LEAST_MTU_IPV6} (RFC 8200 section 5)"
            raise InvalidValueError(problem, f"Set {LEAST_MTU_IPV6} or more.")
        return value
    hint = f"Set {LEAST_MTU} to {LARGEST_MTU}."
    if type(value) is int:
        limit = f"minimum is {LEAST_MTU}" if value < LEAST_MTU else f"maximum is {LARGEST_MTU}"
        raise InvalidValueError(f"is {value}; the {limit}", hint)
    raise InvalidValueError(f"is {value!r}, which is not a whole number", hint)


def _quantity(value: object, units: Mapping[str, int], hint: str) -> int:
    if not isinstance(value, str):
        raise InvalidValueError(f"is {value!r}, which has no unit", hint)
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise InvalidValueError(f"is {value!r}, which is not a number with a unit", hint)
    number, unit = match[1], match[2].lower()
    if not unit:
        raise InvalidValueError(f"is {value!r}, which has no unit", hint)
    if unit not in units:
        raise InvalidValueError(f"is {value!r}, which has an unknown unit", hint)
    return round(float(number) * units[unit])
