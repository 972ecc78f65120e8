"""Read a full TUN queue with tunlab's reader and with a read(2) loop in C, in datagrams per second."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time

from benchmarks.measure import BenchmarkError, Goal, Outcome, Row, at_least, interleaved, ratio, told
from tunlab.kernel.netns import Netns
from tunlab.kernel.packet_socket import PacketSocket
from tunlab.kernel.tun import LARGEST_READ, TunDevice
from tunlab.packet import ICMP, IPv4, build

NAME = "reader"
KEPT, COUNTED = at_least(0.60), at_least(0.75)

Drain = Callable[[TunDevice], tuple[int, int]]
"""A function that empties the queue and returns the numbers of datagrams and bytes."""


@contextmanager
def c_drain() -> Iterator[Drain]:
    """Compile and load reader.c. Raises BenchmarkError without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("there is no C compiler on this machine: install gcc, the reader is measured against C")
    with TemporaryDirectory() as directory:
        source, library = Path(__file__).with_name("reader.c"), Path(directory, "reader.so")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"{Path(compiler).name} does not compile reader.c: {done.stderr.strip()}")
        function = ctypes.CDLL(str(library)).drain
        function.restype = ctypes.c_long
        function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.POINTER(ctypes.c_ulong)]
        buffer = ctypes.create_string_buffer(LARGEST_READ)

        def drain(device: TunDevice) -> tuple[int, int]:
            octets = ctypes.c_ulong(0)
            return function(device.fd, buffer, LARGEST_READ, ctypes.byref(octets)), octets.value

        yield drain


def kept(device: TunDevice) -> tuple[int, int]:
    """Read with `read_all`, which returns every datagram as an object."""
    datagrams = device.read_all()
    return len(datagrams), len(datagrams[0]) * len(datagrams)


def run(*, rounds: int = 41, datagrams: int = 4000) -> list[Outcome]:
    """Return the rows. Each round fills the queue with `datagrams` of 84 bytes and times only the reading."""
    datagram = build(IPv4(src="10.1.2.1", dst="10.1.2.2"), ICMP.echo_request(1, 1), bytes(56))
    with (
        c_drain() as in_c,
        Netns.create() as netns,
        TunDevice.create(netns) as device,
    ):
        device.configure(["10.1.2.1/24"], txqueuelen=10_000)
        with PacketSocket(netns, device.ifname, receive=False) as sender:

            def turn(drain: Drain) -> Callable[[], float]:
                def fill_and_drain() -> float:
                    for _ in range(datagrams):
                        sender.send(datagram)
                    start = thread_time()  # the work never waits, so time that other processes take is not counted
                    count, octets = drain(device)
                    took = thread_time() - start
                    if (count, octets) != (datagrams, datagrams * len(datagram)):
                        raise BenchmarkError(f"{datagrams} datagrams were sent and {count} read, of {octets} octets")
                    return took / datagrams

                return fill_and_drain

            drains = {"C": in_c, "read_all": kept, "count_all": TunDevice.count_all}
            times = interleaved({name: turn(drain) for name, drain in drains.items()}, rounds)
    return [
        _row(times, "read_all", "read_all: datagrams kept as octets, rate against C", KEPT),
        _row(times, "count_all", "count_all: datagrams counted, rate against C", COUNTED),
    ]


def _row(times: dict[str, list[float]], name: str, what: str, goal: Goal) -> Row:
    return Row(NAME, what, ratio(times, "C", name), "×", told(times, (name, "C"), "ns"), goal)
