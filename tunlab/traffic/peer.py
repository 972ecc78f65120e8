"""Peers: a host on the test's side of a port that talks to one port of the device.

A peer needs a `PacketPort` and nothing else: it has no thread and reads no clock, so it works in virtual time too.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

from tunlab.packet import TCP, UDP, IPv4, IPv6, Match, Packet, PacketPart
from tunlab.traffic.expectation import Expectation


class PacketPort(Protocol):
    """An object that injects and expects packets, as `Tun` does, and knows the addresses of both sides."""

    timeout: float
    """Default timeout in seconds."""

    @property
    def address(self) -> str:
        """IPv4 address of the device, or its IPv6 address if it has no IPv4 address."""

    @property
    def peer(self) -> str:
        """Address of the test in the network of `address`."""

    @property
    def address6(self) -> str:
        """IPv6 address of the device."""

    @property
    def peer6(self) -> str:
        """Address of the test in the network of `address6`."""

    def inject(self, *layers: PacketPart | Packet) -> bytes:
        """Send a packet to the device, as `Tun.inject` does."""

    def expect(
        self, *wanted: Expectation, timeout: float | None = None, among: Callable[[Packet], bool] | None = None
    ) -> Packet:
        """Wait for a packet from the device, as `Tun.expect` does."""

    def expect_none(self, *unwanted: Expectation, timeout: float | None = None) -> None:
        """Assert that no packet meets the conditions, as `Tun.expect_none` does."""


class Peer:
    """The base class of peers: the addresses and ports of both sides.

    Attributes:
        local: Address and port of the peer, as for `tun.connect(*peer.local)`.
        remote: Address and port of the device; the port is 0 while a listening peer has received nothing.
        ip: The IP header of packets that the peer sends. Assign `peer.ip.replace(ttl=1)` to change it.
    """

    _header: type[TCP | UDP]

    def __init__(
        self,
        packet_port: PacketPort,
        port: int = 0,
        *,
        listen: int = 0,
        src: str = "",
        src_port: int = 40_000,
        dst: str = "",
    ) -> None:
        """Make a peer whose packets `packet_port` carries. The other arguments are those of `tun.udp`."""
        if bool(port) == bool(listen):
            problem = f"both port={port} and listen={listen} are given" if port else "neither port nor listen is given"
            raise TypeError(f"{problem}. Give the device's port, as 80, or the port of a peer that waits: listen=80.")
        self.packet_port = packet_port
        given = src or dst or packet_port.address
        is_ipv6 = ip_address(given.partition("%")[0]).version == 6
        src = src or (packet_port.peer6 if is_ipv6 else packet_port.peer)
        dst = dst or (packet_port.address6 if is_ipv6 else packet_port.address)
        self.ip: IPv4 | IPv6 = IPv6(src=src, dst=dst) if is_ipv6 else IPv4(src=src, dst=dst)
        self._header(src_port=listen or src_port, dst_port=port)  # raises MalformedError for an invalid port
        self.local, self.remote = (src, listen or src_port), (dst, port)
        self._match: tuple[tuple[str, int], Match] | None = None

    def _connection(self) -> Match:
        """Return the match for packets from the device to this peer; its port is open until it has sent one."""
        if self._match is None or self._match[0] != self.remote:
            ports = {"dst_port": self.local[1]} | ({"src_port": self.remote[1]} if self.remote[1] else {})
            match = type(self.ip).where(src=self.remote[0], dst=self.local[0]) & self._header.where(**ports)
            self._match = self.remote, match
        return self._match[1]

    def _path(self) -> str:
        remote, local = (f"{address}.{port or '*'}" for address, port in (self.remote, self.local))
        return f"from {remote} to {local}"

    def _is_mine(self, packet: Packet) -> bool:
        return self._connection().matches(packet)

    def _answer(self, packet: Packet) -> None:
        """Take the device's port from its first packet to a listening peer."""
        if not self.remote[1]:
            self.remote = self.remote[0], packet[self._header].src_port

    def _check_remote(self) -> None:
        if not self.remote[1]:
            where = f"{self.local[0]} port {self.local[1]}"
            raise ValueError(
                f"{self} has received nothing, so its other end is unknown. Let the device send to {where}."
            )

    def __repr__(self) -> str:
        local, remote = (f"{address}.{port or '*'}" for address, port in (self.local, self.remote))
        return f"<{type(self).__name__} {local} > {remote}>"
