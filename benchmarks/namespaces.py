"""Benchmark `namespaces`: tunlab, `ip` commands and raw netlink create and remove a namespace with a TUN device."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from benchmarks.measure import (
    BenchmarkError,
    Goal,
    Outcome,
    Row,
    Skipped,
    at_most,
    format_medians,
    measure_in_turns,
    ratio,
    repeat,
)
from benchmarks.mounts import private_run
from benchmarks.netlink_by_hand import namespace_by_hand
from tunlab.kernel.namespace.machine import Machine
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns
from tunlab.traffic import Tun

NAME = "namespaces"
BY_IP, BY_HAND, NODE = at_most(1 / 3), at_most(2), at_most(2)

# Each step is an `ip` process, as in common scripts. tunlab and raw netlink also set the MTU and turn IPv6 off.
COMMANDS = """
ip netns add bench
ip -n bench link set lo up
ip -n bench tuntap add dev tun0 mode tun
ip -n bench addr add 10.1.2.1/24 dev tun0
ip -n bench link set dev tun0 txqueuelen 10000 up
ip netns del bench
"""
BATCH_COMMANDS = """
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
    """Create and close a TUN device in a new namespace, as the fixture `tun` does."""
    Tun.create().close()


VIEW = MountOverlay(hostname="node", texts={"/etc/hosts": "127.0.0.1 node\n"}, private=("/run",))


def program_in_namespace() -> None:
    """Run a program in a new network namespace whose programs share the machine's files and processes."""
    with Netns.create() as netns:
        netns.run(["true"], prepare=MountOverlay().enter)


def program_in_node() -> None:
    """Run a program in a new node: with a mount, a UTS and a PID namespace, a private /run, and an init."""
    with Netns.create() as netns, Machine(netns, lambda: VIEW) as machine:
        machine.run(["true"])
        machine.kill()


def run(*, rounds: int = 15, repeats: int = 20) -> list[Outcome]:
    """Run the benchmark and return its rows. Each turn creates `repeats` namespaces, or a quarter as many with `ip`."""
    turns: dict[str, Callable[[], float]] = {
        "tunlab": repeat(by_tunlab, repeats),
        "by hand": repeat(namespace_by_hand, repeats),
        "namespace": repeat(program_in_namespace, repeats),
        "node": repeat(program_in_node, repeats),
    }
    with private_run() as call_in_private_run:
        if shutil.which("ip") is not None:
            for name, script in (("ip", COMMANDS), ("ip -batch", BATCH_COMMANDS)):
                turn = repeat(_shell(script), max(1, repeats // 4))
                turns[name] = lambda turn=turn: call_in_private_run(turn)
        times = measure_in_turns(turns, rounds)
    rows: list[Outcome] = [
        _row(times, "by hand", "time against hand-packed netlink", BY_HAND),
        _row(times, "namespace", "a node with a program / a namespace with one", NODE, own="node"),
    ]
    if "ip" not in turns:
        return [*rows, Skipped(NAME, "time against ip commands", "ip is not installed; install iproute2")]
    rows.append(_row(times, "ip", "time against ip commands", BY_IP))
    rows.append(_row(times, "ip -batch", "time against three ip commands, one of them -batch", None))
    return rows


def _shell(script: str) -> Callable[[], None]:
    def run_it() -> None:
        done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"the ip commands failed: {done.stderr.strip()}")

    return run_it


def _row(times: dict[str, list[float]], peer: str, what: str, goal: Goal | None, *, own: str = "tunlab") -> Row:
    return Row(NAME, what, ratio(times, own, peer), "×", format_medians(times, (own, peer), "ms"), goal)
