"""`tunlab demo` prints the output shown in the README, with and without a ping program."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SHOWN = re.search(r"^```console\n\$ tunlab demo\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]
WITHOUT_PING = [
    " ".join(text.split())  # the README breaks this text into lines
    for text in re.search(r"`(ping is not installed.*?)`.*?`(64 bytes .*?)`", README, re.DOTALL).groups()
]


def assert_printed(shown, printed):
    """Assert that a program printed the text shown on a page, where `…` stands for any text."""
    pattern = ".*?".join(map(re.escape, shown.strip().split("…")))
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), printed


@pytest.fixture
def without_ping(environment, tmp_path):
    """Return environment variables whose PATH contains no programs."""
    return {**environment, "PATH": str(tmp_path)}


def test_demo_with_ping_program_prints_the_output_in_the_readme(command, need):
    assert need("ping")
    result = command("demo")
    assert (result.status, result.err) == (0, "")
    assert_printed(SHOWN, result.out)


def test_demo_without_ping_program_prints_the_output_in_the_readme(command, without_ping):
    result = command("demo", env=without_ping)
    assert (result.status, result.err) == (0, "")
    first, reply = WITHOUT_PING
    created, _, packets = SHOWN.split("\n", 2)
    packets = packets.partition("PING ")[0]
    assert_printed(f"{created}\n{first}\n{packets}{reply}\n…", result.out)


def test_demo_as_unprivileged_user_enters_a_user_namespace(command, as_nobody):
    result = command("demo", prefix=as_nobody())
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(
        "Entered a user namespace, because this user is not root.\nCreated a network namespace"
    )
    assert "1 received" in result.out


def test_demo_as_unprivileged_user_without_ping_program_prints_the_reply(command, as_nobody, without_ping):
    result = command("demo", prefix=(*as_nobody(), "env", f"PATH={without_ping['PATH']}"))
    assert (result.status, result.err) == (0, "")
    assert "64 bytes from 10.1.2.3: icmp_seq=1 time=" in result.out


def test_demo_without_capabilities_exits_77(command, without_capabilities):
    result = command("demo", prefix=without_capabilities)
    assert (result.status, result.out) == (77, "")
    assert result.err.splitlines()[-1].startswith(
        "tunlab: enter a user namespace: mapping user 0 needs CAP_SETFCAP (user_namespaces(7)), which is missing"
    )


def test_demo_without_dev_net_tun_exits_77(command, without_tun_node):
    result = command("demo", prefix=without_tun_node)
    assert (result.status, result.out) == (77, "")
    assert "/dev/net/tun does not exist" in result.err.splitlines()[-1]
