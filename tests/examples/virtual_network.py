"""A virtual network of two TCP stacks of examples/tcp, in memory and in virtual time."""

import heapq
from itertools import count

from tunlab.packet import parse

MILLISECOND = 1_000_000


class VirtualNetwork:
    """A link with constant delay between two stacks.

    `packets` has each sent packet with its time. `lost` is a function that returns True for a packet to drop.
    """

    def __init__(self, *stacks, delay=10 * MILLISECOND, lost=lambda _: False):
        self.stacks, self.delay, self.lost = stacks, delay, lost
        self.now = 0
        self.packets = []
        self._flying = []
        self._order = count()

    def run(self, until=lambda: False, limit=20_000):
        """Run both stacks until `until()` is true, or until no packet and no timer is left."""
        for _ in range(limit):
            for stack in self.stacks:
                for data in stack.poll(self.now):
                    packet = parse(data)
                    self.packets.append((self.now, packet))
                    if not self.lost(packet):
                        self.send(stack, data)
            if until():
                return
            due = [each for each in (stack.next_deadline() for stack in self.stacks) if each is not None]
            due += [self._flying[0][0]] if self._flying else []
            if not due:
                return
            self.now = max(self.now, min(due))
            while self._flying and self._flying[0][0] <= self.now:
                _, _, target, data = heapq.heappop(self._flying)
                target.receive(data, self.now)
        raise AssertionError(f"still running after {limit} steps, at {self.now} ns")

    def send(self, sender, data):
        """Send a packet to the other stack. It arrives after the delay."""
        (target,) = (stack for stack in self.stacks if stack is not sender)
        heapq.heappush(self._flying, (self.now + self.delay, next(self._order), target, data))

    def tcp(self, src):
        """Return the time and the packet of each TCP segment that this address sent."""
        return [(time, packet) for time, packet in self.packets if packet.ip.src == src and packet.transport]
