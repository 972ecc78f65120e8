"""Tests of the GitHub action `.github/actions/test`, and of the comparison of CI's test runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunlab.engines.images.suite_image import base_image

ACTION = Path(__file__).parents[1] / ".github" / "actions" / "test" / "action.yml"
SUITE = """
def test_good(tun): pass
def test_bad(tun, ping):
    ping(tun.peer)
    tun.expect_silence()
"""


@pytest.fixture
def script():
    """Return the command of the action's second step. It is a folded block scalar (YAML 1.2 section 8.1.3)."""
    folded = re.search(r"^ {6}run: >-\n((?: {8}.+\n)+)", ACTION.read_text(), re.MULTILINE)
    return " ".join(line.strip() for line in folded[1].splitlines())


@pytest.fixture
def python_image(engine):
    """Yield a value for TUNLAB_BASE_IMAGE: "" if the engine can pull images, else the name of a local image."""
    if base_image() == "":
        yield ""
        return
    name = "localhost/tunlab-test-workflow-3.11"
    engine.api.tag(base_image(), name, "1")
    yield name.replace("3.11", "{python}:1")
    engine.api.remove_image(f"{name}:1", noprune=True)


@pytest.mark.docker
@pytest.mark.slow
def test_action_runs_suite_and_leaves_report_and_packets_for_upload(python_image, script, tmp_path):
    project, programs = tmp_path / "project", tmp_path / "tunlab" / "bin"
    project.mkdir()
    programs.mkdir(parents=True)
    (programs / "tunlab").symlink_to(Path(sys.executable).with_name("tunlab"))
    (project / "test_it.py").write_text(SUITE)
    variables = {"RUNNER_TEMP": str(tmp_path), "ARGUMENTS": "-q", "OPTIONS": "", "PYTHON": "3.11", "RIGHTS": "least"}
    variables["TUNLAB_BASE_IMAGE"] = python_image
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=project,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    uploaded = re.search(r"path: \|\n((?: {10}.+\n?)+)", ACTION.read_text())[1]
    patterns = [line.strip().removeprefix("${{ inputs.directory }}/") for line in uploaded.splitlines()]
    kept = [path for pattern in patterns for path in project.glob(pattern.rstrip("/"))]
    assert {path.name for path in kept} == {"junit-py3.11.xml", "records"}
    assert list((project / "records").rglob("*.pcapng"))


COMPARE = Path(__file__).parents[1] / ".ci" / "compare_runs.py"
NO_CORPUS = '<skipped message="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder"/>'
NO_ENGINE = '<skipped message="there is no engine"/>'
PASSED = ""


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Return a function that writes junit files of runs (label: {test: result}), and compares them."""
    monkeypatch.delenv("TUNLAB_CORPUS", raising=False)

    def write_and_compare(runs):
        for label, results in runs.items():
            cases = (f'<testcase classname="t" name="{name}">{result}</testcase>' for name, result in results.items())
            (tmp_path / label).mkdir()
            (tmp_path / label / "junit.xml").write_text(
                f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"
            )
        done = subprocess.run([sys.executable, COMPARE, tmp_path], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return write_and_compare


def runs_with(label="", **results):
    """Return the results of three complete runs; `results` replaces results of the run `label`."""
    runs = {
        "fresh-3.13": {"test_a": PASSED, "test_corpus": NO_CORPUS, "test_docker": NO_ENGINE},
        "docker": {"test_docker": PASSED},
        "container-3.13-least": {"test_a": PASSED, "test_corpus": NO_CORPUS},
    }
    if label:
        runs[label] |= results
    return runs


def test_comparison_of_runs_without_corpus_accepts_only_skips_for_the_corpus(compare):
    code, shown = compare(runs_with())
    assert code == 0, shown
    assert shown.startswith("3 tests: 1 need a Docker Engine, 2 do not\n")
    assert shown.endswith("except 1 that were skipped because TUNLAB_CORPUS is not set\n")


def test_comparison_of_runs_with_corpus_refuses_skips_for_the_corpus(compare, monkeypatch):
    monkeypatch.setenv("TUNLAB_CORPUS", "/corpus")
    code, shown = compare(runs_with())
    assert code == 1
    assert "skipped in fresh-3.13:\n  t::test_corpus\nskipped in container-3.13-least:\n  t::test_corpus\n" in shown


@pytest.mark.parametrize(
    ("label", "results", "problem"),
    [
        ("docker", {"test_docker": NO_ENGINE}, "skipped in docker:\n  t::test_docker"),
        ("docker", {"test_new": PASSED}, "missing from fresh-3.13:\n  t::test_new"),
        ("fresh-3.13", {"test_a": NO_ENGINE}, "skipped in fresh-3.13:\n  t::test_a"),
        ("fresh-3.13", {"test_a": '<error message="x"/>'}, "failed in fresh-3.13:\n  t::test_a"),
        ("fresh-3.13", {"test_docker": PASSED}, "ran without an engine in fresh-3.13:\n  t::test_docker"),
        ("fresh-3.13", {"test_new": PASSED}, "missing from container-3.13-least:\n  t::test_new"),
        ("container-3.13-least", {"test_new": PASSED}, "only in container-3.13-least:\n  t::test_new"),
        ("container-3.13-least", {"test_a": NO_ENGINE}, "skipped in container-3.13-least:\n  t::test_a"),
    ],
    ids=[
        "docker-skip",
        "docker-new",
        "fresh-skip",
        "fresh-error",
        "engine",
        "fresh-new",
        "container-new",
        "container-skip",
    ],
)
def test_comparison_of_runs_reports_tests_that_did_not_pass_where_they_must(compare, label, results, problem):
    code, shown = compare(runs_with(label, **results))
    assert code == 1
    assert shown.split("\n", 1)[1] == f"{problem}\n"


@pytest.mark.parametrize("label", ["fresh-3.13", "docker", "container-3.13-least"])
def test_comparison_of_runs_without_a_kind_of_run_names_the_kind(compare, label):
    runs = runs_with()
    del runs[label]
    code, shown = compare(runs)
    assert code == 1
    assert f"has no junit file of these runs: {label.partition('-')[0]}. " in shown


def test_reason_of_tests_that_need_the_corpus_is_the_one_that_the_comparison_accepts():
    reasons = set()
    for file in COMPARE.parents[1].glob("tests/**/*.py"):
        reasons |= set(re.findall(r"""(?:reason=|skip\()["'](.*corpus.*)["']""", file.read_text()))
    assert reasons == {re.search('message="(.+?)"', NO_CORPUS)[1]}


def test_ci_compares_the_runs_of_every_job_that_runs_tests():
    workflow = (COMPARE.parents[1] / ".github" / "workflows" / "ci.yml").read_text()
    jobs = re.split(r"^  (\w+):\n", workflow.partition("\njobs:\n")[2], flags=re.MULTILINE)[1:]
    jobs = dict(zip(jobs[::2], jobs[1::2], strict=True))
    testing = [name for name, steps in jobs.items() if "make test" in steps or "/actions/test" in steps]
    comparing = jobs["comparison"]
    assert f"needs: [{', '.join(testing)}]" in comparing
    assert "compare_runs.py runs" in comparing
    for name in testing:
        assert re.search(rf"name: {name}\b.*\n +path: (?:\|\n +)?junit\S*\.xml", jobs[name]), name
    assert "grep -q '^missing *Docker Engine'" in jobs["fresh"]
