"""What every test stands on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import tunlab


@pytest.fixture(scope="session")
def need():
    """`need("tshark")`: the program's path; its absence fails the test, for a skip would hide what is not tested."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.fail(f"there is no {program} on this machine: `make test` as root installs it", pytrace=False)
        return path

    return find


@pytest.fixture
def without_capabilities(need):
    """A prefix for a command: root with no capability at all."""
    return (need("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@pytest.fixture
def without_tun_node(need):
    """A prefix for a command: in a mount namespace of its own, in which an empty directory hides /dev/net."""
    return (need("unshare"), "--mount", "sh", "-ec", 'mount -t tmpfs none /dev/net; exec "$@"', "sh")


@pytest.fixture
def as_nobody(need, tmp_path):
    """`as_nobody(mode="666", work=…)`, a prefix for a command: an unprivileged user, and a TUN node of that mode.

    The machine's own node and directories stay as they are: see as_nobody.sh.
    """

    def prefix(mode: str = "666", work: Path = tmp_path) -> tuple[str, ...]:
        opened = {sys.prefix, sys.base_prefix, str(Path(tunlab.__file__).parents[1])}
        script = Path(__file__).with_name("as_nobody.sh")
        return (need("unshare"), "--mount", "sh", str(script), mode, str(work), *sorted(opened), "--")

    return prefix
