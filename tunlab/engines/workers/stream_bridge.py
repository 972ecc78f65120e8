"""The program that pytest-xdist starts as a worker's "python": it connects pytest-xdist to the worker's container.

    python -I -S stream_bridge.py BROKER SLOT …

The controller listens at the abstract socket BROKER (see stream_broker) and passes the file descriptor of the
container's attached stream. Then this program copies data between the stream and its standard input and output, without
the controller. At the end it sends the last part of the worker's standard error to the broker.

It imports only the standard library, to start in a few milliseconds.
Source: unix(7) for SCM_RIGHTS and abstract names; the Docker Engine API, "Attach to a container", for the frames.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import threading

_FRAME = struct.Struct(">B3xL")  # the header of a frame: stream number, payload length in bytes
_STDERR = 2
_TAIL = 8192  # maximum number of bytes of standard error to keep


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of `data`, in several calls if necessary."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def forward_stdin(stream: socket.socket) -> None:
    """Copy standard input to the container until it ends, then close the container's standard input."""
    try:
        while data := os.read(0, 65_536):
            stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
    except OSError:  # The container or its engine is lost, which forward_output notices too.
        pass


def forward_output(stream: socket.socket) -> bytes:
    """Copy the container's output to standard output and error; return the last part of its standard error."""
    pending, tail = bytearray(), bytearray()
    try:
        while data := stream.recv(65_536):
            pending += data
            at, out = 0, bytearray()
            while len(pending) - at >= _FRAME.size:
                kind, size = _FRAME.unpack_from(pending, at)
                start, end = at + _FRAME.size, at + _FRAME.size + size
                if len(pending) < end:
                    break
                if kind == _STDERR:
                    write_all(2, pending[start:end])
                    tail = (tail + pending[start:end])[-_TAIL:]
                else:
                    out += pending[start:end]
                at = end
            del pending[:at]
            write_all(1, out)
    except OSError:  # The engine or pytest-xdist's controller is lost.
        pass
    return bytes(tail)


def main(name: str, slot: str) -> int:
    """Get the stream of the slot's container from the broker, and copy data; return the exit status."""
    # Ignore Ctrl-C, because pytest-xdist's controller ends the containers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as broker:
        broker.connect("\0" + name)
        broker.sendall(slot.encode() + b"\n")
        _, descriptors, _, _ = socket.recv_fds(broker, 1, 1)
        if not descriptors:  # The broker sends no descriptor if the worker has no container.
            return 1
        stream = socket.socket(fileno=descriptors[0])
        threading.Thread(target=forward_stdin, args=(stream,), daemon=True).start()
        tail = forward_output(stream)
        with contextlib.suppress(OSError):  # pytest-xdist's controller was killed.
            broker.sendall(tail)
    return 0


if __name__ == "__main__":
    _status = main(*sys.argv[1:3])
    with contextlib.suppress(OSError):
        sys.stdout.close()
    os._exit(_status)  # Exit without waiting for the thread that reads standard input.
