"""Tests of project images: pip installs the dependencies, and deleted or old files do not stay in the image."""

import subprocess
import sys

import pytest

from tests.engines.conftest import LIMIT
from tunlab.engines.workers.worker_setup import WorkerSetup

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PASSES = "def test_it(): pass\n"
TABLE = '[build-system]\nrequires = []\nbuild-backend = "own_backend"\nbackend-path = ["."]\n'
TABLE += '[project]\nname = "own"\nversion = "1"\n'

BACKEND = """
import pathlib, zipfile

def _wheel(directory, inside):
    name = "own-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        for path, text in inside.items():
            wheel.writestr(path, text)
        wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("own-1.dist-info/RECORD", "")
    return name

def build_editable(directory, config_settings=None, metadata_directory=None):
    generated = pathlib.Path("src/generated.py")
    generated.write_text("BY = 'the installation'")
    return _wheel(directory, {"own.pth": str(pathlib.Path("src").absolute()) + "\\n"})

def build_wheel(directory, config_settings=None, metadata_directory=None):
    return _wheel(directory, {"own/__init__.py": pathlib.Path("src/own/__init__.py").read_text()})
"""


@pytest.fixture
def package(project):
    """A project with a package below src/ and a build backend that needs no network."""
    directory = project(test_own="import own\ndef test_own(): assert own.VALUE == 1\n", own_backend=BACKEND)
    (directory / "src" / "own").mkdir(parents=True)
    (directory / "src" / "own" / "__init__.py").write_text("VALUE = 1\n")
    (directory / "pyproject.toml").write_text(TABLE)
    return directory


@pytest.fixture
def run_worker(child_environment):
    """A function: `run_worker(directory)` runs pytest with one worker in a container and returns the output."""

    def run(directory) -> str:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        done = subprocess.run(
            [*command, "--tunlab-workers", "local*1"],
            cwd=directory, env=child_environment, capture_output=True, text=True, timeout=2 * LIMIT, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def test_change_in_editable_project_needs_no_build(start, package):
    test = "import generated\ndef test_generated(): assert generated.BY == 'the installation'\n"
    (package / "test_generated.py").write_text(test)
    status, out, err = start(package, "-q").end()
    assert (status, "2 passed" in out) == (0, True), out + err
    assert "building the image with -e ." in err
    (package / "src" / "own" / "__init__.py").write_text("VALUE = 2\n")
    status, out, err = start(package, "-q").end()
    assert (status, "assert 2 == 1" in out, "building" in err) == (1, True, False), out + err


def test_change_in_copied_project_builds_a_new_image(start, package):
    with (package / "pyproject.toml").open("a") as file:
        file.write('[tool.tunlab.test]\ninstall = ["."]\n')
    status, out, err = start(package, "-q").end()
    assert (status, "1 passed" in out) == (0, True), out + err
    (package / "src" / "own" / "__init__.py").write_text("VALUE = 2\n")
    status, out, err = start(package, "-q").end()
    assert (status, "assert 2 == 1" in out) == (1, True), out + err


@pytest.mark.parametrize("by", ["setting", "option"])
def test_empty_install_setting_builds_no_project_image(start, project, by):
    directory = project(test_it=PASSES)
    (directory / "requirements.txt").write_text("./nothing-here\n")
    if by == "setting":
        (directory / "pyproject.toml").write_text("[tool.tunlab.test]\ninstall = []\n")
    status, out, err = start(directory, "-q", *(["--install", ""] if by == "option" else [])).end()
    assert (status, "1 passed" in out, "building" in err) == (0, True, False), out + err


def test_deleted_files_do_not_exist_in_the_next_run(start, package, run_worker):
    (package / "test_own.py").unlink()
    gone = package / "gone"
    gone.mkdir()
    (gone / "inner.py").write_text("")
    (package / "conftest.py").write_text("def pytest_report_header(): return 'the conftest is here'\n")
    (package / "test_a.py").write_text(PASSES)
    (package / "test_b.py").write_text("import gone.inner\n" + PASSES)
    status, out, err = start(package).end()
    assert (status, "2 passed" in out, "the conftest is here" in out) == (0, True, True), out + err

    for path in (package / "test_b.py", package / "conftest.py", gone / "inner.py"):
        path.unlink()
    gone.rmdir()
    (package / "test_a.py").write_text(
        "import importlib.util, pathlib\n"
        "def test_it():\n"
        "    assert importlib.util.find_spec('gone') is None\n"
        "    found = {str(path) for path in pathlib.Path().rglob('*') if '__pycache__' not in path.parts}\n"
        "    assert found == {'pyproject.toml', 'pytest.ini', 'own_backend.py', 'test_a.py',\n"
        "        'src', 'src/own', 'src/own/__init__.py', 'src/generated.py'}\n"
    )
    status, out, err = start(package, "-p", "no:cacheprovider").end()
    assert (status, "1 passed" in out, "building" in err) == (0, True, False), out + err
    assert "the conftest is here" not in out
    output = run_worker(package)
    assert "1 passed" in output, output


def test_large_project_warning_gives_its_size(engine, suite_image, project):
    directory = project()
    with (directory / "large").open("wb") as file:
        file.truncate(60_000_000)
    lines = []
    assert WorkerSetup(directory, directory, image=suite_image).ensure_image(engine, lines.append) == suite_image
    assert [line.partition(" (")[0] for line in lines] == [
        "local: the project's files are 60 MB, and are copied to the container for each run",
    ]
