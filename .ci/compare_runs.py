"""Compare the outcomes of the test runs of `.ci/run` or of CI, from their junit files.

    compare_runs.py DIRECTORY

Each folder of DIRECTORY has the junit file of one run. Its name begins with the kind of the run:

fresh       the whole suite on a machine without a Docker Engine
docker      the tests marked `docker`, with an engine
container   the other tests, in a container

Exits with 1 if a kind of run is missing, if a test failed or was skipped, or if a run has fewer or more tests than it
should have. The docker tests are skipped in fresh runs, and tests that read the packet corpus may be skipped if
TUNLAB_CORPUS is not set.
"""

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

SHOWN = 20
"""Tests listed per problem."""

NO_CORPUS = "the corpus is not part of the project. Set TUNLAB_CORPUS to its folder"
"""The reason with which tests are skipped that read the packet corpus."""

KINDS = ("fresh", "docker", "container")


def read_outcomes(file: Path) -> dict[str, str]:
    """Return the outcome of each test in a junit file: "passed", "skipped", "no corpus" or "failed"."""
    outcomes = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        results = [child for child in case if child.tag in ("skipped", "failure", "error")]
        outcome = "passed"
        if results:
            outcome = "skipped" if all(each.tag == "skipped" for each in results) else "failed"
        if outcome == "skipped" and all(each.get("message") == NO_CORPUS for each in results):
            outcome = "no corpus"
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return outcomes


def main(directory: str) -> int:
    files = sorted(Path(directory).glob("*/junit*.xml"))
    runs = {kind: {f.parent.name: read_outcomes(f) for f in files if f.parent.name.startswith(kind)} for kind in KINDS}
    if missing := [kind for kind, found in runs.items() if not found]:
        print(f"{directory} has no junit file of these runs: {', '.join(missing)}. Run them before the comparison.")
        return 1
    accepted = {"passed"} if os.environ.get("TUNLAB_CORPUS") else {"passed", "no corpus"}
    everything = set().union(*runs["fresh"].values())
    docker = set().union(*runs["docker"].values())
    without_engine = everything - docker
    print(f"{len(everything)} tests: {len(docker)} need a Docker Engine, {len(without_engine)} do not")
    expected = {"fresh": everything | docker, "docker": docker, "container": without_engine}
    problems = {}
    for kind, found in runs.items():
        for label, run in found.items():
            without = docker if kind == "fresh" else set()
            skipped = {name for name, outcome in run.items() if outcome not in accepted | {"failed"}}
            problems |= {
                f"missing from {label}": expected[kind] - run.keys(),
                f"only in {label}": run.keys() - expected[kind],
                f"ran without an engine in {label}": {name for name in without if run.get(name) == "passed"},
                f"failed in {label}": {name for name, outcome in run.items() if outcome == "failed"},
                f"skipped in {label}": skipped - without,
            }
    for problem, names in problems.items():
        if names:
            more = f"\n  … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            print(f"{problem}:\n  " + "\n  ".join(sorted(names)[:SHOWN]) + more)
    if any(problems.values()):
        return 1
    print("every test that needs no engine passed in each run, every docker test passed with the engine")
    no_corpus = {name for run in runs["fresh"].values() for name, outcome in run.items() if outcome == "no corpus"}
    if no_corpus:
        print(f"except {len(no_corpus)} that were skipped because TUNLAB_CORPUS is not set")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
