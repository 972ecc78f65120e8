"""Benchmark `reader`: tunlab and a loop of read(2) in C read all packets from the queue of a TUN device."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time

from benchmarks.measure import BenchmarkError, Goal, Outcome, Row, at_least, format_medians, measure_in_turns, ratio
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import MAX_READ_SIZE, TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import ICMP, IPv4, build

NAME = "reader"
KEPT, COUNTED = at_least(0.60), at_least(0.75)

Drain = Callable[[TunDevice], tuple[int, int]]
"""A function that empties the queue and returns the numbers of packets and bytes."""


@contextmanager
def c_drain() -> Iterator[Drain]:
    """Compile reader.c and yield its function, which empties the queue of a TUN device.

    Raises:
        BenchmarkError: There is no C compiler.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("no C compiler found; install gcc, because the reader is compared with C")
    with TemporaryDirectory() as directory:
        source, library = Path(__file__).with_name("reader.c"), Path(directory, "reader.so")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"{Path(compiler).name} cannot compile reader.c: {done.stderr.strip()}")
        function = ctypes.CDLL(str(library)).drain
        function.restype = ctypes.c_long
        function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.POINTER(ctypes.c_ulong)]
        buffer = ctypes.create_string_buffer(MAX_READ_SIZE)

        def drain(device: TunDevice) -> tuple[int, int]:
            size = ctypes.c_ulong(0)
            return function(device.fd, buffer, MAX_READ_SIZE, ctypes.byref(size)), size.value

        yield drain


def read_all(device: TunDevice) -> tuple[int, int]:
    """Empty the queue with `TunDevice.read_all`. Return the numbers of packets and of bytes."""
    packets = device.read_all()
    return len(packets), len(packets[0]) * len(packets)


def run(*, rounds: int = 41, packets: int = 4000) -> list[Outcome]:
    """Run the benchmark and return its rows. Each turn fills the queue with packets of 84 bytes and reads them."""
    packet = build(IPv4(src="10.1.2.1", dst="10.1.2.2"), ICMP.echo_request(1, 1), bytes(56))
    with (
        c_drain() as in_c,
        Netns.create() as netns,
        TunDevice.create(netns) as device,
    ):
        device.configure(["10.1.2.1/24"], txqueuelen=10_000)
        with PacketSocket(netns, device.ifname, receive=False) as sender:

            def turn(drain: Drain) -> Callable[[], float]:
                def fill_and_drain() -> float:
                    for _ in range(packets):
                        sender.send(packet)
                    start = thread_time()  # thread_time() leaves out the time in which other processes run.
                    count, size = drain(device)
                    took = thread_time() - start
                    if (count, size) != (packets, packets * len(packet)):
                        raise BenchmarkError(f"{packets} packets were sent, but {count} with {size} bytes read")
                    return took / packets

                return fill_and_drain

            drains = {"C": in_c, "read_all": read_all, "discard_all": TunDevice.discard_all}
            times = measure_in_turns({name: turn(drain) for name, drain in drains.items()}, rounds)
    return [
        _row(times, "read_all", "read_all: packets kept as bytes, rate against C", KEPT),
        _row(times, "discard_all", "discard_all: packets counted, rate against C", COUNTED),
    ]


def _row(times: dict[str, list[float]], name: str, what: str, goal: Goal) -> Row:
    return Row(NAME, what, ratio(times, "C", name), "×", format_medians(times, (name, "C"), "ns"), goal)
