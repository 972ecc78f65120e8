"""A name server for the nodes of a lab: one process, with two sockets in each node at 127.0.0.53, port 53: UDP, TCP.

The sockets are bound by whoever starts it, so that nobody has to wait for it: what is asked before it runs waits in
them. It lives in the first node's namespace, and ends as any program of the lab does.

Source: RFC 1035 for the messages, RFC 7766 for TCP, RFC 3596 for AAAA, RFC 6303 for what is not asked any further.
Rule for editors: this file is also the server's whole program, run by `python -I -S`: the standard library only, and
nothing of tunlab at the top.
"""

from __future__ import annotations

import ipaddress
import json
import os
import resource
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.topology.plan import LabPlan

ADDRESS, PORT = "127.0.0.53", 53
RESOLV_CONF = f"nameserver {ADDRESS}\nsearch lab\n"

_AT_ONCE = 64  # nodes in a message, with two descriptors each: SCM_MAX_FD is 253
_STREAMS = 64  # connections at once; of more, the oldest is closed (RFC 7766 section 6.2.3 lets a server)
_TTL = 0  # a lab that is made anew has other addresses
_HEADER = struct.Struct("!HHHHHH")  # identifier, flags, and how many of each section
_RESPONSE, _OPCODE, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x7800, 0x0400, 0x0100, 0x0080
_FORMAT_ERROR, _NAME_ERROR, _NOT_IMPLEMENTED = 1, 3, 4
_A, _PTR, _AAAA, _ANY, _IN = 1, 12, 28, 255, 1

Names = dict[str, list[str]]
"""Addresses by name, and for each address, in its reverse form, the name."""


# ---- our side ------------------------------------------------------------------------------------------------------


def start(plan: LabPlan, namespaces: Mapping[str, Netns]) -> subprocess.Popen[Any] | None:
    """Start it for the nodes that have no /etc/resolv.conf of their own; None if nobody there has anybody to ask for.

    Raises KernelError.
    """
    asking = [
        namespaces[node.name]
        for node in plan.nodes
        if node.kind not in ("switch", "container") and "/etc/resolv.conf" not in dict(node.files)
    ]
    if len(asking) < 2 or not plan.hosts:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        server = asking[0].popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        table = os.memfd_create("names")
        try:
            os.write(table, json.dumps(names_of(plan.hosts)).encode())
            socket.send_fds(ours, [b"n"], [table])
        finally:
            os.close(table)
        for begin in range(0, len(asking), _AT_ONCE):
            doors = _bound(asking[begin : begin + _AT_ONCE])
            try:
                socket.send_fds(ours, [b"s"], [door.fileno() for door in doors])
            finally:
                for door in doors:
                    door.close()
    return server


def _bound(namespaces: Sequence[Netns]) -> list[socket.socket]:
    from tunlab.kernel.namespace.netns_thread import run_in_thread

    doors = []

    def inside() -> None:
        for netns in namespaces:
            netns.enter()
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                door = socket.socket(socket.AF_INET, kind)
                doors.append(door)
                # A name server that somebody runs in a node shall have the port on its other addresses.
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                door.bind((ADDRESS, PORT))
                if kind == socket.SOCK_STREAM:
                    door.listen()

    try:
        run_in_thread(inside)
    except BaseException:
        for door in doors:
            door.close()
        raise
    return doors


def names_of(hosts: Sequence[tuple[str, Sequence[str]]]) -> Names:
    """The server's table: of ("10.0.1.1", ("client", "client.lab")), each name's addresses and the address's name."""
    table: Names = {}
    for address, names in hosts:
        for name in names:
            table.setdefault(name.lower(), []).append(address)
        table[ipaddress.ip_address(address).reverse_pointer] = [names[-1]]
    return table


# ---- the server's side ---------------------------------------------------------------------------------------------


def answer(query: bytes, table: Mapping[str, Sequence[str]]) -> bytes | None:
    """The response to a query; None for what is none, and deserves no answer."""
    if len(query) < _HEADER.size:
        return None
    identifier, flags, questions, *_ = _HEADER.unpack_from(query)
    if flags & _RESPONSE:
        return None
    said = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & (_RECURSION_DESIRED | _OPCODE)
    if flags & _OPCODE:
        return _HEADER.pack(identifier, said | _NOT_IMPLEMENTED, 0, 0, 0, 0)
    parsed = _question(query) if questions == 1 else None
    if parsed is None:
        return _HEADER.pack(identifier, said | _FORMAT_ERROR, 0, 0, 0, 0)
    name, kind, kind_class, end = parsed
    known = table.get(name)
    records = [] if known is None or kind_class != _IN else [_record(each) for each in known]
    records = [record for record in records if kind in (_ANY, struct.unpack_from("!H", record, 2)[0])]
    code = _NAME_ERROR if known is None else 0
    # Each record is of the name that was asked for, which stands at offset 12 (RFC 1035 section 4.1.4).
    head = _HEADER.pack(identifier, said | code, 1, len(records), 0, 0)
    return head + query[_HEADER.size : end] + b"".join(records)


def _question(query: bytes) -> tuple[str, int, int, int] | None:
    """Its name, type and class, and where it ends; None for one that does not hold together."""
    labels, offset = [], _HEADER.size
    while offset < len(query) and (length := query[offset]):
        if length > 63 or offset + 1 + length > len(query):  # a pointer has nothing to point at in a question
            return None
        labels.append(query[offset + 1 : offset + 1 + length].decode("latin-1").lower())
        offset += 1 + length
    if offset + 5 > len(query):
        return None
    kind, kind_class = struct.unpack_from("!HH", query, offset + 1)
    return ".".join(labels), kind, kind_class, offset + 5


def _record(value: str) -> bytes:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        kind, data = _PTR, b"".join(bytes([len(label)]) + label.encode() for label in value.split(".")) + b"\0"
    else:
        kind, data = (_A if address.version == 4 else _AAAA), address.packed
    return struct.pack("!HHHIH", 0xC000 | _HEADER.size, kind, _IN, _TTL, len(data)) + data


def main() -> None:
    """Be the server: standard input brings the table and the sockets."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    link = socket.socket(fileno=0)
    _, (table_fd,), _, _ = socket.recv_fds(link, 1, 1)
    with open(table_fd, "rb") as file:  # noqa: PTH123
        file.seek(0)
        table: Names = json.load(file)
    server = _Server(table)
    while True:
        kind, fds, _, _ = socket.recv_fds(link, 1, 2 * _AT_ONCE)
        for fd in fds:
            server.add(socket.socket(fileno=fd))
        if not kind:  # end of file: that was all
            break
    while True:
        server.serve()


class _Server:
    """Answers at its doors, and on the connections that came in there, whichever speaks first."""

    def __init__(self, table: Names) -> None:
        self._table = table
        self._doors: dict[int, socket.socket] = {}
        self._streams: dict[int, tuple[socket.socket, bytearray]] = {}
        self._poll = select.poll()

    def add(self, door: socket.socket) -> None:
        """Answer at this one too, a UDP socket or a TCP socket that listens."""
        door.setblocking(False)
        self._doors[door.fileno()] = door
        self._poll.register(door, select.POLLIN)

    def serve(self) -> None:
        """Wait until somebody asks, and answer all who do."""
        for fd, _ in self._poll.poll():
            try:
                if fd in self._streams:
                    self._read(*self._streams[fd])
                elif fd in self._doors:  # it may be that of a connection which made room for another meanwhile
                    self._open(self._doors[fd])
            except OSError:  # who asked is gone again, or its namespace; of a connection, nothing more will come
                if fd in self._streams:
                    self._drop(fd)

    def _open(self, door: socket.socket) -> None:
        if door.type == socket.SOCK_DGRAM:
            query, sender = door.recvfrom(4096)
            response = answer(query, self._table)
            if response is not None:
                door.sendto(response, sender)
            return
        stream, _ = door.accept()
        stream.setblocking(False)
        if len(self._streams) >= _STREAMS:
            self._drop(next(iter(self._streams)))
        self._streams[stream.fileno()] = stream, bytearray()
        self._poll.register(stream, select.POLLIN)

    def _read(self, stream: socket.socket, received: bytearray) -> None:
        """Answer every query that is there whole: each message stands behind its length (RFC 1035 section 4.2.2)."""
        try:
            octets = stream.recv(65_536)
        except BlockingIOError:  # nothing after all: the descriptor is another connection's by now
            return
        if not octets:
            raise ConnectionResetError
        received += octets
        while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
            response = answer(bytes(received[2:end]), self._table)
            del received[:end]
            if response is None:
                raise ConnectionResetError
            framed = len(response).to_bytes(2, "big") + response
            if stream.send(framed, socket.MSG_NOSIGNAL) < len(framed):  # they ask and ask, and never read
                raise ConnectionResetError

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._streams.pop(fd)[0].close()


if __name__ == "__main__":
    main()
