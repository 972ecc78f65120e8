"""PersistentLab: up, open, down, command-line targets and gc, also after SIGKILL at many points of `up`."""

import errno
import os
import signal
import stat
import subprocess
import sys

import msgspec
import pytest

from tests.lab.labs import ROUTER
from tunlab.errors import KernelError, LabError, TopologyError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.processes import has_ended
from tunlab.kernel.network.link_events import wait_for_link
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import PersistentLab, resolve
from tunlab.lab.persistent import state
from tunlab.topology import LabSpec, NodeSpec, parse_lab, reachable

TEXT = ROUTER.replace(
    "server = {}",
    'server = { run = [{ command = "python3 -m http.server 80", ready = { port = 80 } }] }\n'
    'stack = { tun = "10.9.0.1/24" }',
)


def up(text=TEXT, name=None):
    return PersistentLab.up(parse_lab(text).override(name=name))


def tunlab(*arguments, prefix=()):
    command = [*prefix, sys.executable, "-m", "tunlab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestUp:
    def test_up_writes_lab_record_namespace_mounts_and_logs_to_the_run_directory(self, run_directory):
        lab = up()
        directory = run_directory / "router"
        assert sorted(path.name for path in directory.iterdir()) == ["lab.json", "nodes"]
        recorded = lab.state
        for node in ("client", "router", "server", "stack"):
            with lab.netns(node) as netns:
                assert recorded.namespaces[node] == netns.identity
            assert (directory / "nodes" / node / "net").is_file()
        assert (directory / "nodes" / "server" / "program1.log").is_file()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755

    def test_status_lists_nodes_tun_and_processes(self):
        status = up().status()
        assert (status.condition, status.nodes, status.links) == ("up", ["client", "router", "server", "stack"], 2)
        assert (status.ifname, status.addresses, status.attached) == ("tun0", ["10.9.0.1/24"], False)
        assert len(status.processes) == 1  # the web server is the only process

    def test_up_with_unknown_sysctl_raises_error_and_leaves_no_files(self, run_directory):
        with pytest.raises(TopologyError, match=r"`nodes\.client\.sysctls\.net\.no\.such` cannot be \'1\'"):
            up(TEXT.replace("client = {}", 'client = { sysctls = { "net.no.such" = "1" } }'))
        assert list(run_directory.iterdir()) == []

    def test_up_with_a_program_that_exits_before_ready_leaves_no_files(self, run_directory):
        with pytest.raises(LabError, match="exited with status 1 before it was ready"):
            up(TEXT.replace("python3 -m http.server 80", "false"))
        assert list(run_directory.iterdir()) == []

    def test_live_lab_runs_programs_and_stays_up_when_closed(self, need):
        up()
        with PersistentLab.open("router").live() as live:
            assert live.ping_all() == reachable(live.plan)
            page = live["client"].run([need("curl"), "-s", "http://server.lab/"], capture_output=True, check=True)
            assert b"Directory listing" in page.stdout
        assert PersistentLab.open("router").is_up()


class TestDown:
    def test_down_returns_the_removed_tun_processes_and_nodes(self):
        removed = up().down()
        assert (removed.ifname, removed.namespace, len(removed.processes)) == ("tun0", True, 1)
        assert removed.nodes == ["client", "router", "server", "stack"]

    def test_down_in_another_process_removes_all_files_of_the_lab(self, run_directory):
        up()
        assert tunlab("down", "router").returncode == 0
        assert list(run_directory.iterdir()) == []

    def test_down_frees_namespaces_despite_programs_of_another_lab(self):
        """The other lab's program has a copy of the mount namespace, in which the bind mounts of all labs remain."""
        first, second = up(name="first"), up(name="second")
        with Netns.create() as outside, Rtnl(outside) as rtnl:
            with first.netns("client") as netns:
                rtnl.add_veth("probe", "probe", peer_netns=netns)
            with second.live() as live:
                program = live["client"].popen(["sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
                program.stdout.readline()
                first.down()
                with pytest.raises(KernelError) as caught:
                    wait_for_link(rtnl, rtnl.link_index("probe"), lambda _: False, 20)
                assert caught.value.errno == errno.ENODEV
                second.down()
                with program:
                    assert program.wait() == -signal.SIGKILL

    @pytest.mark.parametrize("propagation", ["private", "shared"])
    def test_down_frees_namespaces_with_each_mount_propagation(self, need, propagation):
        test = f"{__file__}::TestDown::test_down_frees_namespaces_despite_programs_of_another_lab"
        command = [need("unshare"), "-m", "--propagation", propagation, sys.executable, "-m", "pytest", "-q", test]
        done = subprocess.run([*command, "-p", "no:cacheprovider"], capture_output=True, text=True, check=False)
        assert "1 passed" in done.stdout

    @pytest.mark.parametrize("propagation", ["private", "shared"])
    def test_command_in_a_node_reaches_other_nodes_with_each_mount_propagation(self, need, propagation):
        tunlab = f"{sys.executable} -m tunlab"
        script = f"{tunlab} up two-hosts; {tunlab} exec a -- {tunlab} exec b -- hostname; {tunlab} down"
        command = [need("unshare"), "-m", "--propagation", propagation, "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "\nb\n" in done.stdout, done.stderr

    def test_down_with_a_file_of_another_program_in_the_lab_directory_raises_lab_error(self, run_directory):
        lab = up()
        foreign = run_directory / "router" / "nodes" / "client" / "notes.txt"
        foreign.write_text("mine")
        with pytest.raises(LabError, match=r"holds files that tunlab did not create: nodes/client/notes\.txt"):
            lab.down()
        foreign.unlink()
        lab.down()


class TestOneNode:
    def test_up_with_an_mtu_that_the_kernel_rejects_leaves_no_files(self, run_directory):
        # A NodeSpec built in code is not checked, so the TUN driver rejects the MTU only in the last step of `up`.
        spec = LabSpec("lab", {"stack": NodeSpec(ifname="tun0", tun=("10.1.2.1/24",), mtu=70_000)})
        with pytest.raises(KernelError):
            PersistentLab.up(spec)
        assert list(run_directory.iterdir()) == []

    def test_down_kills_processes_and_returns_their_pids(self, persistent_lab):
        with persistent_lab.netns() as netns:
            program = netns.popen(["sleep", "600"])
        removed = persistent_lab.down()
        assert program.wait() < 0
        assert (removed.name, removed.ifname, removed.namespace) == ("lab", "tun0", True)
        assert removed.processes == [program.pid]
        with pytest.raises(LabError, match="there is no lab 'lab'"):
            persistent_lab.down()

    def test_tun_deleted_by_a_program_is_missing_in_results_of_status_and_down(self, persistent_lab):
        with persistent_lab.netns() as netns, Rtnl(netns) as rtnl:
            rtnl.delete_link(rtnl.link_index("tun0"))
        status = persistent_lab.status()
        assert (status.condition, status.addresses, status.attached) == ("up", [], False)
        assert persistent_lab.down().ifname == ""

    @pytest.mark.usefixtures("persistent_lab")
    def test_open_without_name_needs_a_single_running_lab_or_tunlab_lab_variable(self, monkeypatch):
        assert PersistentLab.open().name == "lab"
        PersistentLab.up(LabSpec("other"))
        with pytest.raises(LabError, match=r"2 labs are up: lab, other\. Name one of them"):
            PersistentLab.open()
        monkeypatch.setenv("TUNLAB_LAB", "other")
        assert PersistentLab.open().name == "other"
        assert PersistentLab.open("lab").name == "lab"

    @pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 16])
    def test_persistent_lab_with_invalid_name_raises_topology_error(self, name):
        with pytest.raises(TopologyError):
            PersistentLab(name)


class TestResolve:
    def test_resolve_of_lab_name_or_node_name_or_lab_slash_node_returns_lab_and_node(self):
        up(name="one")
        up('name = "two"\n[nodes]\nalone = {}\n')
        for target, found in {
            "one": ("one", "stack"),
            "one/client": ("one", "client"),
            "client": ("one", "client"),
            "two": ("two", "alone"),
            "alone": ("two", "alone"),
        }.items():
            lab, node = resolve(target)
            assert (lab.name, node) == found

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("one/clint", "lab 'one' has no node 'clint'. Did you mean client?"),
            ("client", "2 labs have a node 'client': one, two. Name the lab too: one/client."),
            ("one", "lab 'one' has 3 nodes: client, router, server. Name one of them: one/client."),
            ("three", "there is no lab 'three'. Running labs: one, two."),
            ("Three", "no running lab has a node 'Three'. `tunlab ls` lists the running labs."),
            ("three/client", "there is no lab 'three'. Running labs: one, two."),
        ],
    )
    def test_resolve_of_unknown_or_ambiguous_target_raises_lab_error(self, target, message):
        up(ROUTER, name="one")
        up(ROUTER, name="two")
        with pytest.raises(LabError) as caught:
            resolve(target)
        assert str(caught.value) == message

    def test_resolve_of_a_node_name_in_two_labs_prefers_the_lab_in_tunlab_lab_variable(self, monkeypatch):
        up(ROUTER, name="one")
        up(ROUTER, name="two")
        monkeypatch.setenv("TUNLAB_LAB", "two")
        assert resolve("client")[0].name == "two"


class TestGc:
    def test_gc_keeps_running_labs(self):
        up()
        assert PersistentLab.gc() == []
        assert PersistentLab.open("router").is_up()

    def test_gc_removes_unfinished_labs_and_labs_without_namespaces(self, run_directory):
        up(name="whole")
        broken = up(name="broken")
        state.write(broken.directory, msgspec.structs.replace(broken.state, phase="coming up", owner=1))
        gone = up(name="gone")
        programs = [os.pidfd_open(pid) for pid in gone.status().processes]
        assert programs
        subprocess.run(["umount", *(run_directory / "gone" / "nodes").glob("*/net")], check=True)
        assert gone.status().condition == "gone"
        removed = {each.name: each.nodes for each in PersistentLab.gc()}
        assert removed == {"broken": ["client", "router", "server", "stack"], "gone": []}
        assert [lab.name for lab in PersistentLab.ls()] == ["whole"]
        for program in programs:
            assert has_ended(program)
            os.close(program)


MOUNT = "{run}/router/nodes/{node}/net"

# Each entry is (system call, n, file): `tunlab up` is killed before a thread makes the call for the n-th time. If a
# file is given, only calls on that file count.
POINTS = [
    ("flock", 2, ""),  # before the first flock(2), nothing has been created yet
    ("rename", 1, ""),
    ("unshare", 1, ""),
    ("unshare", 2, ""),
    ("unshare", 4, ""),
    ("write", 3, "/proc/sys/net/ipv4/ip_forward"),
    ("rename", 2, ""),
    ("mkdir", 3, ""),
    ("mkdir", 4, ""),
    ("mount", 1, ""),
    ("mount", 2, ""),
    ("mount", 4, ""),
    ("openat", 1, MOUNT.replace("{node}", "server")),
    ("setns", 1, ""),
    ("setns", 2, ""),
    ("sendto", 1, ""),
    ("sendto", 3, ""),
    ("sendto", 6, ""),
    ("openat", 1, "/dev/net/tun"),
    ("ioctl", 1, "/dev/net/tun"),
    ("pidfd_open", 1, ""),
    ("rename", 3, ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "when", "file"), POINTS, ids=[f"{call}-{when}-{file}" for call, when, file in POINTS])
def test_gc_after_sigkill_during_up_leaves_no_files(need, run_directory, tmp_path, call, when, file):
    lab_file = tmp_path / "router.toml"
    lab_file.write_text(TEXT)
    # "-b execve" detaches strace from the lab's programs; otherwise it would wait for them.
    prefix = [need("strace"), "-f", "-qq", "-b", "execve", "-o", os.devnull]
    prefix += ["-P", file.format(run=run_directory)] if file else []
    prefix += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    done = tunlab("up", str(lab_file), prefix=prefix)
    (lab,) = PersistentLab.ls()
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert lab.status().condition == "broken"
    assert [removed.name for removed in PersistentLab.gc()] == ["router"]
    assert list(run_directory.iterdir()) == []
    up().down()
