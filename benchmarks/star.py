"""A program of the benchmark `labs`: it creates a lab of hosts on one switch with tunlab, and removes the lab.

`python -m benchmarks.star HOSTS` prints one line of JSON. With `--look`, the line has the seconds for `up` and `down`,
without imports, and the bytes of memory that the lab uses.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

KERNEL = ("SUnreclaim", "KernelStack", "PageTables", "Percpu")
"""Fields of /proc/meminfo that count kernel memory of the whole machine; see proc_meminfo(5)."""


def star(hosts: int) -> str:
    """Return the text of a lab file with this number of hosts on one bridge, each with an address."""
    names = [f"h{number}" for number in range(1, hosts + 1)]
    nodes = "".join(f"{name} = {{}}\n" for name in names)
    return f'name = "star"\n\n[nodes]\n{nodes}\n[[links]]\nends = {json.dumps(names)}\nsubnet = "10.0.0.0/16"\n'


def memory() -> dict[str, int]:
    """Return the bytes of memory used by all visible processes (proportional set size) and by the kernel."""
    taken = 0
    for rollup in Path("/proc").glob("[0-9]*/smaps_rollup"):
        try:
            text = rollup.read_text(encoding="ascii")
        except OSError:  # The process has ended, or it is a kernel thread.
            continue
        taken += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    counted = re.findall(r"^(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {"processes": taken * 1024, "kernel": sum(int(size) for name, size in counted if name in KERNEL) * 1024}


def main(hosts: int, *, look: bool) -> None:
    """Create and remove the lab, and print one line of JSON. Measure time and memory if `look` is True."""
    text = star(hosts)
    if not look:
        up(text)()
        print("{}")
        return
    up(star(2))()  # Bring a small lab up first, because tunlab imports some modules on first use.
    before, start = memory(), perf_counter()
    down = up(text)
    up_took = perf_counter() - start
    during, start = memory(), perf_counter()
    down()
    down_took = perf_counter() - start
    print(json.dumps({"up": up_took, "down": down_took, **{each: during[each] - before[each] for each in before}}))


def up(text: str) -> Callable[[], None]:
    """Create a lab from the text of a lab file, and return a function that removes it."""
    from tunlab.lab import Lab

    return Lab.from_text(text).start().close


if __name__ == "__main__":
    main(int(sys.argv[1]), look="--look" in sys.argv)
