import shutil

import pytest

from tunlab.errors import PrivilegeError
from tunlab.kernel.probe import Probe, probe


@pytest.fixture(scope="module")
def probes():
    return {found.name: found for found in probe()}


def test_a_machine_that_runs_these_tests_has_all_that_is_needed(probes):
    assert {found.name for found in probes.values() if found.needed} == {
        "/dev/net/tun", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW",
        "network namespace", "TUN device", "packet socket",
    }  # fmt: skip
    assert all(found.ok for found in probes.values() if found.needed)


def test_everything_is_asked(probes):
    optional = {found.name for found in probes.values() if not found.needed}
    assert optional == {
        "IPv6", "nf_tables", "veth", "bridge", "qdisc tbf", "qdisc netem", "user namespace", "ping",
    }  # fmt: skip


def test_each_says_what_it_saw_and_what_to_do(probes):
    for found in probes.values():
        assert found.detail
        if not found.ok:
            assert found.remedy
            assert found.remedy not in found.detail


def test_the_node_is_described(probes):
    assert probes["/dev/net/tun"].detail.startswith("mode 0")
    assert "multi-queue" in probes["/dev/net/tun"].detail


def test_ping_is_found_where_it_is(probes):
    assert probes["ping"].ok == (shutil.which("ping") is not None)


def test_a_missing_ping_is_said(run_python):
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
def test_a_missing_capability_is_one_sentence(run_python, dropped, missing):
    said = run_python(MAKE, prefix=["setpriv", f"--bounding-set={dropped}"])
    assert said.startswith(missing + " | ")
    assert f"{missing} is missing (EPERM)" in said
    assert said.count("\n") == 1


def test_a_closed_node_is_one_sentence(run_python):
    said = run_python(MAKE, nobody=True, launcher=("-m", "tunlab.kernel.namespace.userns"), tun_mode=0o600)
    assert said.startswith("/dev/net/tun | open /dev/net/tun: /dev/net/tun has mode 0600")


def test_a_missing_node_is_one_sentence(run_python):
    hide = 'mount -t tmpfs none /dev/net; exec "$@"'
    said = run_python(MAKE, prefix=["unshare", "--mount", "sh", "-ec", hide, "sh"])
    assert said.startswith("/dev/net/tun | open /dev/net/tun: /dev/net/tun does not exist")


def test_in_a_user_namespace_all_is_ready(run_python):
    assert run_python(MAKE, nobody=True, launcher=("-m", "tunlab.kernel.namespace.userns")).strip() == "ready"


HIDDEN = 'mount -t tmpfs none /dev/net; exec "$@"'

PROBE = """
    from tunlab.kernel.probe import probe
    for found in probe():
        print(found.ok, found.name, found.detail, found.remedy, sep="|")
"""


def test_without_root_everything_is_tried_in_a_user_namespace(run_python):
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


def test_without_root_a_closed_node_is_all_that_is_missing(run_python):
    rows = [line.split("|") for line in run_python(PROBE, nobody=True, tun_mode=0o600).splitlines()]
    answers = {name: (ok, remedy) for ok, name, _, remedy in rows}
    assert answers["network namespace"][0] == answers["CAP_NET_ADMIN"][0] == "True"
    for name in ("/dev/net/tun", "TUN device"):
        assert answers[name][0] == "False"
        assert answers[name][1]


def test_without_any_right_every_probe_still_answers(run_python, without_capabilities):
    said = run_python(PROBE, prefix=["unshare", "--mount", "sh", "-ec", HIDDEN, "sh", *without_capabilities])
    rows = [line.split("|") for line in said.splitlines()]
    answers = {name: (ok, detail, remedy) for ok, name, detail, remedy in rows}
    for name in ("/dev/net/tun", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "network namespace"):
        assert answers[name][0] == "False"
        assert answers[name][2]
    assert answers["user namespace"][0] == "False"
    assert "CAP_SETFCAP" in answers["user namespace"][1]
    assert "TUN device" not in answers  # nothing more is asked where there is no namespace


def test_without_net_raw_the_packet_socket_alone_is_missing(run_python):
    said = run_python(PROBE, prefix=["setpriv", "--bounding-set=-net_raw"])
    rows = {name: ok for ok, name, *_ in (line.split("|") for line in said.splitlines())}
    assert (rows["TUN device"], rows["packet socket"], rows["CAP_NET_RAW"]) == ("True", "False", "False")


def test_a_probe_is_a_frozen_row():
    found = Probe("name", ok=True, detail="works")
    assert (found.remedy, found.needed) == ("", False)
    with pytest.raises(AttributeError):
        found.ok = False
    assert issubclass(PrivilegeError, OSError)
