"""A host with TCP, UDP and ICMP echo. It does no I/O and owns no clock: `receive`, `poll`, `next_deadline`."""

from collections import deque
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from examples.tcp.connection import Connection, State
from examples.tcp.services import SERVICES, Discard, Echo, Service
from tunlab import PacketError
from tunlab.packet import ICMP, TCP, UDP, IPv4, Packet, TCPFlag, build, checksums, parse, reply

EPHEMERAL_PORTS = range(49152, 65536)
HEADERS = {4: 40, 6: 60}
"""Bytes of IP and TCP headers without options, by IP version."""
DEFAULT_SEGMENT_SIZE = {4: 536, 6: 1220}
"""RFC 9293 section 3.7.1."""


class Endpoint(NamedTuple):
    """An address and a port."""

    address: str
    port: int


class Stack:
    """One host. Times are nanoseconds of a monotonic clock; the caller passes them in.

    A caller hands every datagram for this host to `receive`, sends what `poll` returns, and calls `poll` again after
    each `receive`, after each call of the application and when `next_deadline` is due.
    """

    def __init__(
        self,
        *addresses: str,
        mtu: int = 1500,
        services: Mapping[int, Callable[[], Service]] = SERVICES,
        secret: bytes = b"",
    ) -> None:
        """Make a host.

        Args:
            addresses: The host's IPv4 addresses.
            mtu: The largest datagram in bytes, in both directions.
            services: The application for each port: a class or function that makes the application of a new connection.
            secret: A key for initial sequence numbers (RFC 6528): random bytes, or b"" for numbers that repeat.
        """
        self.addresses = addresses
        self._mtu = mtu
        self._services = dict(services)
        self._secret = secret
        self._now = 0
        self._out: list[bytes] = []
        self._connections: dict[tuple[Endpoint, Endpoint], Connection] = {}
        self._applications: dict[Connection, Service] = {}
        self._accepted: dict[int, deque[Connection]] = {}
        self._next_port = 0

    # ---- the network's side

    def receive(self, data: bytes, now: int) -> None:
        """Process a datagram. What is not for this host, damaged or a fragment is dropped."""
        self._now = now
        try:
            packet = parse(data)
        except PacketError:
            return
        ip = packet.ip
        if ip.dst not in self.addresses or ip.fragment_offset or ip.flags & 1:
            return
        if packet.missing or any(each.verdict == "bad" for each in checksums(packet)):
            return
        match packet.transport:
            case TCP() as tcp:
                self._receive_tcp(ip, tcp, packet.payload)
            case UDP() as udp:
                self._receive_udp(packet, udp)
            case ICMP(type=8):
                self._out.append(build(*reply(packet), packet.payload))

    def poll(self, now: int) -> list[bytes]:
        """Return the datagrams to send now."""
        self._now = now
        for key, connection in list(self._connections.items()):
            application = self._applications.get(connection)
            if application is not None:
                application.update(connection)
            connection.poll(now)
            if connection.state is State.CLOSED:
                del self._connections[key]
                self._applications.pop(connection, None)
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> int | None:
        """Return when `poll` is to be called at the latest; None if only a datagram or the application can matter."""
        if self._out:
            return self._now
        deadlines = (connection.next_deadline(self._now) for connection in self._connections.values())
        return min((each for each in deadlines if each is not None), default=None)

    # ---- the application's side

    def listen(self, port: int) -> None:
        """Accept connections to a port; `accept` returns them."""
        self._accepted.setdefault(port, deque())

    def accept(self, port: int) -> Connection | None:
        """Return the next established connection to a port on which `listen` was called; None if there is none."""
        waiting = self._accepted[port]
        return waiting.popleft() if waiting and waiting[0].state is not State.SYN_RECEIVED else None

    def connect(self, address: str, port: int, *, source: str = "", source_port: int = 0) -> Connection:
        """Return a connection whose SYN leaves with the next `poll`."""
        local = Endpoint(source or self.addresses[0], source_port or self._free_port())
        connection = self._add(local, Endpoint(address, port))
        connection.connect()
        return connection

    # ---- TCP

    def _receive_tcp(self, ip: IPv4, tcp: TCP, data: bytes) -> None:
        local, remote = Endpoint(ip.dst, tcp.dst_port), Endpoint(ip.src, tcp.src_port)
        connection = self._connections.get((local, remote))
        if connection is not None:
            connection.arrive(tcp, data, self._now)
            return
        listening = local.port in self._services or local.port in self._accepted
        if listening and tcp.flags & (TCPFlag.SYN | TCPFlag.ACK | TCPFlag.RST) == TCPFlag.SYN:
            connection = self._add(local, remote)
            connection.answer(tcp)
            if local.port in self._accepted:
                self._accepted[local.port].append(connection)
            else:
                self._applications[connection] = self._services[local.port]()
        elif not tcp.flags & TCPFlag.RST:
            self._refuse(local, remote, tcp, len(data))

    def _refuse(self, local: Endpoint, remote: Endpoint, tcp: TCP, length: int) -> None:
        """Answer a segment without a connection with a reset (RFC 9293 section 3.10.7.1)."""
        ports = {"src_port": local.port, "dst_port": remote.port, "window": 0}
        if tcp.flags & TCPFlag.ACK:
            reset = TCP(**ports, seq=tcp.ack, flags=TCPFlag.RST)
        else:
            length += bool(tcp.flags & TCPFlag.SYN) + bool(tcp.flags & TCPFlag.FIN)
            reset = TCP(**ports, ack=tcp.seq + length & 0xFFFFFFFF, flags=TCPFlag.RST | TCPFlag.ACK)
        self._send(local, remote, reset, b"")

    def _add(self, local: Endpoint, remote: Endpoint) -> Connection:
        version = 6 if ":" in local.address else 4
        connection = Connection(
            local,
            remote,
            initial=self._initial(local, remote),
            segment_size=self._mtu - HEADERS[version],
            default_segment_size=DEFAULT_SEGMENT_SIZE[version],
            send=lambda tcp, data: self._send(local, remote, tcp, data),
        )
        self._connections[local, remote] = connection
        return connection

    def _initial(self, local: Endpoint, remote: Endpoint) -> int:
        """Return an initial sequence number: a clock of 4 µs and a hash of the connection (RFC 6528 section 3)."""
        digest = blake2b(f"{local} {remote}".encode(), key=self._secret, digest_size=4).digest()
        return (self._now // 4000 + int.from_bytes(digest, "big")) & 0xFFFFFFFF

    def _free_port(self) -> int:
        used = {local.port for local, _ in self._connections}
        ports = chain(EPHEMERAL_PORTS[self._next_port :], EPHEMERAL_PORTS[: self._next_port])
        port = next(each for each in ports if each not in used)
        self._next_port = (port + 1 - EPHEMERAL_PORTS.start) % len(EPHEMERAL_PORTS)
        return port

    def _send(self, local: Endpoint, remote: Endpoint, transport: TCP | UDP | ICMP, data: bytes) -> None:
        self._out.append(build(IPv4(src=local.address, dst=remote.address), transport, data))

    # ---- UDP and ICMP

    def _receive_udp(self, packet: Packet, udp: UDP) -> None:
        """Serve echo and discard; any other port is unreachable (RFC 1122 section 4.1.3.1)."""
        local, remote = Endpoint(packet.ip.dst, udp.dst_port), Endpoint(packet.ip.src, udp.src_port)
        service = self._services.get(local.port)
        if service is Echo:
            self._send(local, remote, UDP(src_port=local.port, dst_port=remote.port), packet.payload)
        elif service is not Discard:
            quoted = bytes(packet)[: packet.ip.header_length + 8]
            self._send(local, remote, ICMP(type=3, code=3), quoted)
