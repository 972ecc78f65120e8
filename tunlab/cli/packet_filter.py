"""The packet filter of `tunlab dump`.

By default it passes IPv4 except UDP, because name lookups and service discovery would hide other packets. With a
protocol or port it passes UDP, too.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from tunlab.packet import UDP, IPv4, Packet
from tunlab.packet.tables import IP_PAYLOADS, payload_name


class PacketFilter(Struct, frozen=True):
    """The conditions of a packet filter. A packet passes if it meets all of them; None means any value.

    Attributes:
        everything: Pass UDP and, if there is no other condition, packets that are not IPv4.
        protocol: IP protocol number.
        address: Network of the source or the destination.
        src: Network of the source.
        dst: Network of the destination.
        port: TCP or UDP port of the source or the destination.
    """

    everything: bool = False
    protocol: int | None = None
    address: IPv4Network | None = None
    src: IPv4Network | None = None
    dst: IPv4Network | None = None
    port: int | None = None

    def matches(self, packet: Packet | None) -> bool:
        """Return True if the packet passes the filter. `packet` is None if the bytes are not IPv4."""
        conditions = (self.protocol, self.address, self.src, self.dst, self.port)
        if packet is None or not isinstance(packet.ip, IPv4):
            return self.everything and conditions == (None,) * len(conditions)
        if self.protocol is not None:
            if packet.ip.protocol != self.protocol:
                return False
        elif not self.everything and self.port is None and packet.ip.protocol == UDP.PROTOCOL:
            return False
        if self.port is not None and self.port not in (packet.ports or ()):
            return False
        if self.src is None and self.dst is None and self.address is None:
            return True
        src, dst = IPv4Address(packet.ip.src), IPv4Address(packet.ip.dst)
        return (
            (self.src is None or src in self.src)
            and (self.dst is None or dst in self.dst)
            and (self.address is None or src in self.address or dst in self.address)
        )


def parse_protocol(text: str) -> int:
    """Return the protocol number of a name like "tcp" or of a decimal number from 0 to 255.

    Raises:
        ValueError: The text is none of these; the message says what to give.
    """
    names = {payload_name(IP_PAYLOADS, number).lower(): number for number in IP_PAYLOADS}
    if text.lower() in names:
        return names[text.lower()]
    if text.isascii() and text.isdecimal() and int(text) < 256:
        return int(text)
    known = ", ".join(sorted(names))
    raise ValueError(f"{text!r} is not a protocol; give {known} or a number from 0 to 255")


def parse_network(text: str) -> IPv4Network:
    """Return the network of "10.1.2.0/24" or "10.1.2.3".

    Raises:
        ValueError: The text is not a network; the message says what to give.
    """
    try:
        return IPv4Network(text)
    except ValueError:
        pass
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 address or network; give one like 10.1.2.3 or 10.1.2.0/24") from None
    raise ValueError(f"{text!r} has host bits set; did you mean {network}?")
