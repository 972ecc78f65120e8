"""Tests of [tool.tunlab.test], of the same options of `tunlab test`, and of `include`. They need no engine."""

import io
import subprocess
import tarfile

import click
import pytest
from click.testing import CliRunner

from tunlab.cli.group import tunlab as group
from tunlab.engines.project import discovery, settings
from tunlab.engines.workers.worker_setup import WorkerSetup
from tunlab.errors import TopologyError

TEST = "[tool.tunlab.test]\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project's directory, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_everything(root):
    """Read all parts of pyproject.toml that tunlab uses."""
    discovery.list_files(root, settings.read_settings(root).get("include", ()))
    return discovery.is_tunlab(root), discovery.default_install(root)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("tool = 3", "tool", "3 is not a table. Write [tool] and its keys below that line"),
        ("[tool]\ntunlab = 3", "tool.tunlab", "3 is not a table. Write [tool.tunlab] and its keys below that line"),
        ('[tool.tunlab]\ntest = ["x"]', "tool.tunlab.test", "['x'] is not a table"),
        ("[[tool.tunlab.test]]\nenv = []", "tool.tunlab.test", "[{'env': []}] is not a table"),
        ("project = 3", "project", "3 is not a table"),
        ("[project]\noptional-dependencies = 3", "project.optional-dependencies", "3 is not a table"),
        (TEST + "instal = []", "tool.tunlab.test.instal", "unknown key. Did you mean install?"),
        (TEST + "zzz = []", "tool.tunlab.test.zzz", "unknown key. Its keys are install, "),
        (TEST + "install = '.'", "tool.tunlab.test.install", "'.' is not a list of strings"),
        (TEST + "packages = [1]", "tool.tunlab.test.packages", "[1] is not a list of strings"),
        (TEST + "image = []", "tool.tunlab.test.image", "[] is not a string"),
        (TEST + """install = ["'"]""", "tool.tunlab.test.install", "cannot be split into words (no closing quotation)"),
        (TEST + "env = ['A', '=B']", "tool.tunlab.test.env", "'=B' has no variable name. Write NAME or NAME=VALUE"),
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
def test_error_of_invalid_setting_names_key_and_problem(root, text, key, problem):
    (root / "pyproject.toml").write_text(text)
    with pytest.raises(TopologyError) as raised:
        read_everything(root)
    assert str(raised.value).startswith(f"{root / 'pyproject.toml'}: `{key}` is invalid: ")
    assert problem in str(raised.value)
    assert raised.value.exit_code == 78


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--install", "'"], "cannot be split into words (no closing quotation). Quote it as for a shell."),
        (["--env", "=x"], "'=x' has no variable name. Write NAME or NAME=VALUE."),
        (["--mount", "x:/y"], "'x:/y' is not a pair of absolute paths. Write /data:/data."),
        (["--pythons", ","], "',' has no version. Write 3.12,3.13."),
        (["--pdb"], "--pdb is interactive and does not work in a container. Run `pytest --pdb`."),
        (["--", "-x", "--trace"], "--trace is interactive and does not work in a container"),
        (["--env", "PYTEST_ADDOPTS=--pdb"], "--pdb is interactive and does not work in a container"),
    ],
)
@pytest.mark.usefixtures("root")
def test_invalid_option_is_a_usage_error(arguments, message):
    result = CliRunner().invoke(group, ["test", "--engine", "unix:///nonexistent", *arguments], standalone_mode=False)
    assert isinstance(result.exception, click.UsageError)
    assert message in result.exception.format_message()


@pytest.mark.parametrize("text", ["", "[tool]", "[project]", TEST])
def test_empty_pyproject_has_no_settings(root, text):
    (root / "pyproject.toml").write_text(text)
    assert (settings.read_settings(root), discovery.default_install(root), discovery.is_tunlab(root)) == ({}, [], False)


class TestInclude:
    @pytest.fixture(autouse=True)
    def repository(self, root, need):
        for name in (
            "kept.py", "sub/a_pb2.py", "gen/deep/b.bin", "gen/__pycache__/b.pyc", "build/out.py",
            ".venv/lib/c_pb2.py", "mine/pyvenv.cfg", "mine/lib/d_pb2.py",
        ):  # fmt: skip
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / ".gitignore").write_text("*_pb2.py\ngen/\nbuild/\n.venv/\nmine/\n")
        subprocess.run([need("git"), "init", "-q"], cwd=root, check=True)

    @pytest.mark.parametrize(
        ("include", "added"),
        [
            ([], []),
            (["**/*_pb2.py"], ["sub/a_pb2.py"]),
            (["gen", "sub/*"], ["gen/deep/b.bin", "sub/a_pb2.py"]),
            (["build/*.py"], ["build/out.py"]),
            (["kept.py"], []),
        ],
    )
    def test_list_files_includes_ignored_files_that_match_include_setting(self, root, include, added):
        assert discovery.list_files(root, include) == sorted([".gitignore", "kept.py", *added])

    def test_worker_archive_has_included_files(self, root):
        (root / "pyproject.toml").write_text(TEST + "include = ['gen']")
        archive = WorkerSetup(root, root).container_settings().archive
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            names = {f"/{entry.name}" for entry in tar if entry.isfile()}
        wanted = (".gitignore", "kept.py", "pyproject.toml", "gen/deep/b.bin")
        assert names == {str(root / name) for name in wanted}
