"""ARP for IPv4 in one line, and its fields: RFC 826."""

from __future__ import annotations

LENGTH = 28
"""Octets of a message; a frame may pad it."""

_BEGIN = bytes.fromhex("000108000604")  # Ethernet's addresses of six octets for IPv4's of four

FIELDS = (
    ("hardware_type", 0, 2), ("protocol_type", 2, 2), ("hardware_length", 4, 1), ("protocol_length", 5, 1),
    ("operation", 6, 2), ("sender_hardware", 8, 6), ("sender_protocol", 14, 4), ("target_hardware", 18, 6),
    ("target_protocol", 24, 4),
)  # fmt: skip
"""Name, first octet and octets of each field, in the RFC's order."""

_OPERATIONS = {1: ("request", "who has {target}? asks {sender}"), 2: ("reply", "{sender} is at {address}")}


def is_ethernet_ipv4(octets: bytes) -> bool:
    """Whether these, from after the link's header on, are a whole message about Ethernet's and IPv4's addresses."""
    return len(octets) >= LENGTH and octets.startswith(_BEGIN)


def summarize(octets: bytes) -> str:
    """What a message asks or says; of an operation that RFC 826 does not have, "ARP" alone."""
    _, words = _OPERATIONS.get(int.from_bytes(octets[6:8], "big"), ("", ""))
    parts = {"sender": _dotted(octets[14:18]), "target": _dotted(octets[24:28]), "address": octets[8:14].hex(":")}
    return f"ARP {words}".format(**parts).rstrip()


def field_text(name: str, octets: bytes) -> str:
    """The value of one of FIELDS as a person writes it."""
    if name.endswith("_hardware"):
        return octets.hex(":")
    if name in ("sender_protocol", "target_protocol"):
        return _dotted(octets)
    value = int.from_bytes(octets, "big")
    if name == "protocol_type":
        return f"{value:#06x}"
    operation, _ = _OPERATIONS.get(value, ("", ""))
    return f"{value} ({operation})" if name == "operation" and operation else str(value)


def _dotted(octets: bytes) -> str:
    return ".".join(map(str, octets))
