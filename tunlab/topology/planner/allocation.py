"""Allocating numbers and networks: by position if free, so that an edit elsewhere renumbers nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import count

from tunlab.topology.values.names import Network


def places(given: Sequence[int | None]) -> list[int]:
    """Return a number for each: the given one, else its position, else the lowest free one."""
    taken = {number for number in given if number is not None}
    numbers = [place if number is None and place not in taken else number for place, number in enumerate(given)]
    taken.update(number for number in numbers if number is not None)
    left = (number for number in count() if number not in taken)
    return [next(left) if number is None else number for number in numbers]


class Pool:
    """A network to allocate from, in parts of /24 (IPv4) or /64 (IPv6), numbered from 0."""

    def __init__(self, network: str) -> None:
        self.network: Network = ipaddress.ip_network(network)
        self.prefixlen = 24 if self.network.version == 4 else 64
        self._shift = self.network.max_prefixlen - self.prefixlen
        self._first = int(self.network.network_address) >> self._shift
        self.size = 1 << max(0, self.prefixlen - self.network.prefixlen)
        self._ranges: list[tuple[int, int]] = []
        self._taken: set[int] = set()

    def take(self, network: Network) -> None:
        """Reserve a network, so that no allocation overlaps it."""
        first = (int(network.network_address) >> self._shift) - self._first
        last = (int(network.broadcast_address) >> self._shift) - self._first
        if first == last:
            self._taken.add(first)
        else:
            self._ranges.append((first, last))

    def give(self, wanted: Sequence[tuple[int, int]]) -> list[Network | None]:
        """Allocate a network for each (number, hosts), larger if needed; None if the pool is used up."""
        given: list[Network | None] = [None] * len(wanted)
        parts = [self._parts(hosts) for _, hosts in wanted]
        for again in (False, True):
            for place, (number, _) in enumerate(wanted):
                if given[place] is None:
                    start = -(-number // parts[place]) * parts[place]
                    tries = [start] if not again else range(0, self.size, parts[place])
                    given[place] = next(
                        (self._cut(n, parts[place]) for n in tries if self._free(n, parts[place])), None
                    )
        return given

    def _parts(self, hosts: int) -> int:
        """Return the number of consecutive parts, a power of two, that hold so many hosts."""
        return 1 << max(0, (hosts + 1).bit_length() - self._shift)

    def _free(self, number: int, parts: int) -> bool:
        last = number + parts - 1
        if last >= self.size or not self._taken.isdisjoint(range(number, last + 1)):
            return False
        return not any(first <= last and number <= end for first, end in self._ranges)

    def _cut(self, number: int, parts: int) -> Network:
        self._taken.update(range(number, number + parts))
        base = (self._first + number) << self._shift
        kind = ipaddress.IPv4Network if self.network.version == 4 else ipaddress.IPv6Network
        return kind((base, self.prefixlen - parts.bit_length() + 1))
