"""ARP: RFC 826, with the operations that IANA has registered since."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec import UNSET
from msgspec.structs import replace

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet.address import AddressLike, MACAddressLike, ipv4_address, ipv4_text
from tunlab.packet.field import Field
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.link.ethernet import Ethernet
from tunlab.packet.tables import ETHERTYPES, ethertype_name
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

ETHERTYPE_ARP = 0x0806
FIXED = 8
"""Bytes before the addresses."""

_PACKED = struct.Struct("!HHBBH")
_ADDRESSES = ("sender_hardware", "sender_protocol", "target_hardware", "target_protocol")


class ARPOperation(IntEnum):
    """Operations (RFC 826; 3 and 4 are RARP, RFC 903; 8 and 9 are inverse ARP, RFC 2390)."""

    REQUEST = 1
    REPLY = 2
    REVERSE_REQUEST = 3
    REVERSE_REPLY = 4
    INVERSE_REQUEST = 8
    INVERSE_REPLY = 9


_OPERATIONS = {each.value: each.name.replace("_", " ").lower() for each in ARPOperation}


def hardware_address(address: object) -> str:
    """Convert a hardware address, given as bytes or as hexadecimal text, to text with ":" between the bytes.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(address, (bytes, bytearray)):
        return address.hex(":")
    if isinstance(address, str):
        parts = str.__str__(address).replace("-", ":").split(":")
        try:
            return bytes([int(part, 16) for part in parts]).hex(":") if address else ""
        except ValueError:
            pass
    raise ValueError("not a hardware address. Give text as '02:00:00:00:00:01' or bytes.")


def protocol_address(address: object) -> str:
    """Return a protocol address as text: four bytes as IPv4, others as hexadecimal numbers with ":" between them.

    Raises:
        ValueError: If it is neither bytes, nor an IPv4 address, nor such hexadecimal numbers.
    """
    if isinstance(address, (bytes, bytearray)):
        return ipv4_text(bytes(address)) if len(address) == 4 else address.hex(":")
    if isinstance(address, str) and "." not in address and (":" in address or len(address) < 3):
        return protocol_address(_address_bytes(hardware_address(address)))
    return ipv4_address(address)


def _address_bytes(text: str) -> bytes:
    return bytes(map(int, text.split("."))) if "." in text else bytes.fromhex(text.replace(":", ""))


class ARP(Header, frozen=True, gc=False):
    """An ARP packet.

    Attributes:
        hardware_type: 1 is Ethernet.
        protocol_type: The EtherType of the protocol whose addresses are resolved.
        hardware_length: Bytes of a hardware address; None: computed.
        protocol_length: Bytes of a protocol address; None: computed.
        operation: `ARPOperation`: 1 is a request, 2 is a reply.
        sender_hardware: Given as text or bytes, held as text. None: the source of the Ethernet header.
        sender_protocol: Given as text, bytes or an `ipaddress` object, held as text.
        target_hardware: Zeros in a request, which asks for this address.
    """

    LAYOUT: ClassVar = (
        ("hardware_type", 16), ("protocol_type", 16), ("hardware_length", 8), ("protocol_length", 8),
        ("operation", 16), ("sender_hardware", 48), ("sender_protocol", 32), ("target_hardware", 48),
        ("target_protocol", 32),
    )  # fmt: skip
    DERIVED: ClassVar = frozenset({"hardware_length", "protocol_length", "sender_hardware"})
    COERCE: ClassVar = {
        "sender_hardware": hardware_address, "sender_protocol": protocol_address,
        "target_hardware": hardware_address, "target_protocol": protocol_address,
    }  # fmt: skip
    IS_LAST: ClassVar = True

    hardware_type: int = 1
    protocol_type: int = 0x0800
    hardware_length: int | None = None
    protocol_length: int | None = None
    operation: int = ARPOperation.REQUEST
    sender_hardware: str | None = None
    sender_protocol: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword
    target_hardware: str = "00:00:00:00:00:00"
    target_protocol: str = UNSET  # type: ignore[assignment]

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            sender_protocol: AddressLike | bytes,
            target_protocol: AddressLike | bytes,
            operation: int = ARPOperation.REQUEST,
            sender_hardware: MACAddressLike | None = None,
            target_hardware: MACAddressLike = "00:00:00:00:00:00",
            hardware_type: int = 1,
            protocol_type: int = 0x0800,
            hardware_length: int | None = None,
            protocol_length: int | None = None,
        ) -> None: ...

    @property
    def header_length(self) -> int:
        return FIXED + sum(len(_address_bytes(getattr(self, name) or "")) for name in _ADDRESSES)

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        needed, present = FIXED, end - start
        if present >= FIXED:
            kind, protocol, hardware_length, protocol_length, operation = _PACKED.unpack_from(data, start)
            needed += 2 * (hardware_length + protocol_length)
        if present < needed:
            raise TruncatedError(layer="ARP", field="", offset=start, needed=needed, present=present, length_from=INPUT)
        ends, at = list[bytes](), start + FIXED
        for size in (hardware_length, protocol_length) * 2:
            ends.append(data[at : at + size])
            at += size
        header = _arp(
            kind, protocol, hardware_length, protocol_length, operation,
            ends[0].hex(":"), protocol_address(ends[1]), ends[2].hex(":"), protocol_address(ends[3]),
        )  # fmt: skip
        return header, at, at, None

    def to_bytes(self) -> bytes:
        try:
            fixed = _PACKED.pack(
                self.hardware_type, self.protocol_type, self.hardware_length, self.protocol_length, self.operation
            )
            return fixed + b"".join([_address_bytes(getattr(self, name)) for name in _ADDRESSES])
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with the sender's hardware address and both lengths computed where they are None.

        Raises:
            MalformedError: If the sender's address is None and no Ethernet header is before this one.
        """
        sender = self.sender_hardware
        if sender is None:
            sender = next((each.src for each in reversed(outer) if isinstance(each, Ethernet)), None)
            if sender is None:
                rule = "no Ethernet header is before it. Give `sender_hardware`."
                raise MalformedError(layer="ARP", field="sender_hardware", value=None, rule=rule)
        lengths = [len(_address_bytes(each)) for each in (sender, self.sender_protocol)]
        return replace(
            self,
            sender_hardware=sender,
            hardware_length=lengths[0] if self.hardware_length is None else self.hardware_length,
            protocol_length=lengths[1] if self.protocol_length is None else self.protocol_length,
        )

    def content_end(self, start: int, limit: int) -> int:
        return start + self.header_length

    # ----- judgement

    def findings(self, layer: Layer) -> list[Finding]:
        found = list[Finding]()
        if self.hardware_type == 1 and self.hardware_length != 6:
            rule = "Ethernet addresses have 6 bytes"
            found.append(layer.finding("hardware_length", FindingKind.LENGTH, 4, rule))
        elif self.hardware_type == 1 and layer.data[layer.start + FIXED] & 1:
            rule = "a group address cannot be the sender's (RFC 1812 section 3.3.2)"
            found.append(layer.finding("sender_hardware", FindingKind.ADDRESS, FIXED, rule))
        if self.protocol_type == 0x0800 and self.protocol_length != 4:
            rule = "IPv4 addresses have 4 bytes"
            found.append(layer.finding("protocol_length", FindingKind.LENGTH, 5, rule))
        return found

    # ----- texts

    @property
    def title(self) -> str:
        match self.operation:
            case ARPOperation.REQUEST:
                return f"who has {self.target_protocol}? tell {self.sender_protocol}"
            case ARPOperation.REPLY:
                return f"{self.sender_protocol} is at {self.sender_hardware}"
        return self.field_text("operation", self.operation)

    def fields(self) -> list[Field]:
        found, at = super().fields(), FIXED * 8
        for index in range(-4, 0):
            bits = len(_address_bytes(getattr(self, found[index].name) or "")) * 8
            found[index] = found[index]._replace(start=at, bits=bits)
            at += bits
        return found

    def field_text(self, name: str, value: object) -> str:
        if name == "protocol_type" and isinstance(value, int):
            return ethertype_name(value)
        if name == "operation" and isinstance(value, int) and value in _OPERATIONS:
            return f"{int(value)} ({_OPERATIONS[value]})"
        if name == "hardware_type" and value == 1:
            return "1 (Ethernet)"
        return super().field_text(name, value)

    def listing(self, layer: Layer, *, verbose: bool) -> list[str]:
        return super().listing(layer, verbose=True)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return f"ARP {self.title}"


_arp = ARP.unchecked()
ETHERTYPES[ETHERTYPE_ARP] = ARP.read
