"""The options of segments that a TCP peer sends, each padded to whole 32-bit words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunlab.packet.tcp_options import MSS, NOP, SACK, SACKPermitted, Timestamps, WindowScale

_ENCODE: dict[str, Callable[[Any], bytes]] = {
    "mss": lambda size: bytes(MSS(size)),
    "sack_permitted": lambda _: bytes(NOP) * 2 + bytes(SACKPermitted()),
    "timestamps": lambda pair: bytes(NOP) * 2 + bytes(Timestamps(*pair)),
    "window_scale": lambda shift: bytes(NOP) + bytes(WindowScale(shift)),
    "sack": lambda blocks: bytes(NOP) * 2 + bytes(SACK(blocks)),
}
OPTION_NAMES = frozenset(_ENCODE)
"""The names under which options are given, those of the views of `TCP`."""


def encode_options(values: Mapping[str, Any]) -> bytes:
    """Return the options with these values; None, False and an empty list leave an option out."""
    return b"".join(
        encode(values[name])
        for name, encode in _ENCODE.items()
        if values.get(name) is not None and values[name] is not False and values[name] != []
    )
