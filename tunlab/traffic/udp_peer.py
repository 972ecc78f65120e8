"""UDPPeer: a host that exchanges datagrams with one port of the device."""

from __future__ import annotations

from typing import Any

from tunlab.packet import UDP, Packet
from tunlab.traffic.expectation import Expectation
from tunlab.traffic.peer import Peer


class UDPPeer(Peer):
    """A host that exchanges UDP datagrams with one port of the device: `tun.udp(53)`, or `tun.udp(listen=53)`."""

    _header = UDP

    def send(self, data: bytes = b"", **fields: Any) -> None:
        """Send a datagram; `fields` override those of the UDP header: `checksum=1`."""
        __tracebackhide__ = True
        self._check_remote()
        ports = {"src_port": self.local[1], "dst_port": self.remote[1]}
        self.packet_port.inject(self.ip, UDP(**(ports | fields)), data)

    def expect(self, *wanted: Expectation, timeout: float | None = None, **fields: Any) -> Packet:
        """Wait for a datagram from the device's port to this peer, and return it. `fields` are as for `UDP.where`.

        Other packets stay unread. Raises ExpectationError at the timeout, as `Tun.expect` does.
        """
        __tracebackhide__ = True
        expected = self._connection() & UDP.where(**fields)
        packet = self.packet_port.expect(expected, *wanted, timeout=timeout, among=self._is_mine)
        self._answer(packet)
        return packet

    def expect_none(self, *unwanted: Expectation, timeout: float | None = None, **fields: Any) -> None:
        """Assert that no such datagram is unread, as `Tun.expect_none` does."""
        __tracebackhide__ = True
        self.packet_port.expect_none(self._connection() & UDP.where(**fields), *unwanted, timeout=timeout)
