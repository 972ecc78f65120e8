"""Labs of several nodes that stay: on disk, found, entered, taken down by another process, and by what means."""

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
from tunlab.kernel.network.link_events import wait_for_link
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import Lab, resolve
from tunlab.lab.persistent import state
from tunlab.topology import parse_lab, reachable

TEXT = ROUTER.replace(
    "server = {}",
    'server = { run = [{ command = "python3 -m http.server 80", ready = { port = 80 } }] }\n'
    'stack = { tun = "10.9.0.1/24" }',
)


def up(text=TEXT, name=None):
    return Lab.up(parse_lab(text).changed(name=name))


def tunlab(*arguments, prefix=()):
    command = [*prefix, sys.executable, "-m", "tunlab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestUp:
    def test_what_is_on_disk(self, run_directory):
        lab = up()
        here = run_directory / "router"
        assert sorted(path.name for path in here.iterdir()) == ["lab.json", "nodes"]
        recorded = lab.state
        for node in ("client", "router", "server", "stack"):
            with lab.netns(node) as netns:
                assert recorded.namespaces[node] == netns.identity
            assert (here / "nodes" / node / "net").is_file()
        assert (here / "nodes" / "server" / "program1.log").is_file()
        assert stat.S_IMODE(here.stat().st_mode) == 0o755

    def test_status(self):
        status = up().status()
        assert (status.condition, status.nodes, status.links) == ("up", ["client", "router", "server", "stack"], 2)
        assert (status.ifname, status.addresses, status.attached) == ("tun0", ["10.9.0.1/24"], False)
        assert len(status.processes) == 1  # the web server; not the name server, which is tunlab's own

    def test_what_the_kernel_refuses_leaves_nothing(self, run_directory):
        with pytest.raises(TopologyError, match=r"nodes\.client\.sysctls\.net\.no\.such: "):
            up(TEXT.replace("client = {}", 'client = { sysctls = { "net.no.such" = "1" } }'))
        assert list(run_directory.iterdir()) == []

    def test_a_program_that_is_not_ready_leaves_nothing(self, run_directory):
        with pytest.raises(LabError, match="ended with exit code 1 before it was ready"):
            up(TEXT.replace("python3 -m http.server 80", "false"))
        assert list(run_directory.iterdir()) == []

    def test_opened_by_another(self, need):
        up()
        with Lab.open("router").live() as live:
            assert live.ping_all() == reachable(live.plan)
            page = live["client"].run([need("curl"), "-s", "http://server.lab/"], capture_output=True, check=True)
            assert b"Directory listing" in page.stdout
        assert Lab.open("router").is_up()

    def test_names_are_asked_for_by_dns(self):
        up()
        with Lab.open("router").live() as live:
            script = os.path.join(os.path.dirname(__file__), "ask_dns.py")  # noqa: PTH118, PTH120
            shown = live["client"].run(["python3", script, "udp", "server"], capture_output=True, text=True, check=True)
        assert shown.stdout == "server 0 10.0.2.2\n"


class TestDown:
    def test_it_says_what_it_removed(self):
        removed = up().down()
        assert (removed.ifname, removed.namespace, len(removed.processes)) == ("tun0", True, 1)
        assert removed.nodes == ["client", "router", "server", "stack"]

    def test_by_another_process(self, run_directory):
        up()
        assert tunlab("down", "router").returncode == 0
        assert list(run_directory.iterdir()) == []

    def test_its_namespaces_are_not_held_by_the_programs_of_others(self):
        """A program's mounts are a copy of ours, with the pins of all labs in it."""
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

    def test_a_file_of_somebody_else_is_not_deleted(self, run_directory):
        lab = up()
        foreign = run_directory / "router" / "nodes" / "client" / "notes.txt"
        foreign.write_text("mine")
        with pytest.raises(LabError, match=r"holds what tunlab has not put there: nodes/client/notes\.txt"):
            lab.down()
        foreign.unlink()
        lab.down()


class TestResolve:
    def test_a_lab_a_node_and_both(self):
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
        ("target", "sentence"),
        [
            ("one/clint", "lab 'one' has no node 'clint'; did you mean client?"),
            ("client", "2 labs have a node 'client': one, two; say which, as one/client"),
            ("one", "lab 'one' has 3 nodes: client, router, server; say which, as one/client"),
            ("three", "there is no lab 'three'; up are: one, two"),
            ("Three", "no lab that is up has a node 'Three'; tunlab ls shows what is up"),
            ("three/client", "there is no lab 'three'; up are: one, two"),
        ],
    )
    def test_none_or_several(self, target, sentence):
        up(ROUTER, name="one")
        up(ROUTER, name="two")
        with pytest.raises(LabError) as caught:
            resolve(target)
        assert str(caught.value) == sentence

    def test_the_lab_that_one_is_in_goes_first(self, monkeypatch):
        up(ROUTER, name="one")
        up(ROUTER, name="two")
        monkeypatch.setenv("TUNLAB_LAB", "two")
        assert resolve("client")[0].name == "two"


class TestGc:
    def test_what_is_up_stays(self):
        up()
        assert Lab.gc() == []
        assert Lab.open("router").is_up()

    def test_what_was_made_half_way_and_what_is_gone(self, run_directory):
        up(name="whole")
        broken = up(name="broken")
        state.write(broken.directory, msgspec.structs.replace(broken.state, phase="coming up", owner=1))
        gone = up(name="gone")
        # Its programs hold the namespace without its pins, and what is found only by its number is not killed.
        living = [gone.state.resolver, *gone.status().processes]
        subprocess.run(["umount", *(run_directory / "gone" / "nodes").glob("*/net")], check=True)
        assert gone.status().condition == "gone"
        removed = {each.name: each.nodes for each in Lab.gc()}
        assert removed == {"broken": ["client", "router", "server", "stack"], "gone": []}
        assert [lab.name for lab in Lab.all()] == ["whole"]
        for pid in living:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


MOUNT = "{run}/router/nodes/{node}/net"

# The system call before which SIGKILL comes, which of them in its thread, and the file that it must be about.
POINTS = [
    ("flock", 2, ""),  # the first comes before anything is made
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
    ("socketpair", 1, ""),
    ("memfd_create", 1, ""),
    ("sendmsg", 1, ""),
    ("sendmsg", 2, ""),
    ("pidfd_open", 1, ""),
    ("rename", 3, ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "when", "file"), POINTS, ids=[f"{call}-{when}-{file}" for call, when, file in POINTS])
def test_what_a_killed_up_leaves_is_removed_whole(need, run_directory, tmp_path, call, when, file):
    lab_file = tmp_path / "router.toml"
    lab_file.write_text(TEXT)
    # Detached from what it executes: strace would wait for the programs of the lab.
    prefix = [need("strace"), "-f", "-qq", "-b", "execve", "-o", os.devnull]
    prefix += ["-P", file.format(run=run_directory)] if file else []
    prefix += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    done = tunlab("up", str(lab_file), prefix=prefix)
    (lab,) = Lab.all()
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert lab.status().condition == "broken"
    assert [removed.name for removed in Lab.gc()] == ["router"]
    assert list(run_directory.iterdir()) == []
    up().down()
