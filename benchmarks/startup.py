"""Benchmark `startup`: times of new processes for imports, `tunlab --help`, a lab, and pytest with tunlab's plugin.

In all measurements the byte code is compiled and the files are in the page cache.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import Goal, Outcome, Row, at_most, format_medians, measure_in_turns, process, python
from benchmarks.mounts import private_run
from benchmarks.suite import plugin_options

NAME = "startup"
IMPORT, HELP = at_most(40), at_most(150)


def run(*, rounds: int = 15) -> list[Outcome]:
    """Run the benchmark and return its rows. Each turn runs one process."""
    with TemporaryDirectory() as directory, private_run() as call_in_private_run:
        Path(directory, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        Path(directory, "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        up, down = (process(python("-m", "tunlab", verb, *more)) for verb, more in _LAB)
        pytest = python("-m", "pytest", "-q", "-p", "no:cacheprovider", directory)
        turns: dict[str, Callable[[], float]] = {
            "python -c pass": process(python("-c", "pass")),
            "import tunlab": process(python("-c", "import tunlab")),
            "import tunlab.packet": process(python("-c", "import tunlab.packet")),
            "tunlab --help": process(python("-m", "tunlab", "--help")),
            "tunlab up": lambda: call_in_private_run(up),
            "tunlab down": lambda: call_in_private_run(down),
            "pytest without the plugin": process([*pytest, "-p", "no:tunlab"]),
            "pytest with it": process([*pytest, *plugin_options()]),
        }
        # Measure in a fixed order, because `down` must follow `up`.
        times = measure_in_turns(turns, rounds, rotate=False)

    def difference_ms(name: str, base: str) -> float:
        return (median(times[name]) - median(times[base])) * 1e3

    def row(what: str, value: float, names: tuple[str, ...], goal: Goal | None = None) -> Row:
        return Row(NAME, what, value, "ms", format_medians(times, names, "ms"), goal)

    bare, idle = "python -c pass", "pytest without the plugin"
    return [
        row("import tunlab, above bare Python", difference_ms("import tunlab", bare), ("import tunlab", bare), IMPORT),
        row(
            "import tunlab.packet, above bare Python",
            difference_ms("import tunlab.packet", bare),
            ("import tunlab.packet",),
        ),
        row("tunlab --help, the whole process", median(times["tunlab --help"]) * 1e3, ("tunlab --help",), HELP),
        row(
            "tunlab up, then down: two processes",
            (median(times["tunlab up"]) + median(times["tunlab down"])) * 1e3,
            ("tunlab up", "tunlab down"),
        ),
        row(
            "the plugin in a pytest run that never uses it",
            difference_ms("pytest with it", idle),
            ("pytest with it", idle),
        ),
    ]


_LAB = (("up", ("--name", "bench")), ("down", ("bench",)))
