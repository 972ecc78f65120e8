"""The program that pytest-xdist starts as a worker's "python": it joins that worker's two ends.

    python -I -S claim.py GATE SLOT …

The controller, which has the container's attached stream, listens at the abstract socket GATE and hands the stream over
as a descriptor; from then on octets go between it and this program's standard input and output, and the controller has
no part in it. At the end the last of what the worker wrote to its standard error goes back through the gate.
Stands on the standard library alone, to start in a few milliseconds. Source: unix(7) for SCM_RIGHTS and abstract names;
the Docker Engine API, "Attach to a container", for the frames.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import threading

_FRAME = struct.Struct(">B3xL")  # stream, then octets of payload
_STDERR = 2
_TAIL = 8192


def write(descriptor: int, octets: bytes | bytearray) -> None:
    """All of it, however much a pipe takes at a time."""
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def forward(stream: socket.socket) -> None:
    """Standard input into the container until it ends; then the container's own ends, too."""
    try:
        while octets := os.read(0, 65_536):
            stream.sendall(octets)
        stream.shutdown(socket.SHUT_WR)
    except OSError:  # the container, or its engine, is gone: the other direction says so
        pass


def backward(stream: socket.socket) -> bytes:
    """The container's output until it ends; returns the end of its standard error."""
    pending, tail = bytearray(), bytearray()
    try:
        while octets := stream.recv(65_536):
            pending += octets
            at, out = 0, bytearray()
            while len(pending) - at >= _FRAME.size:
                kind, size = _FRAME.unpack_from(pending, at)
                start, end = at + _FRAME.size, at + _FRAME.size + size
                if len(pending) < end:
                    break
                if kind == _STDERR:
                    write(2, pending[start:end])
                    tail = (tail + pending[start:end])[-_TAIL:]
                else:
                    out += pending[start:end]
                at = end
            del pending[:at]
            write(1, out)
    except OSError:  # the engine is gone, or the controller
        pass
    return bytes(tail)


def main(name: str, slot: str) -> int:
    """Take the stream of the slot's container, and join; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's, which then ends the containers
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect("\0" + name)
        gate.sendall(slot.encode() + b"\n")
        _, descriptors, _, _ = socket.recv_fds(gate, 1, 1)
        if not descriptors:  # there is no container for this slot
            return 1
        stream = socket.socket(fileno=descriptors[0])
        threading.Thread(target=forward, args=(stream,), daemon=True).start()
        said = backward(stream)
        with contextlib.suppress(OSError):  # a controller that was killed asks no more
            gate.sendall(said)
    return 0


if __name__ == "__main__":
    _status = main(*sys.argv[1:3])
    with contextlib.suppress(OSError):
        sys.stdout.close()
    os._exit(_status)  # the thread at standard input may wait for ever
