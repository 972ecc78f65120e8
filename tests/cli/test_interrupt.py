"""Ctrl-C while Python imports tunlab's modules: the exit code is 130, without a traceback.

Earlier, while Python starts and searches for the package, only Python itself can handle the signal."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tunlab

# ROOT is the checkout or, in a container, the directory of the installed package.
ROOT = Path(tunlab.__file__).parents[1]
CLICK = Path(importlib.util.find_spec("click").origin)
SCRIPT = (sys.executable, "-c", "import sys; from tunlab.cli import main; sys.exit(main(['ls']))")
# SCRIPT makes Python load these files, in this order.
LOADED = [
    CLICK,
    CLICK.with_name("core.py"),
    ROOT / "tunlab/cli/group.py",
    ROOT / "tunlab/errors/__init__.py",
    ROOT / "tunlab/cli/ls.py",
    ROOT / "tunlab/lab/lab.py",
]


@pytest.fixture
def interrupted(environment, need, tmp_path):
    """Return a function that sends SIGINT to a program at its first system call on a file; it returns the output."""

    def run(file, program):
        log = tmp_path / "strace"
        strace = [need("strace"), "-f", "-qq", "-o", str(log), "-P", str(file), "-e", "trace=%file"]
        strace += ["-e", "inject=%file:signal=INT:when=1"]
        done = subprocess.run(
            [*strace, *program], env=environment, capture_output=True, text=True, check=False, cwd=os.sep
        )
        assert "SIGINT" in log.read_text(), f"it never looked for {file}"
        return done.returncode, done.stdout, done.stderr.strip()

    return run


@pytest.mark.parametrize("file", [ROOT / "tunlab/cli/__init__.py", *LOADED], ids=lambda file: file.name)
def test_ctrl_c_during_import_by_python_m_tunlab_exits_130(interrupted, file):
    assert interrupted(file, (sys.executable, "-m", "tunlab", "ls")) == (130, "", "")


@pytest.mark.parametrize("file", LOADED, ids=lambda file: file.name)
def test_ctrl_c_during_import_by_the_installed_script_exits_130(interrupted, file):
    assert interrupted(file, SCRIPT) == (130, "", "")
