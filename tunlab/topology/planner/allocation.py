"""Allocate addresses and networks by the position of ends and links in the lab file.

So changing one link does not change the addresses of others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import count

from tunlab.topology.values.names import Network


def assign_numbers(given: Sequence[int | None]) -> list[int]:
    """Return a different number for each item: the given one, else its position if free, else the lowest free one."""
    used = {number for number in given if number is not None}
    numbers = [index if number is None and index not in used else number for index, number in enumerate(given)]
    used.update(number for number in numbers if number is not None)
    free = (number for number in count() if number not in used)
    return [next(free) if number is None else number for number in numbers]


class Pool:
    """A pool from which each link gets a network: one or more blocks of size /24 (IPv4) or /64 (IPv6).

    The blocks are numbered from 0.
    """

    def __init__(self, network: str) -> None:
        self.network: Network = ipaddress.ip_network(network)
        self.prefixlen = 24 if self.network.version == 4 else 64
        self._shift = self.network.max_prefixlen - self.prefixlen
        self._first = int(self.network.network_address) >> self._shift
        self.size = 1 << max(0, self.prefixlen - self.network.prefixlen)
        self._ranges: list[tuple[int, int]] = []
        self._used: set[int] = set()

    def reserve(self, network: Network) -> None:
        """Exclude a network from allocation."""
        first = (int(network.network_address) >> self._shift) - self._first
        last = (int(network.broadcast_address) >> self._shift) - self._first
        if first == last:
            self._used.add(first)
        else:
            self._ranges.append((first, last))

    def allocate(self, requests: Sequence[tuple[int, int]]) -> list[Network | None]:
        """Allocate a network for each request.

        Args:
            requests: for each network, the number of its preferred block and the number of hosts.

        Returns:
            the network for each request; None if no free one is large enough.
        """
        networks: list[Network | None] = [None] * len(requests)
        sizes = [self._block_count(hosts) for _, hosts in requests]
        # First give each request its preferred block if that is free, then give the other requests any free block.
        for any_block in (False, True):
            for index, (number, _) in enumerate(requests):
                if networks[index] is None:
                    size = sizes[index]
                    preferred = -(-number // size) * size
                    candidates = range(0, self.size, size) if any_block else [preferred]
                    first = next((each for each in candidates if self._is_free(each, size)), None)
                    networks[index] = None if first is None else self._take(first, size)
        return networks

    def _block_count(self, hosts: int) -> int:
        """Return the number of consecutive blocks, a power of two, with enough addresses for the hosts."""
        return 1 << max(0, (hosts + 1).bit_length() - self._shift)

    def _is_free(self, number: int, count: int) -> bool:
        last = number + count - 1
        if last >= self.size or not self._used.isdisjoint(range(number, last + 1)):
            return False
        return not any(first <= last and number <= end for first, end in self._ranges)

    def _take(self, number: int, count: int) -> Network:
        self._used.update(range(number, number + count))
        base = (self._first + number) << self._shift
        kind = ipaddress.IPv4Network if self.network.version == 4 else ipaddress.IPv6Network
        return kind((base, self.prefixlen - count.bit_length() + 1))
