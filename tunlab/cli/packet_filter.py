"""The packet filter of `tunlab dump` and `tunlab report`.

Without conditions it passes IPv4 except UDP, because name lookups and service discovery would hide other packets. With
a condition it passes IPv6 and UDP too.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from msgspec import Struct

from tunlab.packet import ARP, UDP, Extension, Header, IPv4, Network, Packet
from tunlab.packet.header import Reader, layer_of
from tunlab.packet.tables import ETHERTYPES, IP_PAYLOADS, IPV6_EXTENSIONS, LENGTH

IPNetwork: TypeAlias = IPv4Network | IPv6Network
Protocol: TypeAlias = int | type[Header]
"""The number of a protocol in IP, or the class of a header."""

_ALIASES = {"icmp6": "icmpv6", "ip": "ipv4", "ip6": "ipv6"}  # tcpdump's names of these protocols


class PacketFilter(Struct, frozen=True):
    """Conditions that a packet must all meet; None means any value.

    Attributes:
        everything: Pass every packet if there is no other condition, else also ARP with a matching address.
        protocol: The protocol.
        address: Network of the source or the destination.
        src: Network of the source.
        dst: Network of the destination.
        port: TCP or UDP port of the source or the destination.
    """

    everything: bool = False
    protocol: Protocol | None = None
    address: IPNetwork | None = None
    src: IPNetwork | None = None
    dst: IPNetwork | None = None
    port: int | None = None

    @property
    def is_default(self) -> bool:
        """True if there is no condition, so that only IPv4 except UDP passes."""
        return self == PacketFilter()

    def matches(self, packet: Packet | None) -> bool:
        """Return True if the packet passes the filter. `packet` is None if the bytes are not a packet."""
        conditions = (self.protocol, self.address, self.src, self.dst, self.port)
        if conditions == (None,) * len(conditions):
            return self.everything or (packet is not None and IPv4 in packet and not _carries(packet, UDP.PROTOCOL))
        if packet is None:
            return False
        if self.protocol is not None and not _carries(packet, self.protocol):
            return False
        if self.port is not None and self.port not in (packet.ports or ()):
            return False
        if self.src is None and self.dst is None and self.address is None:
            return self.protocol is not None or Network in packet
        return any(
            (self.src is None or _contains(self.src, src))
            and (self.dst is None or _contains(self.dst, dst))
            and (self.address is None or _contains(self.address, src) or _contains(self.address, dst))
            for src, dst in _addresses(packet, with_arp=self.everything or self.protocol is ARP)
        )


def _carries(packet: Packet, protocol: Protocol) -> bool:
    if isinstance(protocol, type):
        return protocol in packet
    return any(
        protocol in (getattr(header, "protocol", None), getattr(header, "next_header", None))
        for header in packet
        if isinstance(header, (Network, Extension))
    )


def _addresses(packet: Packet, *, with_arp: bool) -> Iterator[tuple[str, str]]:
    """Yield source and destination of every IP header; of ARP if that is wanted."""
    for header in packet:
        if isinstance(header, Network):
            yield header.src, header.dst
        elif isinstance(header, ARP) and with_arp:
            yield header.sender_protocol, header.target_protocol


def _contains(network: IPNetwork, address: str) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:  # an ARP packet may have addresses of another protocol than IP
        return False


def _protocols() -> dict[str, Protocol]:
    """Return each protocol that can be parsed by its name in lower case."""
    found = dict[str, Protocol]()
    for number, reader in ETHERTYPES.items():
        if number != LENGTH:
            found[_name(reader)] = layer_of(reader)
    for number, reader in (*IP_PAYLOADS.items(), *IPV6_EXTENSIONS.items()):
        found.setdefault(_name(reader), number)
    return found


def _name(reader: Reader) -> str:
    return layer_of(reader).__name__.lower()


def parse_protocol(text: str) -> Protocol:
    """Return the protocol of a name like "tcp", "icmp6" or "arp", or of a decimal number from 0 to 255.

    Raises:
        ValueError: The text is none of these; the message says what to give.
    """
    protocols = _protocols()
    name = text.lower()
    if (name := _ALIASES.get(name, name)) in protocols:
        return protocols[name]
    if text.isascii() and text.isdecimal() and int(text) < 256:
        return int(text)
    known = ", ".join(sorted(protocols))
    raise ValueError(f"{text!r} is not a protocol. Give {known} or a number from 0 to 255.")


def parse_network(text: str) -> IPNetwork:
    """Return the network of "10.1.2.0/24", "10.1.2.3" or "fd00::1".

    Raises:
        ValueError: The text is not a network; the message says what to give.
    """
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an IP address or network. Give one like 10.1.2.3, 10.1.2.0/24 or fd00::1."
        ) from None
    raise ValueError(f"{text!r} has host bits set. Did you mean {network}?")
