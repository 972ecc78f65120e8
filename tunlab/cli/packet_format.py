"""What a command prints of a datagram that crossed the TUN: whole, as a line, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tunlab.errors import PacketError
from tunlab.packet import hexdump, listing, parse, to_dict
from tunlab.traffic import Crossing


def to_listing(crossing: Crossing, *, verbose: bool = False) -> str:
    """The listing and the hex dump; octets that are no IPv4 with the reason in the listing's place."""
    if crossing.packet is not None:
        head = listing(crossing.packet, verbose=verbose)
    else:
        head = f"=== No IPv4 Packet ===\n{_reason(crossing.octets)}"
    return f"{head}\n\n{hexdump(crossing.octets)}\n"


def to_line(crossing: Crossing) -> str:
    """The time of day, and the packet as tcpdump would put it."""
    time = datetime.fromtimestamp(crossing.time_ns // 10**9)
    return f"{time:%H:%M:%S}.{crossing.time_ns // 1000 % 10**6:06} {crossing}"


def to_json(crossing: Crossing) -> bytes:
    """One object: time, direction, octets, and the fields by their names or the error."""
    seconds, nanoseconds = divmod(crossing.time_ns, 10**9)
    said: dict[str, object] = {
        "time": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z",
        "time_ns": crossing.time_ns,
        "direction": crossing.direction,
        "octets": crossing.octets.hex(),
    }
    said |= to_dict(crossing.packet) if crossing.packet is not None else {"error": _reason(crossing.octets)}
    return msgspec.json.encode(said)


def _reason(octets: bytes) -> str:
    try:
        parse(octets)
    except PacketError as error:
        return str(error)
    return ""
