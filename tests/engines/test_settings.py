"""What a project says in [tool.tunlab.test], and the files that it asks for: without any engine."""

import io
import subprocess
import tarfile

import click
import pytest
from click.testing import CliRunner

from tunlab.cli.group import tunlab as group
from tunlab.engines.project import discovery, settings
from tunlab.engines.workers.provision import Provision
from tunlab.errors import TopologyError

TEST = "[tool.tunlab.test]\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The directory of a project, in which we are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_whole(root):
    """All that is read of a pyproject.toml."""
    discovery.files(root, settings.of(root).get("include", ()))
    return discovery.is_tunlab(root), discovery.needs(root)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("tool = 3", "tool", "3 is not a table. Write [tool] and its keys below that"),
        ("[tool]\ntunlab = 3", "tool.tunlab", "3 is not a table. Write [tool.tunlab] and its keys below that"),
        ('[tool.tunlab]\ntest = ["x"]', "tool.tunlab.test", "['x'] is not a table"),
        ("[[tool.tunlab.test]]\nenv = []", "tool.tunlab.test", "[{'env': []}] is not a table"),
        ("project = 3", "project", "3 is not a table"),
        ("[project]\noptional-dependencies = 3", "project.optional-dependencies", "3 is not a table"),
        (TEST + "instal = []", "tool.tunlab.test.instal", "unknown key. Did you mean install?"),
        (TEST + "zzz = []", "tool.tunlab.test.zzz", "unknown key. Its keys are: install, "),
        (TEST + "install = '.'", "tool.tunlab.test.install", "'.' is not a list of strings"),
        (TEST + "packages = [1]", "tool.tunlab.test.packages", "[1] is not a list of strings"),
        (TEST + "image = []", "tool.tunlab.test.image", "[] is not a string"),
        (TEST + """install = ["'"]""", "tool.tunlab.test.install", "cannot be split into words (no closing quotation)"),
        (TEST + "env = ['A', '=B']", "tool.tunlab.test.env", "'=B' names no variable. Write NAME or NAME=VALUE"),
        (TEST + "mounts = ['data:/data']", "tool.tunlab.test.mounts", "'data:/data' is not a pair of absolute paths"),
        (
            TEST + "include = ['/etc/*']",
            "tool.tunlab.test.include",
            "'/etc/*' is not a pattern for files below the project's root",
        ),
        (
            TEST + "include = ['src/../../x']",
            "tool.tunlab.test.include",
            "is not a pattern for files below the project's root",
        ),
        (TEST + "include = ['**x']", "tool.tunlab.test.include", "is not a pattern for files below the project's root"),
        (TEST + "include = ['']", "tool.tunlab.test.include", "is not a pattern for files below the project's root"),
        (TEST + "include = ['gen_*.py']", "tool.tunlab.test.include", "no file matches 'gen_*.py'"),
    ],
)
def test_a_mistake_is_a_sentence(root, text, place, problem):
    (root / "pyproject.toml").write_text(text)
    with pytest.raises(TopologyError) as raised:
        read_whole(root)
    assert str(raised.value).startswith(f"{root / 'pyproject.toml'}: `{place}` is invalid: ")
    assert problem in str(raised.value)
    assert raised.value.exit_code == 78


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--install", "'"], "cannot be split into words (no closing quotation): quote it as for a shell"),
        (["--env", "=x"], "'=x' names no variable: write NAME or NAME=VALUE"),
        (["--mount", "x:/y"], "'x:/y' is not a pair of absolute paths: write /data:/data"),
        (["--pythons", ","], "',' names no version: write 3.12,3.13"),
        (["--pdb"], "--pdb is interactive and does not work in a container: run pytest here"),
        (["--", "-x", "--trace"], "--trace is interactive and does not work in a container"),
        (["--env", "PYTEST_ADDOPTS=--pdb"], "--pdb is interactive and does not work in a container"),
    ],
)
@pytest.mark.usefixtures("root")
def test_an_option_that_cannot_be_is_one_too(arguments, sentence):
    said = CliRunner().invoke(group, ["test", "--engine", "unix:///nonexistent", *arguments], standalone_mode=False)
    assert isinstance(said.exception, click.UsageError)
    assert sentence in said.exception.format_message()


@pytest.mark.parametrize("text", ["", "[tool]", "[project]", TEST])
def test_a_project_that_says_nothing(root, text):
    (root / "pyproject.toml").write_text(text)
    assert (settings.of(root), discovery.needs(root), discovery.is_tunlab(root)) == ({}, [], False)


class TestFilesThatGitIgnores:
    @pytest.fixture(autouse=True)
    def repository(self, root, need):
        for name in (
            "kept.py", "sub/a_pb2.py", "gen/deep/b.bin", "gen/__pycache__/b.pyc", "build/made.py",
            ".venv/lib/c_pb2.py", "mine/pyvenv.cfg", "mine/lib/d_pb2.py",
        ):  # fmt: skip
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / ".gitignore").write_text("*_pb2.py\ngen/\nbuild/\n.venv/\nmine/\n")
        subprocess.run([need("git"), "init", "-q"], cwd=root, check=True)

    @pytest.mark.parametrize(
        ("include", "more"),
        [
            ([], []),
            (["**/*_pb2.py"], ["sub/a_pb2.py"]),
            (["gen", "sub/*"], ["gen/deep/b.bin", "sub/a_pb2.py"]),
            (["build/*.py"], ["build/made.py"]),
            (["kept.py"], []),
        ],
    )
    def test_those_that_are_asked_for(self, root, include, more):
        assert discovery.files(root, include) == sorted([".gitignore", "kept.py", *more])

    def test_workers_are_given_them_too(self, root):
        (root / "pyproject.toml").write_text(TEST + "include = ['gen']")
        archive = Provision(root, root).settings().archive
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            names = {f"/{entry.name}" for entry in tar if entry.isfile()}
        wanted = (".gitignore", "kept.py", "pyproject.toml", "gen/deep/b.bin")
        assert names == {str(root / name) for name in wanted}
