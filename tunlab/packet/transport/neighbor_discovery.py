"""Neighbor discovery: the five messages of RFC 4861 section 4. Their options are in `tunlab.packet.nd_options`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import TYPE_CHECKING, ClassVar, SupportsBytes, TypeAlias

from msgspec import UNSET

from tunlab.errors import PacketError
from tunlab.packet.address import IPv6AddressLike, ipv6_address, ipv6_bytes, is_link_local
from tunlab.packet.field import Field
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Layer
from tunlab.packet.nd_options import (
    TYPES,
    NDOption,
    PrefixInformation,
    RedirectedHeader,
    split_nd_options,
)
from tunlab.packet.network.ipv6 import IPv6
from tunlab.packet.option_lists import decode_option_list, option_list_field, option_list_findings
from tunlab.packet.options import Option, TypedOption, options_to_bytes
from tunlab.packet.tables import ICMPV6_MESSAGES
from tunlab.packet.transport.icmpv6 import COMMON, ICMPv6, ip_before
from tunlab.packet.transport.icmpv6_types import ICMPv6Type
from tunlab.packet.values import flag_converter, is_packet_error

__tracebackhide__ = is_packet_error

OptionsLike: TypeAlias = bytes | Iterable[SupportsBytes]
"""Options as bytes, or as objects of `nd_options`."""


class RouterFlag(IntFlag):
    """Flags of a router advertisement (RFC 4861 section 4.2; HOME_AGENT is RFC 6275's)."""

    HOME_AGENT = 1
    OTHER = 2
    MANAGED = 4


class NeighborFlag(IntFlag):
    """Flags of a neighbor advertisement (RFC 4861 section 4.4)."""

    OVERRIDE = 1
    SOLICITED = 2
    ROUTER = 4


class NDMessage(ICMPv6, frozen=True, gc=False):
    """The base class of the messages of neighbor discovery: the rules and texts that they share."""

    TAIL: ClassVar = "options"
    COERCE: ClassVar = {"options": options_to_bytes, "target": ipv6_address, "destination": ipv6_address}
    HOP_LIMIT: ClassVar = 255
    SOURCE: ClassVar[str] = ""
    """The RFC's section with the rules for receivers."""

    if TYPE_CHECKING:

        @property
        def options(self) -> bytes:
            """The options; objects of `nd_options` are accepted too."""

        @property
        def reserved(self) -> int:
            """Zero."""

    @property
    def decoded_options(self) -> tuple[Option | TypedOption, ...]:
        """The options as objects, as far as they can be read; `findings` says where reading stopped."""
        return decode_option_list(self.options, split_nd_options, TYPES, NDOption)

    def findings(self, layer: Layer) -> list[Finding]:
        find, found = layer.finding, list[Finding]()
        ip = ip_before(layer)
        rules = [] if ip is None else self.rules(ip)
        if ip is not None and ip.hop_limit != self.HOP_LIMIT:
            rules.insert(0, f"the hop limit is {ip.hop_limit} and must be 255")
        if self.code:
            rules.append("the code must be 0")
        found = [find("type", FindingKind.VALUE, 0, f"{rule} (RFC 4861 section {self.SOURCE})") for rule in rules]
        if self.reserved:
            rule = "must be zero (RFC 4861 section 4)"
            found.append(find("reserved", FindingKind.RESERVED, 4, rule))
        if not (layer.missing and layer.end == layer.limit):
            at = self.header_length - len(self.options)
            found += option_list_findings(layer, self.options, at, layer.length_from, split_nd_options, TYPES)
        return found

    def rules(self, ip: IPv6) -> list[str]:
        """Return the rules that this message breaks in a packet with the IP header `ip`."""
        return []

    def has_option(self, kind: int) -> bool:
        """Return True if there is an option of this kind."""
        return any(item.kind == kind for item in split_nd_options(self.options)[0])

    def fields(self) -> list[Field]:
        found, start = super().fields(), (self.header_length - len(self.options)) * 8
        return [*found, option_list_field(self.options, start, split_nd_options, TYPES)] if self.options else found


class RouterSolicitation(NDMessage, frozen=True, gc=False):
    """A router solicitation (RFC 4861 section 4.1)."""

    LAYOUT: ClassVar = (*COMMON, ("reserved", 32))
    SOURCE: ClassVar = "6.1.1"

    type: int = ICMPv6Type.ROUTER_SOLICITATION
    reserved: int = 0
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            options: OptionsLike = b"",
            type: int = ICMPv6Type.ROUTER_SOLICITATION,  # noqa: A002  # RFC 4443's word
            code: int = 0,
            checksum: int | None = None,
            reserved: int = 0,
        ) -> None: ...

    def rules(self, ip: IPv6) -> list[str]:
        """Return the rules that this message breaks in a packet with the IP header `ip`."""
        if ip.src == "::" and self.has_option(1):
            return ["from the unspecified address it must not have a source link-layer address"]
        return []


class RouterAdvertisement(NDMessage, frozen=True, gc=False):
    """A router advertisement (RFC 4861 section 4.2).

    Attributes:
        cur_hop_limit: The hop limit that hosts use; 0 is unspecified.
        preference: 0 is medium, 1 is high, 3 is low (RFC 4191 section 2.2).
        router_lifetime: In seconds; 0 for a router that is not a default router.
        reachable_time: In milliseconds; 0 is unspecified.
        retrans_timer: In milliseconds; 0 is unspecified.
    """

    LAYOUT: ClassVar = (
        *COMMON, ("cur_hop_limit", 8), ("flags", 3), ("preference", 2), ("reserved", 3), ("router_lifetime", 16),
        ("reachable_time", 32), ("retrans_timer", 32),
    )  # fmt: skip
    COERCE: ClassVar = {**NDMessage.COERCE, "flags": flag_converter(RouterFlag)}
    SOURCE: ClassVar = "6.1.2"

    type: int = ICMPv6Type.ROUTER_ADVERTISEMENT
    cur_hop_limit: int = 64
    flags: RouterFlag = RouterFlag(0)
    preference: int = 0
    reserved: int = 0
    router_lifetime: int = 1800
    reachable_time: int = 0
    retrans_timer: int = 0
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            options: OptionsLike = b"",
            cur_hop_limit: int = 64,
            flags: RouterFlag | int = 0,
            preference: int = 0,
            router_lifetime: int = 1800,
            reachable_time: int = 0,
            retrans_timer: int = 0,
            type: int = ICMPv6Type.ROUTER_ADVERTISEMENT,  # noqa: A002  # RFC 4443's word
            code: int = 0,
            checksum: int | None = None,
            reserved: int = 0,
        ) -> None: ...

    def rules(self, ip: IPv6) -> list[str]:
        """Return the rules that this message breaks in a packet with the IP header `ip`."""
        return _rules_for_source(ip)

    def detail(self, layer: Layer) -> str:
        """Return the prefixes."""
        options = self.decoded_options
        prefixes = [f"{each.prefix}/{each.prefix_length}" for each in options if isinstance(each, PrefixInformation)]
        return "".join(f", prefix {prefix}" for prefix in prefixes)


class NeighborSolicitation(NDMessage, frozen=True, gc=False):
    """A neighbor solicitation (RFC 4861 section 4.3): it asks who has the address `target`."""

    LAYOUT: ClassVar = (*COMMON, ("reserved", 32), ("target", 128))
    SOURCE: ClassVar = "7.1.1"

    type: int = ICMPv6Type.NEIGHBOR_SOLICITATION
    reserved: int = 0
    target: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            target: IPv6AddressLike,
            options: OptionsLike = b"",
            type: int = ICMPv6Type.NEIGHBOR_SOLICITATION,  # noqa: A002  # RFC 4443's word
            code: int = 0,
            checksum: int | None = None,
            reserved: int = 0,
        ) -> None: ...

    def rules(self, ip: IPv6) -> list[str]:
        """Return the rules that this message breaks in a packet with the IP header `ip`."""
        found = _rules_for_target(self.target)
        if ip.src == "::":
            if ipv6_bytes(ip.dst)[:13] != _SOLICITED_NODE:
                found.append("from the unspecified address it must be sent to a solicited-node multicast address")
            if self.has_option(1):
                found.append("from the unspecified address it must not have a source link-layer address")
        return found

    def detail(self, layer: Layer) -> str:
        """Return the target."""
        return f", who has {self.target}"


class NeighborAdvertisement(NDMessage, frozen=True, gc=False):
    """A neighbor advertisement (RFC 4861 section 4.4): its sender has the address `target`."""

    LAYOUT: ClassVar = (*COMMON, ("flags", 3), ("reserved", 29), ("target", 128))
    COERCE: ClassVar = {**NDMessage.COERCE, "flags": flag_converter(NeighborFlag)}
    SOURCE: ClassVar = "7.1.2"

    type: int = ICMPv6Type.NEIGHBOR_ADVERTISEMENT
    flags: NeighborFlag = NeighborFlag(0)
    reserved: int = 0
    target: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            target: IPv6AddressLike,
            flags: NeighborFlag | int = 0,
            options: OptionsLike = b"",
            type: int = ICMPv6Type.NEIGHBOR_ADVERTISEMENT,  # noqa: A002  # RFC 4443's word
            code: int = 0,
            checksum: int | None = None,
            reserved: int = 0,
        ) -> None: ...

    def rules(self, ip: IPv6) -> list[str]:
        """Return the rules that this message breaks in a packet with the IP header `ip`."""
        found = _rules_for_target(self.target)
        if NeighborFlag.SOLICITED in self.flags and ipv6_bytes(ip.dst)[0] == 0xFF:
            found.append("to a multicast address it must not have the flag SOLICITED")
        return found

    def detail(self, layer: Layer) -> str:
        """Return the target and the flags."""
        flags = ", ".join((flag.name or "").lower() for flag in reversed(NeighborFlag) if flag in self.flags)
        return f", tgt is {self.target}" + (f", Flags [{flags}]" if flags else "")


class Redirect(NDMessage, frozen=True, gc=False):
    """A redirect (RFC 4861 section 4.5): packets to `destination` are to be sent to `target`."""

    LAYOUT: ClassVar = (*COMMON, ("reserved", 32), ("target", 128), ("destination", 128))
    SOURCE: ClassVar = "8.1"

    type: int = ICMPv6Type.REDIRECT
    reserved: int = 0
    target: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword
    destination: str = UNSET  # type: ignore[assignment]
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            target: IPv6AddressLike,
            destination: IPv6AddressLike,
            options: OptionsLike = b"",
            type: int = ICMPv6Type.REDIRECT,  # noqa: A002  # RFC 4443's word
            code: int = 0,
            checksum: int | None = None,
            reserved: int = 0,
        ) -> None: ...

    def quoted(self, payload: bytes) -> bytes:
        """Return the packet that the option `RedirectedHeader` quotes.

        Raises:
            PacketError: If there is no such option.
        """
        for option in self.decoded_options:
            if isinstance(option, RedirectedHeader):
                return option.packet[: int.from_bytes(option.packet[4:6], "big") + 40]
        raise PacketError("the redirect quotes no packet: it has no option RedirectedHeader")

    def rules(self, ip: IPv6) -> list[str]:
        """Return the rules that this message breaks in a packet with the IP header `ip`."""
        found = _rules_for_source(ip)
        if not is_link_local(self.target) and self.target != self.destination:
            found.append("the target must be link-local, or the destination itself")
        if ipv6_bytes(self.destination)[0] == 0xFF:
            found.append("the destination must not be a multicast address")
        return found

    def detail(self, layer: Layer) -> str:
        """Return the destination and the target."""
        return f", {self.destination} to {self.target}"


_SOLICITED_NODE = bytes.fromhex("ff02" + "00" * 9 + "01ff")
"""The first bytes of a solicited-node multicast address (RFC 4291 section 2.7.1)."""


def _rules_for_source(ip: IPv6) -> list[str]:
    return [] if is_link_local(ip.src) else ["the source must be a link-local address"]


def _rules_for_target(target: str) -> list[str]:
    return ["the target must not be a multicast address"] if ipv6_bytes(target)[0] == 0xFF else []


ICMPV6_MESSAGES[ICMPv6Type.ROUTER_SOLICITATION] = RouterSolicitation.read
ICMPV6_MESSAGES[ICMPv6Type.ROUTER_ADVERTISEMENT] = RouterAdvertisement.read
ICMPV6_MESSAGES[ICMPv6Type.NEIGHBOR_SOLICITATION] = NeighborSolicitation.read
ICMPV6_MESSAGES[ICMPv6Type.NEIGHBOR_ADVERTISEMENT] = NeighborAdvertisement.read
ICMPV6_MESSAGES[ICMPv6Type.REDIRECT] = Redirect.read
