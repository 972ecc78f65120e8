"""Decode bytes to every field with tunlab, scapy, dpkt and pypacker.

Each library decodes the same five datagrams equally often and reads every field of every layer, including options, in
the way that its documentation recommends. Fields stay in the library's own form: addresses need not become text.
Before the measurement all results are converted to a common form and must be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from time import thread_time
from typing import Any

from benchmarks.decoders import (
    dpkt_reader,
    dpkt_text_reader,
    pypacker_reader,
    scapy_reader,
    tunlab_reader,
)
from benchmarks.measure import (
    BenchmarkError,
    Goal,
    Outcome,
    Row,
    Skipped,
    at_least,
    format_medians,
    measure_in_turns,
    ratio,
    repeat,
)
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build, ip_options, tcp_options

NAME = "decode"
FASTEST, SCAPY = at_least(2.5), at_least(100)

Decoder = tuple[Callable[[bytes], Any], Callable[[Any], tuple[Any, ...]]]
"""A function that reads every field of a datagram (timed), and one that converts the result for comparison (not)."""

PEERS: dict[str, Callable[[], Decoder]] = {"scapy": scapy_reader, "dpkt": dpkt_reader, "pypacker": pypacker_reader}


def datagrams() -> dict[str, bytes]:
    """Return the five datagrams. No library parses their ports, so only IPv4 and transport are compared."""
    ends = {"src": "10.1.2.2", "dst": "10.1.2.1"}
    ports = {"src_port": 40000, "dst_port": 40001}
    syn = [
        tcp_options.MSS(1460),
        tcp_options.SACKPermitted(),
        tcp_options.Timestamps(0x11223344, 0),
        tcp_options.NOP,
        tcp_options.WindowScale(7),
    ]
    ip = [ip_options.RouterAlert(), ip_options.RecordRoute(["10.1.2.9", "0.0.0.0"]), ip_options.NOP]
    ack = TCPFlag.ACK | TCPFlag.PSH
    return {
        "ICMP echo": build(IPv4(**ends, identification=1), ICMP.echo_request(7, 8), bytes(range(56))),
        "TCP SYN": build(IPv4(**ends, identification=2, flags=2), TCP(**ports, seq=9, flags=TCPFlag.SYN, options=syn)),
        "TCP 1460": build(
            IPv4(**ends, identification=3, flags=2), TCP(**ports, seq=10, ack=11, flags=ack), b"\xa5" * 1460
        ),
        "UDP 200": build(IPv4(**ends, identification=4, dscp=46, ecn=1), UDP(**ports), b"\x5a" * 200),
        "UDP options": build(IPv4(**ends, identification=5, ttl=1, options=ip), UDP(**ports), b"\xc3" * 32),
    }


def contenders() -> tuple[dict[str, Decoder], list[str]]:
    """Return the decoders of the installed libraries, tunlab first, and the names of missing libraries."""
    absent = [name for name in PEERS if find_spec(name) is None]
    found = {name: make() for name, make in PEERS.items() if name not in absent}
    return {"tunlab": tunlab_reader(), **found}, absent


def check_equal(decoders: dict[str, Decoder]) -> None:
    """Raise BenchmarkError if a library reads other values, or fewer, than tunlab."""
    for kind, data in datagrams().items():
        wanted: tuple[Any, ...] = ()
        for name, (read, common) in decoders.items():
            values = common(read(data))
            wanted = wanted or values
            if values != wanted:
                raise BenchmarkError(
                    f"{name} reads {values} from {kind}, and tunlab reads {wanted}. Change the readers until they agree"
                )


# Fewer repetitions for slower libraries: measurements of equal duration are disturbed equally often.
SHARE = {
    "tunlab": 1.0,
    "tunlab, options as objects": 0.9,
    "dpkt": 0.5,
    "dpkt, addresses as text": 0.4,
    "pypacker": 0.2,
    "scapy": 0.02,
}


def run(*, rounds: int = 61, repeats: int = 400) -> list[Outcome]:
    """Return the rows. Per round tunlab decodes the datagrams `repeats` times, slower libraries fewer times."""
    decoders, absent = contenders()
    check_equal(decoders)
    packets = list(datagrams().values())

    def turn(name: str, packets: list[bytes]) -> Callable[[], float]:
        read = decoders[name][0]

        def all_of_them() -> None:
            for each in packets:
                read(each)

        one = repeat(all_of_them, max(1, round(repeats * SHARE[name])), thread_time)
        return lambda: one() / len(packets)

    times = measure_in_turns({name: turn(name, packets) for name in decoders}, rounds)
    rows: list[Outcome] = []
    peers = [name for name in decoders if name != "tunlab"]
    if peers:
        fastest = min(peers, key=lambda name: ratio(times, name, "tunlab"))
        rows.append(_row(times, fastest, f"rate against {fastest}, the fastest peer here", None if absent else FASTEST))
        others = [name for name in peers if name != fastest] + (["scapy"] if fastest == "scapy" else [])
        rows += [_row(times, name, f"rate against {name}", SCAPY if name == "scapy" else None) for name in others]
        decoders["tunlab, options as objects"] = tunlab_reader(typed=True)
        text = "  tunlab with options as objects"
        rows += _against(turn, packets, "tunlab, options as objects", text, rounds)
        if "dpkt" in peers:
            decoders["dpkt, addresses as text"] = dpkt_text_reader()
            rows += _against(turn, packets, "dpkt, addresses as text", "rate against dpkt, addresses as text", rounds)
        for kind, data in datagrams().items():
            rows += _against(turn, [data], fastest, f"  {kind} against {fastest}", max(1, rounds // 3))
    rows += [Skipped(NAME, f"rate against {name}", "it is not installed") for name in absent]
    return rows


def _against(
    turn: Callable[[str, list[bytes]], Callable[[], float]],
    packets: list[bytes],
    peer: str,
    what: str,
    rounds: int,
    ours: str = "tunlab",
) -> list[Outcome]:
    times = measure_in_turns({name: turn(name, packets) for name in (ours, peer)}, rounds)
    return [Row(NAME, what, ratio(times, peer, ours), "×", format_medians(times, (ours, peer)), None)]


def _row(times: dict[str, list[float]], peer: str, what: str, goal: Goal | None) -> Row:
    return Row(NAME, what, ratio(times, peer, "tunlab"), "×", format_medians(times, ("tunlab", peer)), goal)
