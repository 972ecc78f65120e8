"""What `assert a == b` says of packets, headers, and octets that are parse_pair: the fields, not the representations.

Of other octets it says where they part, if one side is the payload of a packet that has crossed a Tun in this test.
`!=`, `in` and `not in` of packets and headers, too.
"""

from __future__ import annotations

import sys
from typing import Any

from tunlab.pytest_plugin.packet_recorder import is_recorded_payload

_LONG = 16  # octets: where no side has more, pytest's own line shows all of both


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """None, which leaves it to pytest, where nothing of tunlab's is compared."""
    packets: Any = sys.modules.get("tunlab.packet")
    if packets is None:  # without it, neither of them is a packet
        return None
    if op in ("in", "not in") and isinstance(right, list | tuple | set | frozenset):
        return _membership(packets, op, left, right)
    if op == "!=" and isinstance(left, packets.Packet | packets.Header):
        return [f"{_line(packets, left)} != {_line(packets, right)}", "they are the same in every field"]
    if op != "==":
        return None
    if isinstance(left, list | tuple) and type(left) is type(right):
        return _sequences(packets, left, right)
    return _two(packets, left, right)


def _membership(packets: Any, op: str, one: Any, others: Any) -> list[str] | None:
    """Which of them it is; or each of them, and of the nearest how it differs."""
    if not isinstance(one, packets.Packet | packets.Header):
        return None
    head = f"{_line(packets, one)} {op} {_counted(others)}"
    if op == "not in":
        return [head, *(f"it is [{number}]" for number, each in enumerate(others) if each == one)]
    lines = [head, *(f"[{number}]: {_line(packets, each)}" for number, each in enumerate(others))]
    told = [(number, rows) for number, each in enumerate(others) if (rows := _two(packets, one, each)) is not None]
    if told:
        number, nearest = min(told, key=lambda each: (len(each[1]), each[0]))
        lines += [f"[{number}] is the nearest: {nearest[0]}", *nearest[1:]]
    return lines


def _two(packets: Any, left: Any, right: Any) -> list[str] | None:
    from tunlab.packet.diagram import diff_bytes
    from tunlab.packet.diff import SIDES, diff, parse_pair

    kinds = {isinstance(side, packets.Packet) for side in (left, right)}
    if all(isinstance(side, bytes | packets.Packet) for side in (left, right)):
        both = parse_pair(bytes(left), bytes(right))
        if both is None:
            # A test that compares octets that are nothing of ours has not asked for anybody's opinion on them.
            is_long = kinds == {False} and max(len(left), len(right)) > _LONG
            ours = is_long and (is_recorded_payload(left) or is_recorded_payload(right))
            return diff_bytes(left, right, "payload", SIDES) if ours else None
        lines = diff(*both)
        if kinds == {True, False}:  # never equal, though nothing should differ
            lines.insert(1, "one is a packet, the other is octets: compare bytes(packet)")
        return lines
    if isinstance(left, packets.Header) and type(left) is type(right):
        return diff(left, right)
    return None


def _sequences(packets: Any, left: Any, right: Any) -> list[str] | None:
    """The first place at which two sequences with packets differ, and how."""
    if not any(isinstance(each, packets.Packet | packets.Header) for each in (*left, *right)):
        return None
    for number, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            lines = _two(packets, one, other)
            if lines is None:
                return None
            lines[0] = f"{_counted(left)} == {_counted(right)}, at [{number}]: {lines[0]}"
            return lines
    longer, side = (left, "left") if len(left) > len(right) else (right, "right")
    short = min(len(left), len(right))
    shown = [f"[{number}]: {_line(packets, each)}" for number, each in enumerate(longer) if number >= short]
    return [f"{_counted(left)} == {_counted(right)}", f"those that only the {side} side has:", *shown]


def _line(packets: Any, each: Any) -> str:
    return str(packets.summary(each)) if isinstance(each, packets.Packet) else repr(each)


def _counted(side: Any) -> str:
    return f"{len(side)} packet{'' if len(side) == 1 else 's'}"
