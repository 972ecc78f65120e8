"""Explanations of failed `assert` statements that compare packets or headers with ==, !=, in or not in.

They list the fields that differ. Bytes that are an IP packet are explained as a packet. Bytes that are the payload of a
packet of the test are explained by a hex dump.
"""

from __future__ import annotations

import sys
from typing import Any

from tunlab.pytest_plugin.packet_recorder import is_recorded_payload

_MAX_INLINE = 16  # Payloads up to this number of bytes need no hex dump, because pytest shows them in full.


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Return the lines that explain a failed comparison, or None for pytest's own explanation."""
    packets: Any = sys.modules.get("tunlab.packet")
    if packets is None:  # tunlab.packet is not imported, so neither side is a packet.
        return None
    if op in ("in", "not in") and isinstance(right, list | tuple | set | frozenset):
        return _explain_membership(packets, op, left, right)
    if op == "!=" and isinstance(left, packets.Packet | packets.Header):
        return [f"{_line(packets, left)} != {_line(packets, right)}", "all fields are equal"]
    if op != "==":
        return None
    if isinstance(left, list | tuple) and type(left) is type(right):
        return _explain_sequences(packets, left, right)
    return _explain_pair(packets, left, right)


def _explain_membership(packets: Any, op: str, one: Any, others: Any) -> list[str] | None:
    """Explain `in` and `not in`: list the equal elements, or all elements and the differences of the closest one."""
    if not isinstance(one, packets.Packet | packets.Header):
        return None
    head = f"{_line(packets, one)} {op} {_counted(others)}"
    if op == "not in":
        return [head, *(f"it is equal to [{number}]" for number, each in enumerate(others) if each == one)]
    lines = [head, *(f"[{number}]: {_line(packets, each)}" for number, each in enumerate(others))]
    explained = [
        (number, rows) for number, each in enumerate(others) if (rows := _explain_pair(packets, one, each)) is not None
    ]
    if explained:
        number, closest = min(explained, key=lambda each: (len(each[1]), each[0]))
        lines += [f"closest match is [{number}]: {closest[0]}", *closest[1:]]
    return lines


def _explain_pair(packets: Any, left: Any, right: Any) -> list[str] | None:
    from tunlab.packet.text.diagram import diff_bytes
    from tunlab.packet.text.diff import SIDES, diff, parse_pair

    kinds = {isinstance(side, packets.Packet) for side in (left, right)}
    if all(isinstance(side, bytes | packets.Packet) for side in (left, right)):
        both = parse_pair(bytes(left), bytes(right))
        if both is None:
            # Explain only bytes that are payloads of this test's packets. Other bytes have nothing to do with tunlab.
            is_long = kinds == {False} and max(len(left), len(right)) > _MAX_INLINE
            ours = is_long and (is_recorded_payload(left) or is_recorded_payload(right))
            return diff_bytes(left, right, "payload", SIDES) if ours else None
        lines = diff(*both)
        if kinds == {True, False}:  # A packet and bytes are never equal, even if all fields are equal.
            lines.insert(1, "one side is a packet, the other is bytes. Compare bytes(packet).")
        return lines
    if isinstance(left, packets.Header) and type(left) is type(right):
        return diff(left, right)
    return None


def _explain_sequences(packets: Any, left: Any, right: Any) -> list[str] | None:
    """Explain ==: return the first index at which two sequences of packets differ, and the differences."""
    if not any(isinstance(each, packets.Packet | packets.Header) for each in (*left, *right)):
        return None
    for number, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            lines = _explain_pair(packets, one, other)
            if lines is None:
                return None
            lines[0] = f"{_counted(left)} == {_counted(right)}, at [{number}]: {lines[0]}"
            return lines
    longer, side = (left, "left") if len(left) > len(right) else (right, "right")
    short = min(len(left), len(right))
    shown = [f"[{number}]: {_line(packets, each)}" for number, each in enumerate(longer) if number >= short]
    return [f"{_counted(left)} == {_counted(right)}", f"only in the {side} side:", *shown]


def _line(packets: Any, each: Any) -> str:
    return str(packets.summary(each)) if isinstance(each, packets.Packet) else repr(each)


def _counted(side: Any) -> str:
    return f"{len(side)} packet{'' if len(side) == 1 else 's'}"
