"""The addresses at both ends of a link: those of the other side, and the one that the test uses."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from tunlab.errors import KernelError
from tunlab.kernel.validation import InterfaceAddress, IPNetwork, parse_interface


class Addressed:
    """The other side of a link, with its addresses."""

    _interfaces: tuple[InterfaceAddress, ...]
    _name: str  # the device's name, for error messages

    @property
    def address(self) -> str:
        """IPv4 address of the device, "10.1.2.1", or its IPv6 address if it has no IPv4 address.

        Raises KernelError if it has none.
        """
        return str(self._interface().ip)

    @property
    def network(self) -> IPNetwork:
        """Network of `address`: IPv4Network("10.1.2.0/24")."""
        return self._interface().network

    @property
    def peer(self) -> str:
        """First address of the network that is not the device's own: a source address for injected packets.

        Raises KernelError if the network has only one address.
        """
        return _peer(self._interface())

    @property
    def address6(self) -> str:
        """IPv6 address of the device: "fd00::1". Raises KernelError if it has none."""
        return str(self._interface(6).ip)

    @property
    def network6(self) -> IPNetwork:
        """Network of `address6`: IPv6Network("fd00::/64")."""
        return self._interface(6).network

    @property
    def peer6(self) -> str:
        """First address of `network6` that is not the device's own. Raises KernelError if there is none."""
        return _peer(self._interface(6))

    def _interface(self, version: int = 0) -> InterfaceAddress:
        """Return the address of an IP version; 0 prefers IPv4."""
        for each in sorted(self._interfaces, key=lambda each: each.version):
            if version in (0, each.version):
                return each
        name = f"IPv{version} address" if version else "address"
        reason = f"the {type(self).__name__} was made without {'one' if version else 'an address'}"
        remedy = f"give one, as address={'fd00::1/64' if version else '10.1.2.1/24'!r}"
        raise KernelError(errno.EADDRNOTAVAIL, f"get the {name} of {self._name}", reason=reason, remedy=remedy)


def parse_addresses(address: str | Sequence[str], ifname: str) -> list[InterfaceAddress]:
    """Return the addresses of a device: one or several separated by spaces, or a list; "" and [] are none.

    Raises KernelError (EINVAL) if a text is not an address with a prefix length.
    """
    given: Sequence[Any] = address.split() if isinstance(address, str) else address
    if not isinstance(given, (list, tuple)):
        given = [given]
    return [parse_interface(each, f"give {ifname} the address {each}") for each in given]


def _peer(own: InterfaceAddress) -> str:
    other = next((host for host in own.network.hosts() if host != own.ip), None)
    if other is None:
        reason = f"{own.network} has only one address"
        remedy = f"give the Tun a larger network, as {'10.1.2.1/31' if own.version == 4 else 'fd00::1/127'}"
        raise KernelError(errno.EADDRNOTAVAIL, "choose a peer", reason=reason, remedy=remedy)
    return str(other)
