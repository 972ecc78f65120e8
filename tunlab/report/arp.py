"""ARP for IPv4 over Ethernet: a one-line summary and the fields. Source: RFC 826."""

from __future__ import annotations

LENGTH = 28
"""Length of a message in bytes; a frame may have padding after it."""

# An ARP message for IPv4 over Ethernet starts with hardware type 1, protocol type 0x0800, address lengths 6 and 4.
_BEGIN = bytes.fromhex("000108000604")

FIELDS = (
    ("hardware_type", 0, 2), ("protocol_type", 2, 2), ("hardware_length", 4, 1), ("protocol_length", 5, 1),
    ("operation", 6, 2), ("sender_hardware", 8, 6), ("sender_protocol", 14, 4), ("target_hardware", 18, 6),
    ("target_protocol", 24, 4),
)  # fmt: skip
"""Name, offset and length in bytes of each field, in the RFC's order."""

_OPERATIONS = {1: ("request", "who has {target}? tell {sender}"), 2: ("reply", "{sender} is at {address}")}


def is_ethernet_ipv4(data: bytes) -> bool:
    """Return True if the bytes after the link header are a complete ARP message for IPv4 over Ethernet."""
    return len(data) >= LENGTH and data.startswith(_BEGIN)


def summarize(data: bytes) -> str:
    """Return the message as tcpdump shows it; "ARP" alone for an operation that RFC 826 does not define."""
    _, words = _OPERATIONS.get(int.from_bytes(data[6:8], "big"), ("", ""))
    parts = {"sender": _dotted(data[14:18]), "target": _dotted(data[24:28]), "address": data[8:14].hex(":")}
    return f"ARP {words}".format(**parts).rstrip()


def field_text(name: str, data: bytes) -> str:
    """Return the value of an ARP field as text: an address, or a number with its meaning."""
    if name.endswith("_hardware"):
        return data.hex(":")
    if name in ("sender_protocol", "target_protocol"):
        return _dotted(data)
    value = int.from_bytes(data, "big")
    if name == "protocol_type":
        return f"{value:#06x}"
    operation, _ = _OPERATIONS.get(value, ("", ""))
    return f"{value} ({operation})" if name == "operation" and operation else str(value)


def _dotted(data: bytes) -> str:
    return ".".join(map(str, data))
