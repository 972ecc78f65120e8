"""PeerFactory: the methods `tcp` and `udp` of objects that inject and expect packets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import count
from typing import Protocol

from tunlab.traffic.peer import PacketPort
from tunlab.traffic.tcp_endpoint import DEFAULT_ISS
from tunlab.traffic.tcp_peer import TCPPeer
from tunlab.traffic.udp_peer import UDPPeer

FIRST_PORT = 40_000


class PeerFactory(PacketPort, Protocol):
    """The base class of objects whose packets peers send and receive."""

    def tcp(
        self,
        port: int = 0,
        *,
        listen: int = 0,
        src: str = "",
        src_port: int = 0,
        dst: str = "",
        iss: int = DEFAULT_ISS,
        window: int = 65_535,
        mss: int | None = 0,
        window_scale: int | None = None,
        timestamps: bool | int = False,
        sack: bool = False,
    ) -> TCPPeer:
        """Return a TCP peer for a port of the device, or one that listens: `tun.tcp(80).handshake()`.

        Args:
            port: Port of the device.
            listen: Port of a peer that waits for the device's SYN; give this or `port`.
            src: Address of the peer; "" is `peer`, or `peer6` if `dst` is an IPv6 address.
            src_port: Port of a peer that does not listen; 0 is 40,000 and the next one for each further peer.
            dst: Address of the device; "" is `address`, or `address6` if `src` is an IPv6 address.
            iss: Initial sequence number.
            window: Receive window in bytes.
            mss: MSS option; 0 is 1460 over IPv4 and 1440 over IPv6, None sends none.
            window_scale: Window scale option; None sends none.
            timestamps: True for the timestamps option; a number is the first timestamp.
            sack: True for the option that permits selective acknowledgements.
        """
        __tracebackhide__ = True
        return TCPPeer(
            self,
            port,
            listen=listen,
            src=src,
            src_port=src_port or next(self._src_ports),
            dst=dst,
            iss=iss,
            window=window,
            mss=mss,
            window_scale=window_scale,
            timestamps=timestamps,
            sack=sack,
        )

    def udp(self, port: int = 0, *, listen: int = 0, src: str = "", src_port: int = 0, dst: str = "") -> UDPPeer:
        """Return a UDP peer for a port of the device, or one that listens. Arguments as for `tcp`."""
        __tracebackhide__ = True
        return UDPPeer(self, port, listen=listen, src=src, src_port=src_port or next(self._src_ports), dst=dst)

    @cached_property
    def _src_ports(self) -> Iterator[int]:
        return count(FIRST_PORT)
