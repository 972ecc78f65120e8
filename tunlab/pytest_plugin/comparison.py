"""What `assert a == b` says of packets, headers, and octets that are datagrams: the fields, not the representations."""

from __future__ import annotations

import sys
from typing import Any


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """None, which leaves it to pytest, where nothing of tunlab's is compared."""
    packets: Any = sys.modules.get("tunlab.packet")
    if op != "==" or packets is None:  # without it, neither of them is a packet
        return None
    if isinstance(left, bytes) and isinstance(right, bytes):
        # A test that compares other octets has not asked for anybody's opinion on them.
        from tunlab.packet.comparing import datagrams

        both = datagrams(left, right)
        if both is None:
            return None
        left, right = both
    elif not (
        (isinstance(left, packets.Packet) and isinstance(right, packets.Packet))
        or (isinstance(left, packets.Header) and type(left) is type(right))
    ):
        return None
    from tunlab.packet.comparing import compared

    return compared(left, right)
