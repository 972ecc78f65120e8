"""The Makefile's commands on machines that lack something."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(*arguments, prefix=()):
    return subprocess.run([*prefix, "make", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)


def test_make_test_unprivileged_says_that_it_needs_root(as_nobody, need):
    assert need("make")
    done = make("test", prefix=as_nobody())
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "make test: the tests need root, because they create network namespaces and devices; run sudo make test"
    )


def test_make_old_python_is_named(need, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = make("demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert done.stderr.startswith(f"tunlab needs Python 3.11 or later; {python} is older.")
