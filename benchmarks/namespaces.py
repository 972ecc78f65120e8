"""Make and remove a namespace with a TUN that is up and has an address: tunlab, `ip` and hand-packed netlink."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from benchmarks.by_hand import namespace_by_hand
from benchmarks.measure import (
    BenchmarkError,
    Goal,
    Outcome,
    Row,
    Skipped,
    at_most,
    each_of,
    interleaved,
    ratio,
    told,
)
from benchmarks.mounts import private_run
from tunlab.traffic import Tun

NAME = "namespaces"
BY_IP, BY_HAND = at_most(1 / 3), at_most(2)

# One shell, and one `ip` for each step: no quicker way is in common use. IPv6 stays on, and only the MTU's default is
# kept: it does a little less than the others.
COMMANDS = """
ip netns add bench
ip -n bench link set lo up
ip -n bench tuntap add dev tun0 mode tun
ip -n bench addr add 10.1.2.1/24 dev tun0
ip -n bench link set dev tun0 txqueuelen 10000 up
ip netns del bench
"""
BATCHED = """
ip netns add bench
ip -n bench -batch - <<'END'
link set lo up
tuntap add dev tun0 mode tun
addr add 10.1.2.1/24 dev tun0
link set dev tun0 txqueuelen 10000 up
END
ip netns del bench
"""


def by_tunlab() -> None:
    """Make and remove a TUN in a namespace, as every test with the `tun` fixture does."""
    Tun.create().close()


def run(*, rounds: int = 15, repeats: int = 20) -> list[Outcome]:
    """Return the rows. Per round each makes and removes `repeats` namespaces, `ip` a quarter as many."""
    turns: dict[str, Callable[[], float]] = {
        "tunlab": each_of(by_tunlab, repeats),
        "by hand": each_of(namespace_by_hand, repeats),
    }
    with private_run() as there:
        if shutil.which("ip") is not None:
            for name, script in (("ip", COMMANDS), ("ip -batch", BATCHED)):
                turn = each_of(_shell(script), max(1, repeats // 4))
                turns[name] = lambda turn=turn: there(turn)
        times = interleaved(turns, rounds)
    rows: list[Outcome] = [_row(times, "by hand", "time against hand-packed netlink", BY_HAND)]
    if "ip" not in turns:
        return [*rows, Skipped(NAME, "time against ip commands", "there is no ip: install iproute2")]
    rows.append(_row(times, "ip", "time against ip commands", BY_IP))
    rows.append(_row(times, "ip -batch", "time against three ip commands, one of them -batch", None))
    return rows


def _shell(script: str) -> Callable[[], None]:
    def run_it() -> None:
        done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"the ip commands fail: {done.stderr.strip()}")

    return run_it


def _row(times: dict[str, list[float]], peer: str, what: str, goal: Goal | None) -> Row:
    return Row(NAME, what, ratio(times, "tunlab", peer), "×", told(times, ("tunlab", peer), "ms"), goal)
