"""The probe of the machine: which kernel features tunlab can use."""

import shutil

import pytest

from tunlab.errors import PrivilegeError
from tunlab.kernel.probe import Probe, probe


@pytest.fixture(scope="module")
def probes():
    return {found.name: found for found in probe()}


def test_probe_on_this_machine_finds_every_needed_feature(probes):
    assert {found.name for found in probes.values() if found.needed} == {
        "/dev/net/tun", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW",
        "network namespace", "TUN device", "packet socket",
    }  # fmt: skip
    assert all(found.ok for found in probes.values() if found.needed)


def test_probe_returns_result_for_every_feature(probes):
    optional = {found.name for found in probes.values() if not found.needed}
    assert optional == {
        "IPv6", "node processes", "nf_tables", "veth", "bridge", "qdisc tbf", "qdisc netem", "user namespace", "ping",
    }  # fmt: skip


def test_each_probe_result_has_detail_and_remedy(probes):
    for found in probes.values():
        assert found.detail
        if not found.ok:
            assert found.remedy
            assert found.remedy not in found.detail


def test_probe_describes_tun_device_node(probes):
    assert probes["/dev/net/tun"].detail.startswith("mode 0")
    assert "multi-queue" in probes["/dev/net/tun"].detail


def test_probe_finds_ping_program(probes):
    assert probes["ping"].ok == (shutil.which("ping") is not None)


def test_probe_reports_missing_ping_program(run_python):
    source = """
        import os
        from tunlab.kernel.probe import _ping
        os.environ["PATH"] = "/nowhere"
        print(_ping())
    """
    assert "install iputils-ping" in run_python(source)


MAKE = """
    from tunlab.errors import PrivilegeError
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.kernel.device.tun import TunDevice
    try:
        with Netns.create() as netns, TunDevice.create(netns):
            print("ready")
    except PrivilegeError as error:
        print(error.missing, "|", error)
"""


@pytest.mark.parametrize(
    ("dropped", "missing"),
    [("-sys_admin", "CAP_SYS_ADMIN"), ("-net_admin", "CAP_NET_ADMIN"), ("-all", "CAP_SYS_ADMIN")],
)
def test_probe_reports_missing_capability_once(run_python, dropped, missing):
    output = run_python(MAKE, prefix=["setpriv", f"--bounding-set={dropped}"])
    assert output.startswith(missing + " | ")
    assert f"{missing} is missing (EPERM)" in output
    assert output.count("\n") == 1


def test_probe_reports_inaccessible_tun_node_first(run_python):
    output = run_python(MAKE, nobody=True, launcher=("-m", "tunlab.kernel.namespace.userns"), tun_mode=0o600)
    assert output.startswith("/dev/net/tun | open /dev/net/tun: /dev/net/tun has mode 0600")


def test_probe_reports_missing_tun_node_first(run_python):
    hide = 'mount -t tmpfs none /dev/net; exec "$@"'
    output = run_python(MAKE, prefix=["unshare", "--mount", "sh", "-ec", hide, "sh"])
    assert output.startswith("/dev/net/tun | open /dev/net/tun: /dev/net/tun does not exist")


def test_probe_in_user_namespace_finds_every_feature(run_python):
    assert run_python(MAKE, nobody=True, launcher=("-m", "tunlab.kernel.namespace.userns")).strip() == "ready"


HIDDEN = 'mount -t tmpfs none /dev/net; exec "$@"'

PROBE = """
    from tunlab.kernel.probe import probe
    for found in probe():
        print(found.ok, found.name, found.detail, found.remedy, sep="|")
"""


def test_probe_without_root_uses_user_namespace(run_python):
    source = """
        from tunlab.kernel.probe import probe
        for found in probe():
            print(found.name, found.needed, found.ok, found.rootless, sep="|")
    """
    rows = [line.split("|") for line in run_python(source, nobody=True).splitlines()]
    rootless = {name: (needed, ok) for name, needed, ok, inside in rows if inside == "True"}
    needed = {name for name, (needed, _) in rootless.items() if needed == "True"}
    assert needed == {
        "/dev/net/tun", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW",
        "network namespace", "TUN device", "packet socket",
    }  # fmt: skip
    assert {ok for needed, ok in rootless.values() if needed == "True"} == {"True"}
    assert {name for name, *_, inside in rows if inside == "False"} == {"user namespace", "ping"}


def test_probe_without_root_reports_only_inaccessible_tun_node_as_failure(run_python):
    rows = [line.split("|") for line in run_python(PROBE, nobody=True, tun_mode=0o600).splitlines()]
    results = {name: (ok, remedy) for ok, name, _, remedy in rows}
    assert results["network namespace"][0] == results["CAP_NET_ADMIN"][0] == "True"
    for name in ("/dev/net/tun", "TUN device"):
        assert results[name][0] == "False"
        assert results[name][1]


def test_probe_without_privileges_returns_every_result(run_python, without_capabilities):
    output = run_python(PROBE, prefix=["unshare", "--mount", "sh", "-ec", HIDDEN, "sh", *without_capabilities])
    rows = [line.split("|") for line in output.splitlines()]
    results = {name: (ok, detail, remedy) for ok, name, detail, remedy in rows}
    for name in ("/dev/net/tun", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "network namespace"):
        assert results[name][0] == "False"
        assert results[name][2]
    assert results["user namespace"][0] == "False"
    assert "CAP_SETFCAP" in results["user namespace"][1]
    assert "TUN device" not in results  # Without a namespace, probe leaves the other checks out.


def test_probe_without_net_raw_reports_only_packet_socket_as_failure(run_python):
    output = run_python(PROBE, prefix=["setpriv", "--bounding-set=-net_raw"])
    rows = {name: ok for ok, name, *_ in (line.split("|") for line in output.splitlines())}
    assert (rows["TUN device"], rows["packet socket"], rows["CAP_NET_RAW"]) == ("True", "False", "False")


def test_probe_result_is_immutable():
    found = Probe("name", ok=True, detail="works")
    assert (found.remedy, found.needed) == ("", False)
    with pytest.raises(AttributeError):
        found.ok = False
    assert issubclass(PrivilegeError, OSError)


def test_probe_with_hidden_parts_of_proc_says_that_nodes_see_other_processes(run_python, need):
    mask = (need("unshare"), "-m", "sh", "-c", 'mount -t tmpfs none /proc/fs; exec "$@"', "sh")
    output = run_python(PROBE, prefix=mask, launcher=("-m", "tunlab.kernel.namespace.userns"))
    (row,) = (line.split("|") for line in output.splitlines() if "|node processes|" in line)
    assert row[0] == "False"
    assert "parts of this container's /proc are hidden" in row[2]
    assert "systempaths=unconfined" in row[3]


def test_node_with_hidden_parts_of_proc_runs_programs(run_python, need):
    source = """
        from tunlab.lab import Lab
        lab = Lab("x")
        lab.node("a", run=["sleep 600"])
        with lab:
            print(lab["a"].run(["sh", "-c", "hostname; ls /proc/sys/net >/dev/null"], capture_output=True).stdout)
    """
    mask = (need("unshare"), "-m", "sh", "-c", 'mount -t tmpfs none /proc/fs; exec "$@"', "sh")
    output = run_python(source, prefix=mask, launcher=("-m", "tunlab.kernel.namespace.userns"))
    assert output == "b'a\\n'\n"
