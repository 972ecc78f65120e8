"""Run the stack on a TUN device: `python -m examples.tcp tun0 10.1.2.2`, or `fd:N` for an inherited descriptor.

Serves echo, discard and character generation, and with `--http FILE` that file on port 80. The device and its address
belong to someone else: `tunlab up` or the fixture `dut` makes them.
"""

import argparse
import fcntl
import os
import secrets
import select
import struct
import time
from pathlib import Path

from examples.tcp.control import ControlServer
from examples.tcp.services import SERVICES, HttpFile
from examples.tcp.stack import Stack

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # <linux/if_tun.h>


def open_device(name: str) -> int:
    """Return a file descriptor of the TUN device with this name, or the inherited descriptor N for `fd:N`."""
    if name.startswith("fd:"):
        return int(name[3:])
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def run(stack: Stack, descriptor: int, control: int | None = None) -> None:
    """Pass packets between the TUN device and the stack until the device is gone.

    `control` is the descriptor of a control channel.
    """
    os.set_blocking(descriptor, False)
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    server = None
    if control is not None:
        server = ControlServer(stack, control)
        ready.register(control, select.POLLIN)
    while True:
        for datagram in stack.poll(time.monotonic_ns()):
            os.write(descriptor, datagram)
        deadline = stack.next_deadline()
        wait = None if deadline is None else max(0, deadline - time.monotonic_ns()) / 1e6
        readable = [each for each, _ in ready.poll(wait)]
        if server and control in readable:
            server.serve()
        if descriptor not in readable:
            continue
        try:
            datagram = os.read(descriptor, 65536)
        except BlockingIOError:
            continue
        if not datagram:
            return
        stack.receive(datagram, time.monotonic_ns())


def main() -> None:
    """Parse the command line, and run the stack on the device."""
    parser = argparse.ArgumentParser(prog="python -m examples.tcp", description=__doc__.splitlines()[0])
    parser.add_argument("device", help="name of a TUN device, or fd:N")
    parser.add_argument("address", nargs="+", help="an IPv4 address of the host in user space")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--http", type=Path, metavar="FILE", help="serve this file on port 80")
    parser.add_argument("--control", type=int, metavar="FD", help="descriptor of a control channel of tunlab's dut")
    options = parser.parse_args()
    services = dict(SERVICES)
    if options.http:
        content = options.http.read_bytes()
        services[80] = lambda: HttpFile(content)
    stack = Stack(*options.address, mtu=options.mtu, services=services, secret=secrets.token_bytes(16))
    descriptor = open_device(options.device)
    print("ready", flush=True)
    run(stack, descriptor, options.control)


if __name__ == "__main__":
    main()
