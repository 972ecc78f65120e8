"""The options of neighbor discovery: RFC 4861 section 4.6, with the recursive DNS servers of RFC 8106.

The length byte counts units of eight bytes, kind and length included.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import force_setattr

from tunlab.errors import MalformedError
from tunlab.packet.address import IPv6AddressLike, MACAddressLike, ipv6_address, ipv6_bytes, ipv6_text, mac_address
from tunlab.packet.option_lists import OptionItem, OptionStop
from tunlab.packet.options import Option, TypedOption, Types
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

_PREFIX = struct.Struct("!BBII4x16s")


class NDOption(Option, frozen=True, gc=False):
    """An option without a class of its own, as kind and data; zeros fill it up to a multiple of eight bytes."""

    def __bytes__(self) -> bytes:
        data = self.data + bytes(-(len(self.data) + 2) % 8)
        units = (len(data) + 2) // 8
        try:
            return bytes((self.kind, units)) + data
        except (TypeError, ValueError):
            rule = "an option has a kind up to 255 and at most 2038 bytes of data (RFC 4861 section 4.6)"
            raise MalformedError(layer="NDOption", field="", value=self, rule=rule) from None


class TypedNDOption(TypedOption, frozen=True, gc=False):
    """The base class of known options of neighbor discovery."""

    RAW: ClassVar = NDOption


class LinkLayerAddress(TypedNDOption, frozen=True, gc=False):
    """The base class of options with a link-layer address: text if it is a MAC address, else bytes."""

    LENGTHS: ClassVar = range(6, 2040, 8)
    FORM: ClassVar = "8 for a MAC address (RFC 4861 section 4.6.1)"

    address: str

    if TYPE_CHECKING:

        def __init__(self, address: MACAddressLike) -> None: ...

    def __post_init__(self) -> None:
        address: object = self.address
        text = address.hex(":") if isinstance(address, bytes) else mac_address(address)
        force_setattr(self, "address", text)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data)

    def data(self) -> bytes:
        return bytes.fromhex(self.address.replace(":", ""))


class SourceLinkLayerAddress(LinkLayerAddress, frozen=True, gc=False):
    """The sender's link-layer address (RFC 4861 section 4.6.1)."""

    KIND: ClassVar = 1


class TargetLinkLayerAddress(LinkLayerAddress, frozen=True, gc=False):
    """The link-layer address of the target (RFC 4861 section 4.6.1)."""

    KIND: ClassVar = 2


class PrefixInformation(TypedNDOption, frozen=True, gc=False):
    """A prefix that is on-link or from which hosts make addresses (RFC 4861 section 4.6.2).

    Attributes:
        flags: 0x80 is on-link (L), 0x40 is autonomous address configuration (A).
        valid_lifetime: In seconds; 0xffffffff is infinity.
        preferred_lifetime: In seconds, at most the valid lifetime (RFC 4862 section 5.5.3).
    """

    KIND: ClassVar = 3
    LENGTHS: ClassVar = (30,)
    FORM: ClassVar = "32 (RFC 4861 section 4.6.2)"

    prefix: str
    prefix_length: int = 64
    flags: int = 0xC0
    valid_lifetime: int = 2_592_000
    preferred_lifetime: int = 604_800

    if TYPE_CHECKING:

        def __init__(
            self,
            prefix: IPv6AddressLike,
            prefix_length: int = 64,
            flags: int = 0xC0,
            valid_lifetime: int = 2_592_000,
            preferred_lifetime: int = 604_800,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "prefix", ipv6_address(self.prefix))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        length, flags, valid, preferred, prefix = _PREFIX.unpack(data)
        return cls(ipv6_text(prefix), length, flags, valid, preferred)

    def data(self) -> bytes:
        prefix = ipv6_bytes(self.prefix)
        return _PREFIX.pack(self.prefix_length, self.flags, self.valid_lifetime, self.preferred_lifetime, prefix)

    @property
    def fault(self) -> str:
        if self.prefix_length > 128:
            return f"the prefix length is {self.prefix_length}; the maximum is 128 (RFC 4861 section 4.6.2)"
        if self.preferred_lifetime > self.valid_lifetime:
            return "the preferred lifetime is longer than the valid lifetime (RFC 4862 section 5.5.3)"
        return ""


class RedirectedHeader(TypedNDOption, frozen=True, gc=False):
    """The packet that caused a redirect, as far as it fits (RFC 4861 section 4.6.3)."""

    KIND: ClassVar = 4
    LENGTHS: ClassVar = range(6, 2040, 8)
    FORM: ClassVar = "8 and the packet (RFC 4861 section 4.6.3)"

    packet: bytes

    def __post_init__(self) -> None:
        force_setattr(self, "packet", to_bytes(self.packet))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data[6:])

    def data(self) -> bytes:
        return bytes(6) + self.packet


class MTU(TypedNDOption, frozen=True, gc=False):
    """The MTU of the link, in bytes (RFC 4861 section 4.6.4)."""

    KIND: ClassVar = 5
    LENGTHS: ClassVar = (6,)
    FORM: ClassVar = "8 (RFC 4861 section 4.6.4)"

    mtu: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(int.from_bytes(data[2:], "big"))

    def data(self) -> bytes:
        return struct.pack("!HI", 0, self.mtu)


class Nonce(TypedNDOption, frozen=True, gc=False):
    """A random number that tells a looped-back message from that of another node (RFC 3971 section 5.3.2, RFC 7527)."""

    KIND: ClassVar = 14
    LENGTHS: ClassVar = range(6, 2040, 8)
    FORM: ClassVar = "8 or more (RFC 3971 section 5.3.2)"

    nonce: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data)

    def data(self) -> bytes:
        return to_bytes(self.nonce)


class RecursiveDNSServer(TypedNDOption, frozen=True, gc=False):
    """Addresses of recursive DNS servers (RFC 8106 section 5.1).

    Attributes:
        lifetime: In seconds; 0xffffffff is infinity.
    """

    KIND: ClassVar = 25
    LENGTHS: ClassVar = range(22, 2040, 16)
    FORM: ClassVar = "8 and 16 for each address, of which there is at least one (RFC 8106 section 5.1)"

    addresses: tuple[str, ...]
    lifetime: int = 1800

    if TYPE_CHECKING:

        def __init__(self, addresses: Iterable[IPv6AddressLike], lifetime: int = 1800) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "addresses", tuple([ipv6_address(address) for address in self.addresses]))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        addresses = [ipv6_text(data[at : at + 16]) for at in range(6, len(data), 16)]
        return cls(addresses, int.from_bytes(data[2:6], "big"))

    def data(self) -> bytes:
        return struct.pack("!HI", 0, self.lifetime) + b"".join(map(ipv6_bytes, self.addresses))


TYPES: Types = {
    each.KIND: each
    for each in (
        SourceLinkLayerAddress,
        TargetLinkLayerAddress,
        PrefixInformation,
        RedirectedHeader,
        MTU,
        Nonce,
        RecursiveDNSServer,
    )
}
"""The known options by their kind."""


def split_nd_options(data: bytes) -> tuple[list[OptionItem], OptionStop | None]:
    """Return the options of a message, and where reading stopped if a length is impossible."""
    found, offset, end = list[OptionItem](), 0, len(data)
    while offset < end:
        kind, present = data[offset], end - offset
        if present < 2:
            return found, OptionStop(offset, f"option {kind} has no length byte", 2, 1)
        size = data[offset + 1] * 8
        if not size:
            return found, OptionStop(offset, f"option {kind} has length 0 (RFC 4861 section 4.6)", 8, 0)
        if size > present:
            return found, OptionStop(offset, f"option {kind} overruns the message", size, present)
        found.append(OptionItem(offset, kind, data[offset + 2 : offset + size], size))
        offset += size
    return found, None
