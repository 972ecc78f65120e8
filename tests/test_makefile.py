"""Messages of the Makefile without root and with an old Python."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(*arguments, prefix=()):
    return subprocess.run([*prefix, "make", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)


def test_error_of_make_test_without_root_says_run_as_root(as_nobody, need):
    assert need("make")
    done = make("test", prefix=as_nobody())
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "make test: the tests need root, because they create network namespaces and devices; run sudo make test"
    )


def test_error_of_make_with_old_python_names_the_python_program(need, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = make("demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert done.stderr.startswith(f"tunlab needs Python 3.11 or later; {python} is older.")
