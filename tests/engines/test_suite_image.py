"""What the suite's image is made of, without any engine."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tunlab
from tunlab.engines.images.suite_image import base_image, source

ROOT = Path(__file__).parents[2]
PACKAGE = Path(tunlab.__file__).parent


@pytest.mark.slow
def test_an_installed_tunlab_has_the_source_that_a_checkout_has(tmp_path):
    """So that an image needs no registry that knows this version. The wheel is built as pip does it."""
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
    told = "import tunlab.engines.images.suite_image as s; found = sorted((k, hash(v)) for k, v in s.source().items())"
    told += "; print(s.tunlab.__file__, found)"
    seen = []
    for place in (checkout, installed):
        path = [str(place), *(entry for entry in sys.path if entry.endswith("site-packages"))]
        environment = {"PYTHONPATH": ":".join(path), "PYTHONHASHSEED": "1", "PATH": "/usr/bin:/bin"}
        said = subprocess.run(
            [sys.executable, "-B", "-c", told], cwd="/", env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert said.startswith(f"{place}/")
        seen.append(said.removeprefix(f"{place}/"))
    assert seen[0] == seen[1]
    assert "'Dockerfile'" in seen[0]
    assert "'lab/router.toml'" in seen[0]


def test_the_source_is_what_the_dockerfile_copies():
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    copied = {name for line in lines if "--from" not in line for name in line.split()[1:-1]}
    assert {name.split("/")[0] for name in source()} == copied


@pytest.mark.parametrize(
    ("given", "python", "image"),
    [
        ("", "", ""),
        ("", "3.12", "python:3.12-slim-bookworm"),
        ("mine:1", "", "mine:1"),
        ("mine:1", "3.12", "python:3.12-slim-bookworm"),
        ("mine-{python}:1", "3.12", "mine-3.12:1"),
        ("mine-{python}:1", "", "mine-3.13:1"),
    ],
)
def test_what_it_is_built_on(monkeypatch, given, python, image):
    monkeypatch.setenv("TUNLAB_BASE_IMAGE", given)
    assert base_image(python) == image
