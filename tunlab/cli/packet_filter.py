"""Which packets `tunlab dump` shows. Pure.

By default IPv4 that is not UDP: the chatter of name lookups and discovery hides what one looks for. Naming a protocol
or a port lifts that, for then it is known what is looked for.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from tunlab.packet import UDP, Packet
from tunlab.packet.text import PROTOCOL_NAMES


class PacketFilter(Struct, frozen=True):
    """What a packet must have, all of it; None: anything.

    everything          also UDP, and also what is no IPv4 as long as nothing else is asked for
    address, src, dst   networks: of either end, of the source, of the destination
    port                of either end
    """

    everything: bool = False
    protocol: int | None = None
    address: IPv4Network | None = None
    src: IPv4Network | None = None
    dst: IPv4Network | None = None
    port: int | None = None

    def matches(self, packet: Packet | None) -> bool:
        """Whether it is to be shown; `packet` is None for octets that are no IPv4."""
        wanted = (self.protocol, self.address, self.src, self.dst, self.port)
        if packet is None:
            return self.everything and wanted == (None,) * len(wanted)
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
    """The number of "icmp", "igmp", "tcp", "udp", or of a number from 0 to 255. Raises ValueError with a sentence."""
    for number, name in PROTOCOL_NAMES.items():
        if text.lower() == name.lower():
            return number
    if text.isascii() and text.isdecimal() and int(text) < 256:
        return int(text)
    raise ValueError(f"{text!r} is no protocol: give icmp, igmp, tcp, udp or a number from 0 to 255")


def parse_network(text: str) -> IPv4Network:
    """The network of "10.1.2.0/24" or of one address, "10.1.2.3". Raises ValueError with a sentence."""
    try:
        return IPv4Network(text)
    except ValueError:
        pass
    try:
        meant = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address or network: give one like 10.1.2.3 or 10.1.2.0/24") from None
    raise ValueError(f"{text!r} is an address inside a network: did you mean {meant}?")
