"""Benchmark `peer`: a TCP peer sends a segment and expects its ACK, against `inject` and `expect` of the same packets.

The device has acknowledged the segment before, so it answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface

from benchmarks.measure import Outcome, Row, at_most, format_medians, measure_in_turns, ratio, repeat
from tunlab import DutSettings, Target, Tun, open_dut
from tunlab.packet import TCP, IPv4, TCPFlag
from tunlab.traffic.endpoint import Endpoint

NAME = "peer"
AGAINST_BY_HAND = at_most(2)
PORT = 9
DEVICES = {"object": "object:examples.tcp.stack:Stack", "descriptor": "fd:tests.dut.devices:serve_tcp"}


@contextmanager
def endpoints() -> Iterator[dict[str, Endpoint]]:
    """Open an endpoint of each kind, whose port `PORT` discards data."""
    with ExitStack() as opened:
        tun = opened.enter_context(Tun.create())
        tun.listen(PORT)
        settings = DutSettings(addresses=(ip_interface("10.1.2.1/24"),))
        devices = {name: opened.enter_context(open_dut(Target.parse(text), settings)) for name, text in DEVICES.items()}
        yield {"kernel": tun, **devices}


def by_peer_and_by_hand(endpoint: Endpoint) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return both functions for one connection. Each sends a byte again and waits for the ACK."""
    peer = endpoint.tcp(PORT).handshake()
    peer.send(b"x")
    peer.expect(flags=TCPFlag.ACK)
    ip, tcp, _ = peer.segment(b"x", seq=1)
    ports = {"src_port": tcp.src_port, "dst_port": tcp.dst_port}
    answer = {"src_port": tcp.dst_port, "dst_port": tcp.src_port, "seq": tcp.ack, "ack": tcp.seq + 1}

    def by_peer() -> None:
        peer.send(b"x", seq=1)
        peer.expect(flags=TCPFlag.ACK)

    def by_hand() -> None:
        segment = TCP(**ports, seq=tcp.seq, ack=tcp.ack, flags=TCPFlag.PSH | TCPFlag.ACK)
        endpoint.inject(IPv4(src=ip.src, dst=ip.dst), segment, b"x")
        endpoint.expect(TCP.where(**answer, flags=TCPFlag.ACK), IPv4.where(src=ip.dst, dst=ip.src))

    return by_peer, by_hand


def run(*, rounds: int = 15, repeats: int = 200) -> list[Outcome]:
    """Run the benchmark and return its rows."""
    rows: list[Outcome] = []
    with endpoints() as opened:
        turns: dict[str, Callable[[], float]] = {}
        for kind, endpoint in opened.items():
            by_peer, by_hand = by_peer_and_by_hand(endpoint)
            turns |= {f"{kind}, peer": repeat(by_peer, repeats), f"{kind}, by hand": repeat(by_hand, repeats)}
        times = measure_in_turns(turns, rounds)
    for kind in opened:
        names = f"{kind}, peer", f"{kind}, by hand"
        what = f"a segment and its ACK, {kind}, against by hand"
        rows.append(Row(NAME, what, ratio(times, *names), "×", format_medians(times, names), AGAINST_BY_HAND))
    return rows
