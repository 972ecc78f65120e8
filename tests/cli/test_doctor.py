"""`tunlab doctor`: as root, without privileges, and without a TUN driver or a Docker Engine."""

import json
import os


def test_doctor_as_root_reports_a_working_tun_device(command):
    result = command("doctor", "--json")
    assert result.status == 0
    probes = {each["name"]: each for each in json.loads(result.out)}
    assert {"/dev/net/tun", "CAP_NET_ADMIN", "TUN device", "ping", "Docker Engine"} <= set(probes)
    assert probes["TUN device"]["ok"] is True


def test_doctor_without_dev_net_tun_prints_a_remedy(command, without_tun_node):
    result = command("doctor", prefix=without_tun_node)
    assert result.status == 77
    assert "MISSING  /dev/net/tun" in result.out
    assert "→ load the driver (`modprobe tun`)" in result.out
    assert result.err == "\ntunlab does not work on this machine; see MISSING above\n"


def test_doctor_as_unprivileged_user_checks_in_a_user_namespace(command, as_nobody):
    result = command("doctor", prefix=as_nobody())
    assert (result.status, result.err) == (0, "\ntunlab works on this machine, rootless; tunlab up needs root\n")
    assert not [line for line in result.out.splitlines() if line.startswith("MISSING")]
    probes = {each["name"]: each for each in json.loads(command("doctor", "--json", prefix=as_nobody()).out)}
    for name in ("/dev/net/tun", "CAP_NET_ADMIN", "network namespace", "TUN device", "packet socket"):
        assert (probes[name]["ok"], probes[name]["rootless"]) == (True, True)
    assert result.out.count(", rootless\n") == sum(each["rootless"] for each in probes.values())


def test_doctor_as_unprivileged_user_reports_unreadable_dev_net_tun_as_missing(command, as_nobody):
    result = command("doctor", prefix=as_nobody(mode="600"))
    assert (result.status, result.err) == (77, "\ntunlab does not work on this machine; see MISSING above\n")
    missing = [line.split()[1] for line in result.out.splitlines() if line.startswith("MISSING")]
    assert missing == ["/dev/net/tun", "TUN"]


def test_doctor_without_docker_engine_exits_0(command, environment):
    result = command("doctor", env={**environment, "DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    assert result.status == 0
    assert "there is no engine: the socket /nonexistent/docker.sock does not exist" in result.out


def test_doctor_without_capabilities_exits_77(command, without_capabilities):
    result = command("doctor", prefix=without_capabilities)
    assert result.status == 77
    assert "MISSING  CAP_NET_ADMIN" in result.out
    assert os.linesep * 3 not in result.out
