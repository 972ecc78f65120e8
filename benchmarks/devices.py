"""Benchmark `devices`: starting and ending a device under test without its program, against a `Tun`."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import ip_interface

from benchmarks.measure import Outcome, Row, at_most, format_medians, measure_in_turns, ratio, repeat
from tunlab import DutSettings, Target, Tun, open_dut
from tunlab.dut.kinds import make_link

NAME = "devices"
AGAINST_TUN = at_most(1.5)
SETTINGS = DutSettings(addresses=(ip_interface("10.1.2.1/24"),))


def tun() -> None:
    """Make a namespace with a TUN, and remove it."""
    with Tun.create():
        pass


def link() -> None:
    """Make what a program gets: a namespace whose own IP is silent, a TUN, and the port to it."""
    with ExitStack() as resources:
        make_link(SETTINGS, resources)


def kernel() -> None:
    """Make a namespace with a TUN and services."""
    with open_dut(Target.parse("kernel"), SETTINGS):
        pass


def run(*, rounds: int = 15, repeats: int = 10) -> list[Outcome]:
    """Run the benchmark and return its rows."""
    turns = {each.__name__: repeat(each, repeats) for each in (tun, link, kernel)}
    times = measure_in_turns(turns, rounds)
    measures = {"link": "a program's TUN and port, against a Tun", "kernel": "the kernel with services, against a Tun"}
    return [
        Row(
            NAME,
            measure,
            ratio(times, name, "tun"),
            "×",
            format_medians(times, (name, "tun"), "ms"),
            AGAINST_TUN if name == "link" else None,
        )
        for name, measure in measures.items()
    ]
