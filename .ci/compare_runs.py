"""Compare the outcomes of the three test runs of `.ci/run`, from their junit files.

    compare_runs.py FRESH.xml DOCKER.xml CONTAINER.xml …

FRESH       the whole suite on a machine without a Docker Engine
DOCKER      the tests marked `docker`, with an engine
CONTAINER   the other tests, in a container

Exits with 1 if a test failed, if a test was skipped (except the docker tests in FRESH), or if a run has fewer or more
tests than it should have.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

SHOWN = 20
"""Tests listed per problem."""


def read_outcomes(file: str) -> dict[str, str]:
    """Return the outcome of each test in a junit file: "passed", "skipped" or "failed"."""
    outcomes = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        tags = {child.tag for child in case} & {"skipped", "failure", "error"}
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes[name] = "passed" if not tags else "skipped" if tags == {"skipped"} else "failed"
    return outcomes


def main(fresh_file: str, docker_file: str, *container_files: str) -> int:
    fresh, docker = read_outcomes(fresh_file), read_outcomes(docker_file)
    containers = {Path(file).stem: read_outcomes(file) for file in container_files}
    without_engine = fresh.keys() - docker.keys()
    print(f"{len(fresh)} tests: {len(docker)} need a Docker Engine, {len(without_engine)} do not")
    problems = {
        "docker tests missing from the fresh run": docker.keys() - fresh.keys(),
        "docker tests that ran without an engine": {name for name in docker if fresh.get(name) == "passed"},
        "failed in the fresh run": {name for name, outcome in fresh.items() if outcome == "failed"},
        "skipped without needing an engine": {name for name in without_engine if fresh[name] == "skipped"},
        "not passed with the engine": {name for name, outcome in docker.items() if outcome != "passed"},
    }
    for label, run in containers.items():
        problems |= {
            f"missing from the {label} run": without_engine - run.keys(),
            f"only in the {label} run": run.keys() - without_engine,
            f"not passed in the {label} run": {name for name, outcome in run.items() if outcome != "passed"},
        }
    for problem, names in problems.items():
        if names:
            more = f"\n  … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            print(f"{problem}:\n  " + "\n  ".join(sorted(names)[:SHOWN]) + more)
    if any(problems.values()):
        return 1
    print("every test that needs no engine passed in each run, every docker test passed with the engine")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
