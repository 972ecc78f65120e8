"""What a project's needs bring into its image, and what not: a file that the project has no more, code of yesterday."""

import subprocess
import sys

import pytest

from tests.engines.conftest import LIMIT
from tunlab.engines.workers.provision import Provision

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
    made = pathlib.Path("src/made.py")
    made.write_text("BY = 'the installation'")
    return _wheel(directory, {"own.pth": str(pathlib.Path("src").absolute()) + "\\n"})

def build_wheel(directory, config_settings=None, metadata_directory=None):
    return _wheel(directory, {"own/__init__.py": pathlib.Path("src/own/__init__.py").read_text()})
"""


@pytest.fixture
def package(project):
    """A project with a package below src/ and a backend that needs no network."""
    directory = project(test_own="import own\ndef test_own(): assert own.VALUE == 1\n", own_backend=BACKEND)
    (directory / "src" / "own").mkdir(parents=True)
    (directory / "src" / "own" / "__init__.py").write_text("VALUE = 1\n")
    (directory / "pyproject.toml").write_text(TABLE)
    return directory


@pytest.fixture
def on_an_engine(child_environment):
    """`on_an_engine(directory)`: what pytest says there whose one worker is in a container."""

    def run(directory) -> str:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        done = subprocess.run(
            [*command, "--tunlab-workers", "local*1"],
            cwd=directory, env=child_environment, capture_output=True, text=True, timeout=2 * LIMIT, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def test_an_editable_project_is_used_where_it_is(start, package):
    (package / "test_made.py").write_text("import made\ndef test_made(): assert made.BY == 'the installation'\n")
    status, out, err = start(package, "-q").end()
    assert (status, "2 passed" in out) == (0, True), out + err
    assert "building the image with -e ." in err
    (package / "src" / "own" / "__init__.py").write_text("VALUE = 2\n")  # is carried in, and needs no new image
    status, out, err = start(package, "-q").end()
    assert (status, "assert 2 == 1" in out, "building" in err) == (1, True, False), out + err


def test_one_that_is_copied_into_the_image_is_so_anew(start, package):
    with (package / "pyproject.toml").open("a") as file:
        file.write('[tool.tunlab.test]\ninstall = ["."]\n')
    status, out, err = start(package, "-q").end()
    assert (status, "1 passed" in out) == (0, True), out + err
    (package / "src" / "own" / "__init__.py").write_text("VALUE = 2\n")
    status, out, err = start(package, "-q").end()
    assert (status, "assert 2 == 1" in out) == (1, True), out + err


@pytest.mark.parametrize("by", ["the table", "an option"])
def test_nothing_is_installed_where_that_is_said(start, project, by):
    directory = project(test_it=PASSES)
    (directory / "requirements.txt").write_text("./nothing-here\n")
    if by == "the table":
        (directory / "pyproject.toml").write_text("[tool.tunlab.test]\ninstall = []\n")
    status, out, err = start(directory, "-q", *(["--install", ""] if by == "an option" else [])).end()
    assert (status, "1 passed" in out, "building" in err) == (0, True, False), out + err


def test_what_is_deleted_is_gone(start, package, on_an_engine):
    """A test, a conftest, a module, a package; with the image of before, to which its files were copied."""
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
        "        'src', 'src/own', 'src/own/__init__.py', 'src/made.py'}\n"
    )
    status, out, err = start(package, "-p", "no:cacheprovider").end()
    assert (status, "1 passed" in out, "building" in err) == (0, True, False), out + err
    assert "the conftest is here" not in out
    said = on_an_engine(package)
    assert "1 passed" in said, said


def test_a_project_that_is_heavy_to_carry_is_said_to_be(engine, suite_image, project):
    directory = project()
    with (directory / "film").open("wb") as film:
        film.truncate(60_000_000)
    said = []
    assert Provision(directory, directory, image=suite_image).image(engine, said.append) == suite_image
    assert [line.partition(" (")[0] for line in said] == [
        "local: the project's files are 60 MB, held in memory and carried in at each run",
    ]
