"""Everything in the README is run: the tests as tests, the console sessions as typed, the settings as settings."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tunlab.engines import settings

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
CONFTEST, FAILS = "# conftest.py\n", "# fails\n"
SHARED = [text for language, text in BLOCKS if language == "python" and text.startswith(CONFTEST)]
FAILING = [text for language, text in BLOCKS if language == "python" and text.startswith(FAILS)]
PYTHON = [text for language, text in BLOCKS if language == "python" and not text.startswith((CONFTEST, FAILS))]
CONSOLE = [text for language, text in BLOCKS if language == "console"]
TOML = [text for language, text in BLOCKS if language == "toml"]
SHELL = "".join(text for language, text in BLOCKS if language == "sh")
TEXT = [text for language, text in BLOCKS if language == "text"]
YAML = [text for language, text in BLOCKS if language == "yaml"]


def test_there_is_nothing_in_it_that_no_test_here_runs():
    assert {language for language, _ in BLOCKS} == {"python", "console", "toml", "sh", "text", "yaml"}
    assert len(PYTHON) >= 6
    assert len(CONSOLE) >= 2


def test_the_first_test_has_ten_lines():
    assert len([line for line in PYTHON[0].splitlines() if line]) <= 10


@pytest.mark.parametrize("source", PYTHON, ids=[re.search(r"def (\w+)", text)[1] for text in PYTHON])
def test_the_tests_pass(pytester, source):
    pytester.makepyfile(source)
    if "def connect(" in SHARED[0] and "connect)" in source:  # it stands before the tests that use it
        pytester.makeconftest(SHARED[0])
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error")
    result.assert_outcomes(passed=source.count("\ndef test_"))


def as_shown(wanted, shown):
    """Whether it is as printed, `…` standing for anything."""
    pattern = "".join(".*?" if part == "…" else re.escape(part) for part in re.split("(…)", wanted))
    return re.fullmatch(rf"\s*{pattern}\s*", shown, re.DOTALL)


@pytest.fixture
def failed(pytester, monkeypatch):
    """What the test that fails has printed, in a directory where it was run."""
    (source,) = FAILING
    monkeypatch.setenv("COLUMNS", "100")  # pytest-xdist's workers are told of 80
    pytester.makepyfile(test_handshake=source, test_first=PYTHON[0])
    return pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_handshake.py").stdout.str()


def test_the_failure_looks_as_shown(failed):
    (wanted,) = TEXT
    assert as_shown(f"…{wanted.rstrip()}…", failed), failed


def test_the_settings_are_taken(pytester):
    text, _ = TOML
    pytester.makepyprojecttoml(text)
    pytester.makepyfile("def test_x(tun): assert tun.netns.sysctl('net.ipv4.tcp_timestamps') == '0'\n")
    pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-config").assert_outcomes(passed=1)
    assert len(tomllib.loads(text)["tool"]["pytest"]["ini_options"]) == 6


def test_the_settings_for_a_container_are_taken(tmp_path):
    _, text = TOML
    (tmp_path / "pyproject.toml").write_text(text)
    assert settings.of(tmp_path) == tomllib.loads(text)["tool"]["tunlab"]["test"]


def test_the_shell_commands_are_those_of_ci():
    """`make test` cannot run itself; .ci/run and the workflow run what the README says."""
    root = README.parent
    made = re.findall(r"^make (\w+)", SHELL, re.MULTILINE)
    assert made == ["demo", "test"]
    makefile = (root / "Makefile").read_text()
    for target in made:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        for script in (root / ".ci/run", root / ".github/workflows/ci.yml"):
            if script.exists():  # not in a container, where only the suite is
                assert f"make {target}" in script.read_text()


def test_the_workflow_has_five_lines_and_uses_what_there_is():
    (text,) = YAML
    assert len(text.splitlines()) == 5
    (action,) = re.findall(r"uses: tunlab/tunlab/(\S+)@main", text)
    folder = README.parent / action
    assert folder.is_dir() or not (README.parent / ".github").exists()  # not in a container, where only the suite is


def session(text):
    first = text.split("\n")[0].lstrip("$ ")
    marks = [pytest.mark.docker] if re.match("tunlab test|.*--tunlab-on", first) else []
    return pytest.param(text, id=first, marks=marks)


@pytest.mark.slow
@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("session", [session(text) for text in CONSOLE])
def test_the_sessions_go_as_shown(session, tmp_path, request):
    """Each command is run; what it shows on standard output is as printed."""
    if request.node.get_closest_marker("docker"):
        request.getfixturevalue("engine")
    environment = {
        **os.environ,
        "TUNLAB_RUN": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    background = []
    request.addfinalizer(
        lambda: subprocess.run(["tunlab", "down", "--all"], env=environment, capture_output=True, check=True)
    )
    for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, wanted = step.partition("\n")
        if command.endswith(" &"):
            process = subprocess.Popen(
                shlex.split(command[:-2]), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            assert process.stderr.readline().startswith("listening")
            background.append(process)
            continue
        done = subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, check=False)
        shown = done.stdout
        while background:
            with background.pop() as process:
                shown += process.communicate(timeout=20)[0]
        assert as_shown(wanted, shown), (command, shown, done.stderr)
