"""What a command prints of a datagram that crossed the TUN: whole, as a line, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tunlab.errors import PacketError
from tunlab.packet import hexdump, listing, parse, to_dict
from tunlab.traffic import TraceEntry


def to_listing(entry: TraceEntry, *, verbose: bool = False) -> str:
    """The listing and the hex dump; octets that are no IPv4 with the reason in the listing's place."""
    if entry.packet is not None:
        head = listing(entry.packet, verbose=verbose)
    else:
        head = f"=== No IPv4 Packet ===\n{_reason(entry.octets)}"
    return f"{head}\n\n{hexdump(entry.octets)}\n"


def to_line(entry: TraceEntry) -> str:
    """The time of day, and the packet as tcpdump would put it."""
    time = datetime.fromtimestamp(entry.time_ns // 10**9)
    return f"{time:%H:%M:%S}.{entry.time_ns // 1000 % 10**6:06} {entry}"


def to_json(entry: TraceEntry) -> bytes:
    """One object: time, direction, octets, and the fields by their names or the error."""
    seconds, nanoseconds = divmod(entry.time_ns, 10**9)
    said: dict[str, object] = {
        "time": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z",
        "time_ns": entry.time_ns,
        "direction": entry.direction,
        "octets": entry.octets.hex(),
    }
    said |= to_dict(entry.packet) if entry.packet is not None else {"error": _reason(entry.octets)}
    return msgspec.json.encode(said)


def _reason(octets: bytes) -> str:
    try:
        parse(octets)
    except PacketError as error:
        return str(error)
    return ""
