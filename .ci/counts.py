"""Compare runs of the suite by their junit files: the first, on the machine itself, with those in containers.

    counts.py NEEDS NATIVE.xml OTHER.xml …

NEEDS   a file with the tests that need a Docker Engine, as `pytest --collect-only -q -m docker` prints them; in a
        container there is none

Ends with 1 where a run lacks a test, has one more, or has skipped one.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

Tests = dict[str, str]


def tests_of(file: Path) -> Tests:
    """What became of each test: "passed", "skipped", "failed"; the name is the one that junit gives."""
    found = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        outcomes = {child.tag for child in case} & {"skipped", "failure", "error"}
        name = f"{case.get('classname')}::{case.get('name')}"
        found[name] = "passed" if not outcomes else "skipped" if outcomes == {"skipped"} else "failed"
    return found


def junit_name(line: str) -> str:
    """The name that junit gives to the test that pytest calls "tests/x/test_y.py::TestZ::test_w[1]"."""
    path, *parts = line.split("::", 2 if "[" not in line else line.split("[", 1)[0].count("::"))
    return "::".join([".".join([path.removesuffix(".py").replace("/", "."), *parts[:-1]]), parts[-1]])


def main(needs: str, *files: str) -> int:
    engine = {junit_name(line) for line in Path(needs).read_text(encoding="utf-8").splitlines() if "::" in line}
    runs = {Path(file).stem: tests_of(Path(file)) for file in files}
    (first, native), *others = runs.items()
    print(f"{first}: {len(native)} tests, of which {len(engine)} need an engine")
    bad = 0
    for name, run in others:
        wanted = native.keys() - engine
        lacking, more = wanted - run.keys(), run.keys() - wanted
        print(f"{name}: {len(run)} tests" + (" of the same names" if not lacking | more else ""))
        for what, which in (("lacks", lacking), ("has besides", more)):
            bad += len(which)
            print(*(f"  {name} {what} {test}" for test in sorted(which)[:20]), sep="\n" if which else "", end="")
    for name, run in runs.items():
        for test in sorted(test for test, outcome in run.items() if outcome != "passed"):
            bad += 1
            print(f"  {name}: {run[test]}: {test}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
