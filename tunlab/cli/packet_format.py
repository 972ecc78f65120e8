"""The output formats of `tunlab dump`."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tunlab.errors import PacketError
from tunlab.packet import hexdump, listing, parse, to_dict
from tunlab.traffic import TraceEntry


def to_listing(entry: TraceEntry, *, verbose: bool = False) -> str:
    """Return the listing and hex dump of a packet. If it cannot be read, the parse error replaces the listing."""
    if entry.packet is not None:
        head = listing(entry.packet, verbose=verbose)
    else:
        head = f"=== Not a Packet ===\n{_parse_error(entry)}"
    return f"{head}\n\n{hexdump(entry.data, link_type=entry.link_type)}\n"


def to_line(entry: TraceEntry) -> str:
    """Return the time of day and a summary in the style of tcpdump."""
    time = datetime.fromtimestamp(entry.time_ns // 10**9)
    return f"{time:%H:%M:%S}.{entry.time_ns // 1000 % 10**6:06} {entry}"


def to_json(entry: TraceEntry) -> bytes:
    """Return a JSON object with the time, direction, bytes and either the fields or the parse error."""
    seconds, nanoseconds = divmod(entry.time_ns, 10**9)
    result: dict[str, object] = {
        "time": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z",
        "time_ns": entry.time_ns,
        "direction": entry.direction,
        "bytes": entry.data.hex(),
    }
    result |= to_dict(entry.packet) if entry.packet is not None else {"error": _parse_error(entry)}
    return msgspec.json.encode(result)


def _parse_error(entry: TraceEntry) -> str:
    try:
        parse(entry.data, entry.link_type)
    except PacketError as error:
        return error.problem
    return ""
