"""Devices under test for `fd:` targets: callables that get a descriptor."""

import os
import signal
import sys

from examples.tcp.__main__ import run
from examples.tcp.stack import Stack
from tunlab.packet import UDP, IPv4, build


def serve_tcp(descriptor, address, control):
    """Run the stack of examples/tcp on a descriptor."""
    run(Stack(address), descriptor, control)


def abort_at_first_packet(descriptor):
    """Crash with a message when a packet arrives."""
    os.read(descriptor, 65536)
    sys.stdout.write("assertion failed: rcv_nxt <= seq\n")
    os.abort()


def exit_at_first_packet(descriptor):
    """Exit with status 3 when a packet arrives."""
    os.read(descriptor, 65536)
    sys.exit(3)


def exit_at_once(_):
    """Exit with status 4 and a message."""
    sys.exit("no configuration file")


def hang(_):
    """Read nothing, and ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("waiting for a lock\n")
    while True:
        signal.pause()


def close_descriptor(descriptor):
    """Close the descriptor when a packet arrives, and go on."""
    os.read(descriptor, 65536)
    os.close(descriptor)
    signal.pause()


def flood(descriptor, address):
    """Send packets without pause."""
    data = build(IPv4(src=address, dst="10.1.2.2"), UDP(src_port=1, dst_port=2), b"flood")
    while True:
        os.write(descriptor, data)


def send_garbage(descriptor):
    """Send bytes that are not packets: one byte, a wrong version, a header that is cut short, and an empty message."""
    for data in (b"\x45", b"\xf0" * 40, b"\x45\x00\x00\x14" + bytes(6), b""):
        os.write(descriptor, data)
    signal.pause()


def leave_processes(descriptor):
    """Start a daemon: a process in a session of its own, whose parent has ended. It prints its process ID."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            sys.stdout.write(f"daemon {os.getpid()}\n")
        else:
            os._exit(0)
    os.read(descriptor, 65536)
    signal.pause()


class Broken(Stack):
    """A stack whose methods tests replace."""


def return_packets(descriptor):
    """Write each packet back as it came."""
    while True:
        os.write(descriptor, os.read(descriptor, 65536))
