"""Tests that run every code block of the README and the documentation, one test per block."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import BLOCKS, LANGUAGES, ROOT
from tunlab.engines.project import settings

PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]


def blocks(language, *roles):
    """Return a parametrize marker with the code blocks of a language. Blocks that need Docker are marked `docker`."""
    chosen = [each for each in BLOCKS if each.language == language and each.roles == set(roles)]
    return pytest.mark.parametrize(
        "block", [pytest.param(each, id=str(each), marks=[pytest.mark.docker] * needs_engine(each)) for each in chosen]
    )


def needs_engine(block):
    return bool(re.search(r"^\$ tunlab test|--tunlab-(?:on|workers) '?local|\bimage = ", block.text, re.MULTILINE))


def matches(wanted, shown):
    """Return a match if the output is the text on the page, in which `…` stands for any text; else None."""
    pattern = "".join(".*?" if part == "…" else re.escape(part) for part in re.split("(…)", wanted.strip()))
    return re.fullmatch(rf"\s*{pattern}\s*", shown, re.DOTALL)


def test_every_code_block_has_a_language_and_role_that_is_tested():
    roles = {"python": [set(), {"fails"}], "text": [set(), {"layers"}]}
    bad = [
        f"{each}: {each.language or 'indented'} {' '.join(each.roles)}"
        for each in BLOCKS
        if each.language not in LANGUAGES or set(each.roles) not in roles.get(each.language, [set()])
    ]
    assert bad == []


@pytest.fixture
def workspace(request, tmp_path, monkeypatch):
    """Yield a temporary directory with the files that the page defines above the block. It is the current directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    for name, text in request.getfixturevalue("block").files().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    monkeypatch.chdir(directory)
    monkeypatch.setenv("TUNLAB_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")  # Without COLUMNS, pytest-xdist's workers use 80.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("TUNLAB_LAB", raising=False)
    yield directory
    if (tmp_path / "run").exists():
        subprocess.run(["tunlab", "down", "--all"], capture_output=True, check=True)


def run(command):
    """Run a command. Its `stdout` also has its standard error, as in a terminal."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def count_tests(block):
    return len(re.findall("^def test_", block.text, re.MULTILINE))


def run_python(block, directory):
    """Run a Python block with pytest if it has tests, else as a program."""
    has_tests = count_tests(block) > 0
    file = directory / (block.file or ("test_block.py" if has_tests else "block.py"))
    file.write_text(block.text)
    return run([*PYTEST, "-W", "error", str(file)] if has_tests else [sys.executable, str(file)])


@blocks("python")
def test_python_block_passes(block, workspace):
    if block.file == "conftest.py":  # A conftest has no tests, but blocks below it must use its fixtures.
        names = re.findall(r"^def (\w+)", block.text, re.MULTILINE)
        later = [each for each in BLOCKS if block in each.earlier and each.language == "python"]
        assert any(name in each.text for each in later for name in names)
        return
    done = run_python(block, workspace)
    assert done.returncode == 0, done.stdout
    if tests := count_tests(block):
        counts = re.findall(r"(\d+) (?:passed|xfailed)", done.stdout)
        assert sum(map(int, counts)) >= tests  # pytest counts each set of parameters.


@blocks("python", "fails")
def test_python_block_marked_fails_has_only_failing_tests(block, workspace):
    done = run_python(block, workspace)
    assert done.returncode == 1, done.stdout
    assert re.search(rf"\b{count_tests(block)} (failed|error)\b", done.stdout)


@blocks("text")
def test_text_block_equals_output_of_the_block_above(block, workspace):
    above = block.earlier[-1]
    assert above.language == "python"
    shown = run_python(above, workspace).stdout
    wanted = f"…{block.text.strip()}…" if "fails" in above.roles else block.text
    assert matches(wanted, shown), shown


@blocks("text", "layers")
def test_layers_block_equals_the_import_contract_in_pyproject(block):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["name"] == "Layers")
    shown = [line.split("  ")[0].strip() for line in block.text.splitlines()]
    assert shown == [layer.replace("(", "").replace(")", "") for layer in layers]


@blocks("toml")
def test_toml_block_is_valid_configuration_or_lab_file(block, workspace):
    table = tomllib.loads(block.text)
    tools = table.get("tool", {})
    if "pytest" in tools:
        (workspace / "pyproject.toml").write_text(block.text)
        (workspace / "test_settings.py").write_text("def test_tun(tun): pass\n")
        done = run([*PYTEST, "--strict-config"])
        assert done.returncode == 0, done.stdout
    elif "tunlab" in tools:
        (workspace / "pyproject.toml").write_text(block.text)
        assert settings.read_settings(workspace) == tools["tunlab"]["test"]
    else:
        file = workspace / (block.file or "lab.toml")
        file.write_text(block.text)
        done = run(["tunlab", "check", str(file)])
        assert done.returncode == 0, done.stdout


@blocks("yaml")
def test_yaml_block_uses_an_existing_action_of_the_project(block):
    (action,) = re.findall(r"uses: tunlab/tunlab/(\S+)@main", block.text)
    # The containers in which `tunlab test` runs this suite have no .github folder, and no actions.
    assert (ROOT / action / "action.yml").exists() or not (ROOT / ".github").exists()


ELSEWHERE = {
    "make demo": (".ci/run", "make demo"),
    "make test": (".ci/run", "make test"),
    "make lint": (".ci/run", "make lint"),
    "make docs": (".ci/run", "make docs"),
    "make bench": ("Makefile", "bench:"),
    ".ci/run": (".ci/run", "set -e"),
    "pip install tunlab": (".github/workflows/release.yml", 'pip" install'),
    ".venv/bin/pre-commit install": (".ci/run", ".venv/bin/pre-commit run --all-files"),
    "docker build -t tunlab .": ("tests/engines/test_suite_image.py", "Dockerfile"),
    "docker run --rm --privileged tunlab": ("Dockerfile", 'CMD ["tunlab", "demo"]'),
}
"""Shell commands that cannot run inside a test, and the file whose text shows that they are run or made elsewhere."""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Create a local git repository that is cloned instead of the project's repository on GitHub."""
    origin = tmp_path / "origin"
    origin.mkdir()
    shutil.copy(ROOT / "Makefile", origin)
    git = ["git", "-C", str(origin), "-c", "user.name=tunlab", "-c", "user.email=tunlab@example.org"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--no-verify", "--message=Start"]):
        subprocess.run([*git, *arguments], capture_output=True, check=True)
    homepage = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{origin}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", homepage)
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")  # A URL other than the project's homepage is an error.


@blocks("sh")
def test_command_in_shell_block_succeeds_or_is_run_by_another_test(block, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider")
    for line in block.text.splitlines():
        command = line.partition("#")[0].strip()
        if command in ELSEWHERE:
            file, text = ELSEWHERE[command]
            assert not (ROOT / ".ci").exists() or text in (ROOT / file).read_text(), (command, file)
        elif command.startswith("git clone"):
            done = run(["sh", "-ec", f"cd {shlex.quote(str(tmp_path))} && {command} && make help"])
            assert done.returncode == 0, (command, done.stdout)
            assert "make test" in done.stdout
        elif command:
            done = run(["sh", "-ec", command.replace(".venv/bin/python", sys.executable)])
            assert done.returncode == 0, (command, done.stdout)


@pytest.mark.slow
@blocks("console")
def test_command_in_console_block_prints_the_output_on_the_page(block, workspace, request):
    if request.node.get_closest_marker("docker"):
        request.getfixturevalue("engine")
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, wanted = step.partition("\n")
        shown = run(shlex.split(command)).stdout
        assert matches(wanted, shown), (command, shown)
