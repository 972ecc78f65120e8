"""Benchmark `labs`: tunlab, Mininet (with a Linux bridge) and munet create and remove hosts on one switch.

Mininet kills processes by name and changes the machine that it runs on. Each tool therefore runs in its own PID, mount
and network namespaces, with an empty /run and read-only global sysctls.
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
    format_medians,
    measure_in_turns,
    python,
    python_environment,
    ratio,
)

NAME = "labs"
ROUNDS = {2: 7, 50: 5, 500: 1}
"""Number of rounds by number of hosts. Mininet takes 20 s for 500 hosts."""
AGAINST_MININET, UP_EACH = {50: at_least(10)}, {500: at_most(5)}
MUNET_MAX_HOSTS = 50  # munet takes minutes for 500 hosts.
MUNET_TRIES = 5  # Many runs of munet fail, because it looks for a process that has not started yet.

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
# Mount an empty /tmp, because Mininet deletes *.log and *.out there.
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
# The kernel frees namespaces some time after their processes have ended, and creates new ones more slowly until then.
# It frees them in order. With a limit of one namespace, a second one can be created when all earlier ones are freed.
WAIT_FOR_CLEANUP = """
echo 1 >/proc/sys/user/max_net_namespaces
unshare --net true
until unshare --net true 2>/dev/null; do :; done
"""
CLI = 'python="$1"; shift; "$python" -m tunlab up "$1" >/run/up-output; exec "$python" -m tunlab down --all'


class Contender:
    """A tool that creates and removes hosts on one switch.

    Attributes:
        output: The output of each successful run.
        failures: Number of failed runs.
    """

    def __init__(self, command: list[str], *, stdin: str = "", tries: int = 1, optional: bool = False) -> None:
        """Set the command that runs the tool.

        Args:
            tries: Maximum number of runs until one succeeds, in each call of `turn`.
            optional: Have `turn` return NaN if all runs fail, instead of raising an error.
        """
        self._command, self._stdin, self._tries, self._optional = command, stdin, tries, optional
        self.output: list[str] = []
        self.failures = 0

    def turn(self) -> float:
        """Run the tool until a run succeeds, and return the seconds of that run, from start to end of the process.

        Raises:
            BenchmarkError: All runs failed.
        """
        for _ in range(self._tries):
            wait_for_cleanup()
            start = perf_counter()
            done = subprocess.run(
                self._command, input=self._stdin, env=python_environment(), capture_output=True, text=True, check=False
            )
            took = perf_counter() - start
            if not done.returncode:
                self.output.append(done.stdout + done.stderr)
                return took
            self.failures += 1
        if self._optional:
            return math.nan
        end = (done.stdout + done.stderr).strip()[-500:]
        raise BenchmarkError(f"{' '.join(self._command[-3:])} exited with {done.returncode}: {end}")


def wait_for_cleanup() -> None:
    """Wait until the kernel has freed the namespaces of the last run, so that they do not slow down the next one."""
    subprocess.run(["unshare", "--user", "--map-root-user", "sh", "-ec", WAIT_FOR_CLEANUP], check=True)


def in_sandbox(script: str, *arguments: str) -> list[str]:
    """Return the command that runs a shell script in its own mount, network and PID namespaces."""
    isolation = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*isolation, "sh", "-ec", SANDBOX + script, "sh", *arguments]


def run(*, rounds: Mapping[int, int] = ROUNDS) -> list[Outcome]:
    """Run the benchmark and return its rows. `rounds` maps a number of hosts to the number of rounds."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            raise BenchmarkError(f"{program} is not installed; install util-linux and iproute2")
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
        self.measured = Contender(in_sandbox('exec "$@"', *module, "--look"))
        self.contenders = {
            "tunlab": Contender(in_sandbox('exec "$@"', *module)),
            "tunlab up; tunlab down": Contender(in_sandbox(CLI, sys.executable, str(lab_file))),
        }
        self.skipped: list[Outcome] = []
        if shutil.which("mn") is not None:
            self.contenders["Mininet"] = Contender(in_sandbox(MININET, str(hosts)))
        else:
            self.skipped.append(
                Skipped(NAME, f"{hosts} hosts, against Mininet", "mn is not installed; install Debian's mininet")
            )
        munet = shutil.which("munet") or shutil.which("munet", path=str(Path(sys.executable).parent))
        if hosts <= MUNET_MAX_HOSTS and munet is not None:
            self.contenders["munet"] = _munet(munet, directory, hosts)
        elif hosts <= MUNET_MAX_HOSTS:
            self.skipped.append(
                Skipped(NAME, f"{hosts} hosts, against munet", "munet is not installed; pip install munet")
            )

    def rows(self) -> list[Outcome]:
        """Measure all tools and return the rows of the result table."""
        turns = {name: each.turn for name, each in self.contenders.items()}
        times = measure_in_turns({**turns, "measured": self.measured.turn}, self.rounds, warm_up=False)
        seen = [json.loads(output.splitlines()[-1]) for output in self.measured.output]
        up, down = (median(each[part] for each in seen) for part in ("up", "down"))
        rows: list[Outcome] = []

        def row(what: str, value: float, unit: str, detail: str, goal: Goal | None = None) -> None:
            rows.append(Row(NAME, f"{self.hosts} hosts, {what}", value, unit, detail, goal))

        for peer in ("Mininet", "munet"):
            if peer not in self.contenders:
                continue
            if any(map(math.isnan, times[peer])):
                why = f"{self.contenders[peer].failures} runs failed"
                self.skipped.append(Skipped(NAME, f"{self.hosts} hosts, against {peer}", why))
                continue
            row(f"whole process, against {peer}", ratio(times, peer, "tunlab"), "×", self._medians(times, peer))
        if "Mininet" in self.contenders:
            command = "tunlab up; tunlab down"
            detail = format_medians(times, (command, "Mininet"), "s")
            row("two commands, against Mininet", ratio(times, "Mininet", command), "×", detail)
            inside = [_completed(output) for output in self.contenders["Mininet"].output]
            detail = f"tunlab {up + down:.3g} s, mn {median(inside):.3g} s (its own measurement)"
            goal = AGAINST_MININET.get(self.hosts)
            row("up and down, against Mininet", median(inside) / (up + down), "×", detail, goal)
        detail = f"up {up * 1e3:.3g} ms, down {down * 1e3:.3g} ms"
        row("up, each", up * 1e3 / self.hosts, "ms", detail, UP_EACH.get(self.hosts))
        if self.hosts >= 50:
            memory = {"tunlab": {part: median(each[part] for each in seen) for part in ("processes", "kernel")}}
            if "Mininet" in self.contenders:
                memory["Mininet"] = _mininet_memory(self.hosts)
            row("memory, each", sum(memory["tunlab"].values()) / self.hosts / 1024, "KiB", self._memory(memory))
        return [*rows, *self.skipped]

    def _medians(self, times: Mapping[str, list[float]], peer: str) -> str:
        failures = self.contenders[peer].failures
        failed = f"; {failures} of {failures + self.rounds} runs of {peer} failed" if failures else ""
        return format_medians(times, ("tunlab", peer), "s") + failed

    def _memory(self, memory: Mapping[str, Mapping[str, float]]) -> str:
        each = {
            name: {part: size / self.hosts / 1024 for part, size in parts.items()} for name, parts in memory.items()
        }
        return "; ".join(
            f"{name}: processes {parts['processes']:.0f} KiB, kernel {parts['kernel']:.0f}"
            for name, parts in each.items()
        )


def _munet(program: str, directory: Path, hosts: int) -> Contender:
    """Return the contender munet. It connects the hosts to one bridge and exits when the topology is up."""
    nodes = [{"name": f"h{number}", "connections": ["net0"]} for number in range(1, hosts + 1)]
    topology = {"version": 1, "topology": {"networks": [{"name": "net0", "ip": "10.0.0.0/16"}], "nodes": nodes}}
    file = directory / f"munet{hosts}.json"
    file.write_text(json.dumps(topology), encoding="utf-8")
    script = 'mkdir /run/munet; cd /run/munet; exec "$@"'
    command = in_sandbox(script, program, "-c", str(file), "--no-cli", "--no-wait", "-d", "/run/munet/run")
    return Contender(command, tries=MUNET_TRIES, optional=True)


def _completed(output: str) -> float:
    """Return the seconds that Mininet's program mn prints: from the end of its imports to its end."""
    match = re.search(r"completed in ([\d.]+) seconds", output)
    if match is None:
        raise BenchmarkError(f"mn did not print its time: {output[-500:]}")
    return float(match[1])


def _mininet_memory(hosts: int) -> dict[str, float]:
    before = star.memory()["kernel"]
    measured = Contender(in_sandbox(LOOK, str(hosts), "--pre /run/commands"), stdin=MEMORY)
    measured.turn()
    match = re.search(r"memory ({.*})", measured.output[0])
    if match is None:
        raise BenchmarkError(f"mn did not run the commands: {measured.output[0][-500:]}")
    during = json.loads(match[1])
    return {"processes": during["processes"], "kernel": during["kernel"] - before}
