"""Start and stop a star of hosts on one switch with tunlab, Mininet (Linux bridge) and munet, as whole processes.

Mininet kills processes by name and changes the machine. So each tool runs in PID, mount and network namespaces of its
own, with an empty /run and machine-wide sysctls read-only.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks import star
from benchmarks.measure import (
    BenchmarkError,
    Goal,
    Outcome,
    Row,
    Skipped,
    at_least,
    at_most,
    interleaved,
    python,
    python_environment,
    ratio,
    told,
)

NAME = "labs"
ROUNDS = {2: 7, 50: 5, 500: 1}
"""Numbers of hosts and of rounds. Mininet takes 20 s for 500 hosts."""
AGAINST_MININET, UP_EACH = {50: at_least(10)}, {500: at_most(5)}
MUNET_UP_TO = 50  # 500 hosts take minutes
MUNET_TRIES = 5  # many runs fail because munet looks for a process that has not started yet

SANDBOX = """
mount --make-rprivate /
for part in fs kernel vm; do
    mount --bind /proc/sys/$part /proc/sys/$part
    mount -o remount,bind,ro /proc/sys/$part
done
mount -t sysfs none /sys
mount -t tmpfs none /run
ip link set lo up
"""
# /tmp is empty too, because Mininet deletes *.log and *.out there.
MININET = """
cat >/run/memory.py
mount -t tmpfs none /tmp
cd /tmp
exec mn --switch lxbr --controller none --topo single,"$1" --test none $2
"""
LOOK = 'echo "sh python3 /run/memory.py" >/run/commands\n' + MININET
MEMORY = f"""
import json, re
from pathlib import Path
KERNEL = {star.KERNEL!r}
{inspect.getsource(star.memory)}
print("memory", json.dumps(memory()), flush=True)
"""
# The kernel takes namespaces apart long after their processes have ended, and makes new ones slower meanwhile. Where a
# user may have one only, a second can be made when the first, and all that ended before it, is gone.
SETTLED = """
echo 1 >/proc/sys/user/max_net_namespaces
unshare --net true
until unshare --net true 2>/dev/null; do :; done
"""
CLI = 'python="$1"; shift; "$python" -m tunlab up "$1" >/run/said; exec "$python" -m tunlab down --all'


class Contender:
    """A tool that starts and stops a star of hosts in a process of its own.

    Attributes:
        output: Output of each run.
        failures: Number of runs that failed and were repeated, up to `tries` runs per measurement.
        dispensable: True if the benchmark continues without this tool after all tries have failed.
    """

    def __init__(self, command: list[str], *, given: str = "", tries: int = 1, dispensable: bool = False) -> None:
        self._command, self._given, self._tries, self._dispensable = command, given, tries, dispensable
        self.output: list[str] = []
        self.failures = 0

    def turn(self) -> float:
        """Start and stop the star once. Return seconds for the whole process. Raises BenchmarkError if it fails."""
        for _ in range(self._tries):
            settle()
            start = perf_counter()
            done = subprocess.run(
                self._command, input=self._given, env=python_environment(), capture_output=True, text=True, check=False
            )
            took = perf_counter() - start
            if not done.returncode:
                self.output.append(done.stdout + done.stderr)
                return took
            self.failures += 1
        if self._dispensable:
            return math.nan
        end = (done.stdout + done.stderr).strip()[-500:]
        raise BenchmarkError(f"{' '.join(self._command[-3:])} ended with {done.returncode}: {end}")


def settle() -> None:
    """Wait until the kernel has destroyed the namespaces of ended processes, which would slow down the next tool."""
    subprocess.run(["unshare", "--user", "--map-root-user", "sh", "-ec", SETTLED], check=True)


def sandboxed(script: str, *arguments: str) -> list[str]:
    """Return the command that runs a shell script in namespaces of its own."""
    isolation = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*isolation, "sh", "-ec", SANDBOX + script, "sh", *arguments]


def run(*, rounds: Mapping[int, int] = ROUNDS) -> list[Outcome]:
    """Return the rows for each number of hosts."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            raise BenchmarkError(f"there is no {program}: install util-linux and iproute2")
    outcomes: list[Outcome] = []
    with TemporaryDirectory(prefix="tunlab-bench") as name:
        for hosts, number in rounds.items():
            outcomes += _Star(hosts, number, Path(name)).rows()
    return outcomes


class _Star:
    def __init__(self, hosts: int, rounds: int, directory: Path) -> None:
        self.hosts, self.rounds = hosts, rounds
        module = python("-m", "benchmarks.star", str(hosts))
        lab_file = directory / f"star{hosts}.toml"
        lab_file.write_text(star.star(hosts), encoding="utf-8")
        self.looked_at = Contender(sandboxed('exec "$@"', *module, "--look"))
        self.contenders = {
            "tunlab": Contender(sandboxed('exec "$@"', *module)),
            "tunlab up; tunlab down": Contender(sandboxed(CLI, sys.executable, str(lab_file))),
        }
        self.absent: list[Outcome] = []
        if shutil.which("mn") is not None:
            self.contenders["Mininet"] = Contender(sandboxed(MININET, str(hosts)))
        else:
            self.absent.append(
                Skipped(NAME, f"{hosts} hosts, against Mininet", "there is no mn: install Debian's mininet")
            )
        munet = shutil.which("munet") or shutil.which("munet", path=str(Path(sys.executable).parent))
        if hosts <= MUNET_UP_TO and munet is not None:
            self.contenders["munet"] = _munet(munet, directory, hosts)
        elif hosts <= MUNET_UP_TO:
            self.absent.append(Skipped(NAME, f"{hosts} hosts, against munet", "there is no munet: pip install munet"))

    def rows(self) -> list[Outcome]:
        """Measure and return the rows."""
        turns = {name: each.turn for name, each in self.contenders.items()}
        times = interleaved({**turns, "looked at": self.looked_at.turn}, self.rounds, warm_up=False)
        seen = [json.loads(output.splitlines()[-1]) for output in self.looked_at.output]
        up, down = (median(each[part] for each in seen) for part in ("up", "down"))
        rows: list[Outcome] = []

        def row(what: str, value: float, unit: str, detail: str, goal: Goal | None = None) -> None:
            rows.append(Row(NAME, f"{self.hosts} hosts, {what}", value, unit, detail, goal))

        for peer in ("Mininet", "munet"):
            if peer not in self.contenders:
                continue
            if any(map(math.isnan, times[peer])):
                why = f"{self.contenders[peer].failures} of its runs have failed"
                self.absent.append(Skipped(NAME, f"{self.hosts} hosts, against {peer}", why))
                continue
            row(f"whole process, against {peer}", ratio(times, peer, "tunlab"), "×", self._told(times, peer))
        if "Mininet" in self.contenders:
            command = "tunlab up; tunlab down"
            detail = told(times, (command, "Mininet"), "s")
            row("two commands, against Mininet", ratio(times, "Mininet", command), "×", detail)
            inside = [_completed(output) for output in self.contenders["Mininet"].output]
            detail = f"tunlab {up + down:.3g} s, mn {median(inside):.3g} s, as it says"
            goal = AGAINST_MININET.get(self.hosts)
            row("up and down, against Mininet", median(inside) / (up + down), "×", detail, goal)
        detail = f"up {up * 1e3:.3g} ms, down {down * 1e3:.3g} ms"
        row("up, each", up * 1e3 / self.hosts, "ms", detail, UP_EACH.get(self.hosts))
        if self.hosts >= 50:
            taken = {"tunlab": {part: median(each[part] for each in seen) for part in ("processes", "kernel")}}
            if "Mininet" in self.contenders:
                taken["Mininet"] = _mininet_memory(self.hosts)
            row("memory, each", sum(taken["tunlab"].values()) / self.hosts / 1024, "KiB", self._memory(taken))
        return [*rows, *self.absent]

    def _told(self, times: Mapping[str, list[float]], peer: str) -> str:
        failures = self.contenders[peer].failures
        failed = f"; {failures} of {failures + self.rounds} runs of {peer} failed" if failures else ""
        return told(times, ("tunlab", peer), "s") + failed

    def _memory(self, taken: Mapping[str, Mapping[str, float]]) -> str:
        each = {
            name: {part: octets / self.hosts / 1024 for part, octets in parts.items()} for name, parts in taken.items()
        }
        return "; ".join(
            f"{name}: processes {parts['processes']:.0f} KiB, kernel {parts['kernel']:.0f}"
            for name, parts in each.items()
        )


def _munet(program: str, directory: Path, hosts: int) -> Contender:
    """Return the command that starts munet with one bridge and quits at once."""
    nodes = [{"name": f"h{number}", "connections": ["net0"]} for number in range(1, hosts + 1)]
    topology = {"version": 1, "topology": {"networks": [{"name": "net0", "ip": "10.0.0.0/16"}], "nodes": nodes}}
    file = directory / f"munet{hosts}.json"
    file.write_text(json.dumps(topology), encoding="utf-8")
    script = 'mkdir /run/munet; cd /run/munet; exec "$@"'
    command = sandboxed(script, program, "-c", str(file), "--no-cli", "--no-wait", "-d", "/run/munet/run")
    return Contender(command, tries=MUNET_TRIES, dispensable=True)


def _completed(output: str) -> float:
    """Return the seconds that mn reports, from after its imports to its end."""
    said = re.search(r"completed in ([\d.]+) seconds", output)
    if said is None:
        raise BenchmarkError(f"mn has not said what it took: {output[-500:]}")
    return float(said[1])


def _mininet_memory(hosts: int) -> dict[str, float]:
    before = star.memory()["kernel"]
    looked_at = Contender(sandboxed(LOOK, str(hosts), "--pre /run/commands"), given=MEMORY)
    looked_at.turn()
    said = re.search(r"memory ({.*})", looked_at.output[0])
    if said is None:
        raise BenchmarkError(f"mn has not run the commands: {looked_at.output[0][-500:]}")
    during = json.loads(said[1])
    return {"processes": during["processes"], "kernel": during["kernel"] - before}
