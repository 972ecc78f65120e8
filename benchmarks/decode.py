"""Benchmark `decode`: tunlab, scapy, dpkt and pypacker decode packets and read every field.

Each library decodes the same packets equally often and reads every field of every layer, with options, in the way that
its documentation recommends. A field may have the library's own form: addresses need not become text. Before the
measurement all results are converted to a common form and must be equal.

The packets are 1,000 packets of public captures, from the folder named in TUNLAB_CORPUS, which is not part of the
project. Without that folder they are five packets made here. A row about one kind of packet always uses these five.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import thread_time
from typing import Any

from benchmarks.decoders import (
    dpkt_reader,
    dpkt_text_reader,
    pypacker_reader,
    scapy_parser,
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
    at_most,
    format_medians,
    measure_in_turns,
    ratio,
    repeat,
)
from tunlab.errors import PacketError
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build, ip_options, parse, summary, tcp_options

NAME = "decode"
FASTEST, NEW_ADDRESSES, SCAPY, SUMMARY = at_least(3.0), at_least(2.0), at_least(85), at_most(8.0)
CORPUS_SIZE = 1000
"""The number of packets that are drawn from the corpus."""
NO_APPLICATION = (40000).to_bytes(2, "big") + (40001).to_bytes(2, "big")
"""Ports of which no library decodes the payload, so that only IPv4 and the transport header are compared."""

Decoder = tuple[Callable[[bytes], Any], Callable[[Any], tuple[Any, ...]]]
"""A function that reads every field of a datagram (timed), and one that converts the result for comparison (not)."""

PEERS: dict[str, Callable[[], Decoder]] = {"scapy": scapy_reader, "dpkt": dpkt_reader, "pypacker": pypacker_reader}


def datagrams() -> dict[str, bytes]:
    """Return five packets by name. Their ports belong to no known application, so no library parses the payload."""
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


def all_corpus_packets() -> list[bytes]:
    """Return all packets of the corpus that begin with an IPv4 header, in random order; empty without a corpus."""
    folder = os.environ.get("TUNLAB_CORPUS")
    if not folder:
        return []
    with gzip.open(Path(folder, "ipv4.jsonl.gz"), "rt") as lines:
        found = [bytes.fromhex(json.loads(line)["hex"]) for line in lines]
    random.Random(1).shuffle(found)
    return [data for data in found if _begins_with_ipv4(data)]


def _begins_with_ipv4(data: bytes) -> bool:
    try:
        return IPv4 in parse(data)
    except PacketError:
        return False


def corpus_packets(decoders: dict[str, Decoder]) -> tuple[list[bytes], list[bytes]]:
    """Return two lists of the same random corpus packets, which all libraries decode equally.

    In the first list the ports are replaced, so that no library parses the payload. The second list has the original
    ports. Without TUNLAB_CORPUS both lists are empty.
    """
    packets: list[bytes] = []
    captured: list[bytes] = []
    for original in all_corpus_packets():
        data = original
        if len(packets) == CORPUS_SIZE:
            break
        packet = parse(data)
        if not isinstance(packet.transport, TCP | UDP | ICMP):
            continue
        if ICMP in packet and packet.icmp.is_error:  # Only some libraries decode the packet quoted in an ICMP error.
            continue
        if ICMP not in packet:
            at = packet.ip.header_length
            data = data[:at] + NO_APPLICATION + data[at + 4 :]
        if _decode_alike(decoders, data):
            packets.append(data)
            captured.append(original)
    return packets, captured


def _decode_alike(decoders: dict[str, Decoder], data: bytes) -> bool:
    try:
        values = [common(read(data)) for read, common in decoders.values()]
    except Exception:  # Each library has its own exceptions for packets that it cannot decode.
        return False
    return all(value == values[0] for value in values)


def with_new_addresses(packets: list[bytes]) -> list[bytes]:
    """Return the packets with new random addresses, so that no library can use a cached address."""
    return [data[:12] + random.randbytes(8) + data[20:] for data in packets]


def contenders() -> tuple[dict[str, Decoder], list[str]]:
    """Return the decoders of tunlab and the installed libraries by name, and the names of missing libraries."""
    absent = [name for name in PEERS if find_spec(name) is None]
    found = {name: make() for name, make in PEERS.items() if name not in absent}
    return {"tunlab": tunlab_reader(), **found}, absent


def check_equal(decoders: dict[str, Decoder]) -> None:
    """Raise BenchmarkError if a library reads other values than tunlab, or fewer values."""
    for kind, data in datagrams().items():
        wanted: tuple[Any, ...] = ()
        for name, (read, common) in decoders.items():
            values = common(read(data))
            wanted = wanted or values
            if values != wanted:
                raise BenchmarkError(
                    f"{name} reads {values} from {kind}, and tunlab reads {wanted}. Change the readers until they agree"
                )


# Slower libraries decode the packets fewer times, so that all measurements take equally long and other load disturbs
# them equally.
SHARE = {
    "tunlab": 1.0,
    "tunlab, parse": 1.0,
    "tunlab, summary": 0.2,
    "scapy, parse": 0.02,
    "tunlab, options as objects": 0.9,
    "dpkt": 0.5,
    "dpkt, addresses as text": 0.4,
    "pypacker": 0.2,
    "scapy": 0.02,
}


def run(*, rounds: int = 61, repeats: int = 2000) -> list[Outcome]:
    """Run the benchmark and return its rows. In each round tunlab decodes the packets `repeats` times."""
    decoders, absent = contenders()
    check_equal(decoders)
    packets, captured = corpus_packets(decoders)
    packets = packets or list(datagrams().values())

    def turn(name: str, packets: list[bytes], *, new_addresses: bool = False) -> Callable[[], float]:
        read = decoders[name][0]
        current = packets

        def all_of_them() -> None:
            for each in current:
                read(each)

        times = max(1, round(repeats * 5 / len(packets) * SHARE[name]))
        one = repeat(all_of_them, 1 if new_addresses else times, thread_time)

        def measure() -> float:
            nonlocal current
            if new_addresses:
                current = with_new_addresses(packets * times)
            return one() / len(current)

        return measure

    times = measure_in_turns({name: turn(name, packets) for name in decoders}, rounds)
    rows: list[Outcome] = []
    peers = [name for name in decoders if name != "tunlab"]
    if peers:
        fastest = min(peers, key=lambda name: ratio(times, name, "tunlab"))
        rows.append(_row(times, fastest, f"rate against {fastest}, the fastest peer here", None if absent else FASTEST))
        names = ("tunlab", fastest)
        fresh = measure_in_turns({name: turn(name, packets, new_addresses=True) for name in names}, rounds)
        text = f"rate against {fastest}, addresses never met before"
        rows.append(_row(fresh, fastest, text, None if absent else NEW_ADDRESSES))
        others = [name for name in peers if name != fastest] + (["scapy"] if fastest == "scapy" else [])
        rows += [_row(times, name, f"rate against {name}", None) for name in others]
        if "scapy" in peers:
            decoders |= {"tunlab, parse": (parse, _no_values), "scapy, parse": (scapy_parser(), _no_values)}
            names = ("tunlab, parse", "scapy, parse")
            parsed = measure_in_turns({name: turn(name, captured or packets) for name in names}, rounds)
            rows.append(_row(parsed, "scapy, parse", "rate against scapy, parsing only", SCAPY, "tunlab, parse"))
            if captured:
                text = "  the same, with ports that scapy does not know"
                rows += _against(turn, packets, "scapy, parse", text, rounds, "tunlab, parse")
        decoders |= {"tunlab, parse": (parse, _no_values), "tunlab, summary": (summary, _no_values)}
        names = ("tunlab, parse", "tunlab, summary")
        every = all_corpus_packets() or packets
        summed = measure_in_turns({name: turn(name, every) for name in names}, rounds)
        text = "time of a summary with its verdicts / of parsing"
        rows.append(_row(summed, "tunlab, summary", text, SUMMARY, "tunlab, parse"))
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


def _row(times: dict[str, list[float]], peer: str, what: str, goal: Goal | None, ours: str = "tunlab") -> Row:
    return Row(NAME, what, ratio(times, peer, ours), "×", format_medians(times, (ours, peer)), goal)


def _no_values(values: Any) -> tuple[Any, ...]:  # noqa: ARG001
    return ()
