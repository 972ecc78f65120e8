"""Tests of the suite image's source and base image. They need no engine."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tunlab
from tunlab.engines.images.suite_image import base_image, tunlab_source

ROOT = Path(__file__).parents[2]
PACKAGE = Path(tunlab.__file__).parent


@pytest.mark.slow
def test_tunlab_source_in_wheel_equals_that_in_checkout(tmp_path):
    checkout, installed = tmp_path / "checkout", tmp_path / "installed"
    leave_out = shutil.ignore_patterns("__pycache__", "labs", "source")
    shutil.copytree(PACKAGE, checkout / "tunlab", ignore=leave_out)
    shutil.copytree(ROOT / "lab", checkout / "lab")
    for name in ("pyproject.toml", "README.md", "LICENSE", "Dockerfile"):
        shutil.copy(ROOT / name, checkout)
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=checkout, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    script = "import tunlab.engines.images.suite_image as s"
    script += "; found = sorted((k, hash(v)) for k, v in s.tunlab_source().items())"
    script += "; print(s.tunlab.__file__, found)"
    sources = []
    for root in (checkout, installed):
        path = [str(root), *(entry for entry in sys.path if entry.endswith("site-packages"))]
        environment = {"PYTHONPATH": ":".join(path), "PYTHONHASHSEED": "1", "PATH": "/usr/bin:/bin"}
        output = subprocess.run(
            [sys.executable, "-B", "-c", script], cwd="/", env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert output.startswith(f"{root}/")
        sources.append(output.removeprefix(f"{root}/"))
    assert sources[0] == sources[1]
    assert "'Dockerfile'" in sources[0]
    assert "'lab/router.toml'" in sources[0]


def test_tunlab_source_has_the_files_that_the_dockerfile_copies():
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    copied = {name for line in lines if "--from" not in line for name in line.split()[1:-1]}
    assert {name.split("/")[0] for name in tunlab_source()} == copied


@pytest.mark.parametrize(
    ("variable", "python", "image"),
    [
        ("", "", ""),
        ("", "3.12", "python:3.12-slim-bookworm"),
        ("mine:1", "", "mine:1"),
        ("mine:1", "3.12", "python:3.12-slim-bookworm"),
        ("mine-{python}:1", "3.12", "mine-3.12:1"),
        ("mine-{python}:1", "", "mine-3.13:1"),
    ],
)
def test_base_image_depends_on_environment_variable_and_python_version(monkeypatch, variable, python, image):
    monkeypatch.setenv("TUNLAB_BASE_IMAGE", variable)
    assert base_image(python) == image
