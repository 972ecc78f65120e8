"""Test of the GitHub action `.github/actions/test`, whose script runs here as on GitHub."""

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
