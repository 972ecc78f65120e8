"""`tunlab up`, `down`, `ls`, `exec`, `shell`: a lab that stays, and of which nothing is left."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunlab.kernel.netns import Netns
from tunlab.kernel.rtnl import Rtnl
from tunlab.lab import Lab

NEEDS_ROOT = (
    "run as root, or in a container with --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW"
    " --device /dev/net/tun: labs that stay need that (tunlab demo and pytest do not)"
)
DEFAULT = Path(__file__).parents[2] / "lab" / "default.toml"


def listed(tunlab):
    said = tunlab("ls", "--json")
    assert said.status == 0
    return {each["name"]: each for each in json.loads(said.out)}


class TestUp:
    def test_it_makes_a_configured_device_that_stays(self, tunlab):
        said = tunlab("up")
        assert (said.status, said.out) == (0, "lab is up: tun0 10.1.2.1/24\n")
        with Lab.open("lab").netns() as netns, Rtnl(netns) as rtnl:
            link = rtnl.link("tun0")
            assert (link.kind, link.up, link.carrier, link.mtu) == ("tun", True, False, 1500)
            assert [address.cidr for address in rtnl.addresses(link.index)] == ["10.1.2.1/24"]
            assert rtnl.link("lo").up

    def test_it_says_what_to_do_next_and_those_commands_work(self, tunlab, start):
        said = tunlab("up", "--name", "x")
        commands = [line.split("  ")[1].split()[1:] for line in said.err.splitlines()]
        assert [command[0] for command in commands] == ["dump", "exec", "down"]
        dump = start(*commands[0], "--count", "1", "--oneline")
        dump.wait_for("listening")
        # Nobody answers the ping: it ends with 1, and the reader has its request.
        assert start(*commands[1], "-W", "0.1").end().status == 1
        assert "10.1.2.1 > 10.1.2.2: ICMP echo request" in dump.end().out
        assert tunlab(*commands[2]).status == 0

    def test_options_are_what_is_made(self, tunlab):
        said = tunlab("up", "--name", "vpn", "--address", "192.0.2.9/30", "--ifname", "wire", "--mtu", "1400", "--json")
        made = json.loads(said.out)
        assert (made["name"], made["ifname"], made["address"], made["mtu"]) == ("vpn", "wire", "192.0.2.9/30", 1400)
        with Lab.open("vpn").netns() as netns, Rtnl(netns) as rtnl:
            assert rtnl.link("wire").mtu == 1400
        assert listed(tunlab)["vpn"]["addresses"] == ["192.0.2.9/30"]

    def test_options_go_before_the_file(self, tunlab):
        assert tunlab("up", str(DEFAULT), "--name", "other").out == "other is up: tun0 10.1.2.1/24\n"

    def test_two_labs_have_the_same_addresses_and_do_not_meet(self, tunlab):
        assert tunlab("up", "--name", "a").status == tunlab("up", "--name", "b").status == 0
        identities = [Lab(name).state.namespace for name in "ab"]
        assert identities[0] != identities[1]

    def test_a_lab_that_exists(self, tunlab, lab):
        said = tunlab("up")
        since = lab.state.created
        assert said.status == 73
        assert said.err == f"tunlab: lab 'lab' is up already (since {since}); tunlab down lab removes it\n"
        assert listed(tunlab)["lab"]["condition"] == "up"

    def test_of_eight_at_once_one_wins(self, command):
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda _: command("up", "--name", "race"), range(8)))
        assert sorted(said.status for said in done) == [0] + [73] * 7
        assert all(said.err.startswith("tunlab: lab 'race' is ") for said in done if said.status)
        assert Lab.open("race").down().ifname == "tun0"

    def test_it_starts_no_program(self, command, need, tmp_path):
        log = tmp_path / "strace"
        said = command("up", prefix=(need("strace"), "-f", "-o", str(log), "-e", "trace=execve,execveat"))
        assert said.status == 0
        executed = re.findall(r"execve(?:at)?\(.*", log.read_text())
        assert len(executed) == 1
        assert executed[0].startswith(f'execve("{sys.executable}"')

    @pytest.mark.usefixtures("lab")
    def test_no_process_stays_behind(self, tunlab):
        assert listed(tunlab)["lab"]["processes"] == []

    def test_ctrl_c_leaves_nothing(self, command, need, run_directory):
        strace = (need("strace"), "-f", "-o", os.devnull, "-e", "trace=mount", "-e", "inject=mount:signal=INT:when=1")
        said = command("up", prefix=strace)
        assert (said.status, said.out, said.err) == (130, "", "")
        assert list(run_directory.iterdir()) == []

    def test_a_refusal_half_way_leaves_nothing(self, command, run_directory, without_tun_node):
        said = command("up", prefix=without_tun_node)
        assert (said.status, said.out) == (77, "")
        assert said.err == (
            "tunlab: open /dev/net/tun: /dev/net/tun does not exist (ENOENT);"
            " load the driver (modprobe tun), or pass --device /dev/net/tun to the container\n"
        )
        assert list(run_directory.iterdir()) == []

    def test_without_capabilities(self, command, run_directory, without_capabilities):
        said = command("up", prefix=without_capabilities)
        assert said.status == 77
        assert said.err.startswith("tunlab: make lab 'lab': CAP_SYS_ADMIN is missing (EPERM); run as root, or in a")
        assert said.err.count("\n") == 1
        assert not run_directory.exists()

    @pytest.mark.parametrize("run", ["/run/tunlab-of-root", "/mnt/work/run"])
    def test_an_unprivileged_user_learns_what_needs_root(self, command, as_nobody, environment, run):
        said = command("up", prefix=as_nobody(), env={**environment, "TUNLAB_RUN": run})
        assert (said.status, said.out) == (77, "")
        assert said.err == f"tunlab: make lab 'lab': CAP_SYS_ADMIN is missing (EPERM); {NEEDS_ROOT}\n"

    def test_a_user_namespace_does_not_do(self, command, as_nobody, environment, run_directory):
        inside = (*as_nobody(), sys.executable, "-m", "tunlab.kernel.userns")
        said = command("up", prefix=inside, env={**environment, "TUNLAB_RUN": "/run/tunlab-of-root"})
        assert (said.status, said.err) == (
            77,
            (
                "tunlab: make /run/tunlab-of-root/lab: user 65534 may not write to /run/tunlab-of-root (EACCES);"
                f" {NEEDS_ROOT}\n"
            ),
        )
        said = command("up", prefix=inside, env={**environment, "TUNLAB_RUN": "/mnt/work/run"})
        assert said.status == 77
        assert said.err.startswith("tunlab: pin net:[")
        assert said.err.endswith(f"; {NEEDS_ROOT}\n")
        assert list(run_directory.iterdir()) == []


class TestDown:
    @pytest.mark.usefixtures("lab")
    def test_it_removes_everything_and_says_what(self, tunlab, run_directory):
        said = tunlab("down", "lab")
        assert (said.status, said.out) == (0, "lab is down: removed tun0, its namespace\n")
        assert list(run_directory.iterdir()) == []
        assert tunlab("up").status == 0

    def test_it_ends_what_runs_inside(self, tunlab, start, need):
        tunlab("up")
        inside = start("exec", "lab", "--", need("sh"), "-c", "echo ready >&2; exec sleep 600")
        inside.wait_for("ready")
        assert listed(tunlab)["lab"]["processes"] == [inside.process.pid]
        said = tunlab("down")
        assert said.out == f"lab is down: removed tun0, its namespace, 1 process ({inside.process.pid})\n"
        assert inside.end().status == -signal.SIGKILL

    def test_it_ends_a_reader_with_a_sentence(self, tunlab, dump):
        running = dump()
        assert tunlab("down").status == 0
        said = running.end()
        assert (said.status, said.err) == (
            73,
            "tunlab: tun0 in lab 'lab' is gone, or down; tunlab ls shows what is up\n",
        )

    def test_a_lab_that_does_not_exist(self, tunlab):
        said = tunlab("down", "nosuch")
        assert (said.status, said.err) == (
            73,
            "tunlab: there is no lab 'nosuch'; tunlab up --name nosuch makes it\n",
        )
        assert tunlab("down").err == "tunlab: there is no lab to take down\n"

    def test_of_several_one_is_to_be_named(self, tunlab):
        tunlab("up", "--name", "a")
        tunlab("up", "--name", "b")
        said = tunlab("down")
        assert (said.status, said.err) == (
            73,
            "tunlab: there are 2 labs: a, b; name one of them, as tunlab down a, or give --all\n",
        )
        assert tunlab("down", "--all").out.count("is down: removed tun0") == 2
        assert (tunlab("down", "--all").status, listed(tunlab)) == (0, {})

    @pytest.mark.usefixtures("lab")
    def test_from_inside_it_says_to_leave_first(self, tunlab, start):
        inside = start("exec", "lab", sys.executable, "-m", "tunlab", "down", "lab").end()
        assert (inside.status, inside.err) == (
            73,
            "tunlab: this process is inside lab 'lab'; leave it first (exit), then take it down\n",
        )
        assert listed(tunlab)["lab"]["condition"] == "up"

    @pytest.mark.usefixtures("lab")
    def test_after_a_reboot_it_removes_the_directory(self, tunlab, run_directory):
        # What a reboot leaves where the run directory is no tmpfs: the files, without the mount.
        subprocess.run(["umount", run_directory / "lab" / "net"], check=True)
        assert listed(tunlab)["lab"]["condition"] == "gone"
        assert tunlab("up").err == (
            "tunlab: lab 'lab' is there, but its namespace is gone, as after a reboot; tunlab down lab removes it\n"
        )
        assert tunlab("exec", "lab", "true").err.startswith("tunlab: lab 'lab' is there, but its namespace is gone")
        said = tunlab("down")
        assert (said.status, said.out) == (0, "lab is down: nothing of it was there but its directory\n")

    @pytest.mark.usefixtures("lab")
    def test_another_namespace_at_its_place_is_left_alone(self, tunlab, run_directory):
        pinned = run_directory / "lab" / "net"
        subprocess.run(["umount", pinned], check=True)
        with Netns.create() as other:
            other.pin(pinned)
            bystander = other.popen(["sleep", "600"])
            assert listed(tunlab)["lab"]["condition"] == "gone"
            assert tunlab("down").status == 0
            assert bystander.poll() is None
            bystander.kill()
            bystander.wait()

    @pytest.mark.usefixtures("lab")
    def test_a_foreign_file_in_its_directory_is_not_deleted(self, tunlab, run_directory):
        foreign = run_directory / "lab" / "notes.txt"
        foreign.write_text("mine")
        said = tunlab("down")
        assert (said.status, said.err) == (
            73,
            (
                f"tunlab: {run_directory / 'lab'} holds what tunlab has not put there: notes.txt;"
                " take that away and try again\n"
            ),
        )
        foreign.unlink()
        assert tunlab("down").status == 0

    def test_a_namespace_that_no_record_names_is_unmounted_by_hand(self, tunlab, run_directory):
        pinned = run_directory / "lab" / "net"
        pinned.parent.mkdir(parents=True)
        with Netns.create() as other:
            other.pin(pinned)
        (run_directory / "lab" / "lab.json").write_text("not what was recorded")
        said = tunlab("down")
        assert (said.status, f"; unmount what is mounted there (umount {pinned}) and try again" in said.err) == (
            73,
            True,
        )
        subprocess.run(["umount", pinned], check=True)
        pinned.unlink()
        assert tunlab("down").status == 0


class TestLs:
    def test_nothing(self, tunlab):
        assert tunlab("ls") == (0, "", "no lab is up; tunlab up makes one\n")
        assert tunlab("ls", "--json").out == "[]\n"

    def test_what_is_up_since_when(self, tunlab, lab, dump):
        dump()
        head, row = tunlab("ls").out.splitlines()
        assert head.split() == ["LAB", "STATE", "SINCE", "NODES", "DEVICE", "ADDRESSES", "READER", "PROCESSES"]
        assert row.split() == ["lab", "up", lab.state.created, "1", "tun0", "10.1.2.1/24", "yes", "-"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", lab.state.created)

    def test_addresses_are_the_kernels(self, tunlab, lab):
        with lab.netns() as netns, Rtnl(netns) as rtnl:
            rtnl.add_address(rtnl.link_index("tun0"), "192.0.2.1/32")
        assert listed(tunlab)["lab"]["addresses"] == ["10.1.2.1/24", "192.0.2.1/32"]

    @pytest.mark.usefixtures("lab")
    def test_without_rights_what_is_recorded(self, command, as_nobody, environment):
        said = command("ls", "--json", prefix=as_nobody(), env={**environment, "TUNLAB_RUN": "/mnt/work/run"})
        (seen,) = json.loads(said.out)
        assert (seen["name"], seen["addresses"], seen["attached"]) == ("lab", ["10.1.2.1/24"], None)

    @pytest.mark.usefixtures("lab")
    def test_a_directory_that_is_no_lab(self, tunlab, run_directory):
        (run_directory / "Not-A-Lab").mkdir()
        assert list(listed(tunlab)) == ["lab"]
        (run_directory / "Not-A-Lab").rmdir()


class TestExec:
    @pytest.mark.usefixtures("lab")
    def test_the_exit_code_is_the_commands(self, command, need):
        assert command("exec", "lab", "--", need("sh"), "-c", "exit 42").status == 42
        assert command("exec", "lab", need("sh"), "-c", "kill -TERM $$").status == -signal.SIGTERM

    @pytest.mark.usefixtures("lab")
    def test_the_real_ping_of_its_own_address(self, command, need):
        assert "1 received" in command("exec", "lab", "--", need("ping"), "-c", "1", "10.1.2.1").out

    def test_it_is_in_the_lab_and_knows_its_name(self, command, lab, need):
        said = command("exec", "lab", "--", need("sh"), "-c", "readlink /proc/self/ns/net; echo $TUNLAB_LAB")
        assert said.out == f"net:[{lab.state.namespace[1]}]\nlab\n"

    @pytest.mark.usefixtures("lab")
    def test_a_broken_pipe_ends_it_as_it_would_outside(self, command, need):
        said = command("exec", "lab", "--", need("sh"), "-c", "grep SigIgn /proc/self/status")
        assert int(said.out.split()[1], 16) >> signal.SIGPIPE - 1 & 1 == 0

    @pytest.mark.usefixtures("lab")
    def test_the_lab_it_names_by_itself(self, command):
        said = command("exec", "lab", sys.executable, "-m", "tunlab", "ping", "10.1.2.1", "--json")
        assert json.loads(said.out)["answered"] is True

    @pytest.mark.usefixtures("lab")
    def test_a_lab_that_does_not_exist(self, tunlab):
        said = tunlab("exec", "nosuch", "--", "true")
        assert (said.status, said.err) == (73, "tunlab: there is no lab 'nosuch'; up are: lab\n")

    @pytest.mark.usefixtures("lab")
    def test_a_program_that_does_not_exist(self, command):
        said = command("exec", "lab", "--", "no-such-program")
        assert (said.status, said.err) == (
            127,
            (
                "tunlab: run no-such-program: there is no program 'no-such-program' on this machine (ENOENT);"
                " install it, or give its full path\n"
            ),
        )

    @pytest.mark.usefixtures("lab")
    def test_a_program_that_may_not_be_run(self, command, tmp_path):
        (tmp_path / "program").write_text("")
        said = command("exec", "lab", "--", str(tmp_path / "program"))
        assert (said.status, "may not be executed (EACCES); give it the execute permission" in said.err) == (126, True)

    @pytest.mark.parametrize("arguments", [("exec", "lab", "true"), ("dump", "lab"), ("down", "lab")])
    @pytest.mark.usefixtures("lab")
    def test_a_lab_of_roots_is_closed_to_a_user_namespace(self, command, arguments):
        said = command(*arguments, prefix=(sys.executable, "-m", "tunlab.kernel.userns"))
        assert (said.status, said.out) == (77, "")
        assert "; run as root, or in a container with --cap-add NET_ADMIN" in said.err
        assert "tunlab.kernel.userns" not in said.err

    @pytest.mark.parametrize("arguments", [("lab",), ("lab", "--")])
    @pytest.mark.usefixtures("lab")
    def test_no_program(self, command, arguments):
        said = command("exec", *arguments)
        assert said.status == 2
        assert "Usage: tunlab exec" in said.err

    @pytest.mark.usefixtures("lab")
    def test_the_shell_is_the_users(self, command, environment, need):
        said = command("shell", env={**environment, "SHELL": need("readlink")}, prefix=())
        assert said.err.startswith("in lab lab; leave it with exit\n")
        said = command("shell", env={**environment, "SHELL": need("env")})
        assert "TUNLAB_LAB=lab\n" in said.out
