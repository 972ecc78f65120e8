"""`tunlab ping-all`: the table of replies, and results that differ from the topology."""

import json

import pytest

from tunlab.lab import PersistentLab


@pytest.mark.usefixtures("router")
def test_ping_all_prints_a_matrix_of_results(tunlab):
    result = tunlab("ping-all")
    assert result.status == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["client", "router", "server", "stack"],
        ["client", "-", "yes", "yes", "no"],
        ["router", "yes", "-", "yes", "no"],
        ["server", "yes", "yes", "-", "no"],
        ["stack", "no", "no", "no", "-"],
    ]


def test_ping_all_with_a_missing_reply_prints_lost_and_exits_1(tunlab, router):
    with router.netns("router") as netns:
        netns.set_sysctl("net.ipv4.ip_forward", 0)
    result = tunlab("ping-all", "router")
    assert result.status == 1
    assert result.out.count("LOST") == 2
    assert result.err.startswith(
        "tunlab: 2 of 12 results differ from the topology: client → server, server → client. See "
    )
    pairs = json.loads(tunlab("ping-all", "router", "--json").out)
    assert {"from": "client", "to": "server", "reached": False, "expected": True} in pairs


def test_ping_all_reports_an_unexpected_reply_as_open_and_exits_1(tunlab, tmp_path):
    file = tmp_path / "closed.toml"
    file.write_text(
        '[nodes]\na = { routes = [{ to = "default", via = "10.0.1.2" }] }\nm = {}\n'
        'b = { routes = [{ to = "default", via = "10.0.2.1" }] }\n'
        '[[links]]\nends = ["a", "m"]\n[[links]]\nends = ["m", "b"]\n'
    )
    tunlab("up", str(file))
    assert tunlab("ping-all").status == 0
    with PersistentLab.open("closed").netns("m") as netns:
        netns.set_sysctl("net.ipv4.ip_forward", 1)
    result = tunlab("ping-all")
    assert result.status == 1
    assert result.out.count("OPEN") == 2


def test_ping_all_of_a_lab_with_one_node_prints_nothing_to_test(tunlab, lab):
    assert tunlab("ping-all") == (0, "", "lab lab has only one node; there is nothing to test\n")
    assert tunlab("ping-all", "--json").out == "[]\n"
