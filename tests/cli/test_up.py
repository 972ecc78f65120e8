"""`tunlab up`: labs from files and options, errors, interruption, and `up --dry-run`."""

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.pseudo_terminal import PseudoTerminal, read_until
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import PersistentLab

NEEDS_ROOT = (
    "Run as root, or in a container with --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW"
    " --device /dev/net/tun: persistent labs need it (`tunlab demo` and pytest do not)"
)


DEFAULT = Path(__file__).parents[2] / "lab" / "default.toml"


def test_up_creates_a_tun_with_the_default_address_and_mtu(tunlab):
    result = tunlab("up")
    assert (result.status, result.out) == (0, "lab is up: tun0 10.1.2.1/24\n")
    with PersistentLab.open("lab").netns() as netns, Rtnl(netns) as rtnl:
        link = rtnl.link("tun0")
        assert (link.kind, link.up, link.carrier, link.mtu) == ("tun", True, False, 1500)
        assert [address.cidr for address in rtnl.addresses(link.index)] == ["10.1.2.1/24"]
        assert rtnl.link("lo").up


def test_commands_printed_by_up_work(tunlab, start):
    result = tunlab("up", "--name", "x")
    commands = [line.split("  ")[1].split()[1:] for line in result.err.splitlines()]
    assert [command[0] for command in commands] == ["dump", "exec", "down"]
    dump = start(*commands[0], "--count", "1", "--oneline")
    dump.wait_for("listening")
    # No host replies, so ping exits with 1, but dump shows the echo request.
    assert start(*commands[1], "-W", "0.1").end().status == 1
    assert "10.1.2.1 > 10.1.2.2: ICMP echo request" in dump.end().out
    assert tunlab(*commands[2]).status == 0


def test_options_of_up_configure_the_tun(tunlab, list_labs):
    result = tunlab("up", "--name", "vpn", "--address", "192.0.2.9/30", "--ifname", "wire", "--mtu", "1400", "--json")
    made = json.loads(result.out)
    assert (made["name"], made["ifname"], made["address"], made["mtu"]) == ("vpn", "wire", "192.0.2.9/30", 1400)
    with PersistentLab.open("vpn").netns() as netns, Rtnl(netns) as rtnl:
        assert rtnl.link("wire").mtu == 1400
    assert list_labs()["vpn"]["addresses"] == ["192.0.2.9/30"]


def test_up_with_an_ipv6_address_creates_a_tun_with_it(tunlab, start):
    result = tunlab("up", "--name", "x", "--address", "fd00::1/64")
    assert (result.status, result.out) == (0, "x is up: tun0 fd00::1/64\n")
    commands = [line.split("  ")[1].split()[1:] for line in result.err.splitlines()]
    assert commands[0] == ["dump", "x", "--all"]
    dump = start(*commands[0], "--dst", "fd00::2", "--count", "1", "--oneline")
    dump.wait_for("listening")
    assert start(*commands[1], "-W", "0.1").end().status == 1
    assert "fd00::1 > fd00::2: ICMPv6 echo request" in dump.end().out


def test_up_with_addresses_of_both_ip_versions_lists_both(tunlab, list_labs):
    both = ["10.1.2.1/24", "fd00::1/64"]
    made = json.loads(tunlab("up", "--address", both[0], "--address", both[1], "--json").out)
    assert (made["address"], made["addresses"]) == (both[0], both)
    assert list_labs()["lab"]["addresses"][:2] == both


def test_up_with_name_option_overrides_the_lab_file(tunlab):
    assert tunlab("up", str(DEFAULT), "--name", "other").out == "other is up: tun0 10.1.2.1/24\n"


def test_up_gives_two_labs_separate_namespaces(tunlab):
    assert tunlab("up", "--name", "a").status == tunlab("up", "--name", "b").status == 0
    identities = [PersistentLab(name).state.namespace for name in "ab"]
    assert identities[0] != identities[1]


def test_up_with_name_of_existing_lab_exits_73(tunlab, lab, list_labs):
    result = tunlab("up")
    since = lab.state.created
    assert result.status == 73
    assert result.err == f"tunlab: lab 'lab' is already up (since {since}). `tunlab down lab` removes it.\n"
    assert list_labs()["lab"]["condition"] == "up"


def test_up_eight_times_in_parallel_with_one_name_creates_one_lab(command):
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: command("up", "--name", "race"), range(8)))
    assert sorted(result.status for result in done) == [0] + [73] * 7
    assert all(result.err.startswith("tunlab: lab 'race' is ") for result in done if result.status)
    assert PersistentLab.open("race").down().ifname == "tun0"


def test_up_executes_no_other_program(command, need, tmp_path):
    log = tmp_path / "strace"
    result = command("up", prefix=(need("strace"), "-f", "-o", str(log), "-e", "trace=execve,execveat"))
    assert result.status == 0
    executed = re.findall(r"execve(?:at)?\(.*", log.read_text())
    assert len(executed) == 1
    assert executed[0].startswith(f'execve("{sys.executable}"')


@pytest.mark.usefixtures("lab")
def test_up_leaves_no_process_running(tunlab, list_labs):
    assert list_labs()["lab"]["processes"] == []


def test_up_interrupted_by_ctrl_c_leaves_no_files(command, need, run_directory):
    strace = (need("strace"), "-f", "-o", os.devnull, "-e", "trace=mount", "-e", "inject=mount:signal=INT:when=1")
    result = command("up", prefix=strace)
    assert (result.status, result.out, result.err) == (130, "", "")
    assert list(run_directory.iterdir()) == []


def test_up_without_dev_net_tun_exits_77_and_leaves_no_files(command, run_directory, without_tun_node):
    result = command("up", prefix=without_tun_node)
    assert (result.status, result.out) == (77, "")
    assert result.err == (
        "tunlab: open /dev/net/tun: /dev/net/tun does not exist (ENOENT)."
        " Load the driver (`modprobe tun`), or pass --device /dev/net/tun to the container.\n"
    )
    assert list(run_directory.iterdir()) == []


def test_up_without_capabilities_exits_77(command, run_directory, without_capabilities):
    result = command("up", prefix=without_capabilities)
    assert result.status == 77
    assert result.err.startswith("tunlab: create lab 'lab': CAP_SYS_ADMIN is missing (EPERM). Run as root, or in a")
    assert result.err.count("\n") == 1
    assert not run_directory.exists()


@pytest.mark.parametrize("run", ["/run/tunlab-of-root", "/mnt/work/run"])
def test_up_as_unprivileged_user_exits_77_and_asks_for_root(command, as_nobody, environment, run):
    result = command("up", prefix=as_nobody(), env={**environment, "TUNLAB_RUN": run})
    assert (result.status, result.out) == (77, "")
    assert result.err == f"tunlab: create lab 'lab': CAP_SYS_ADMIN is missing (EPERM). {NEEDS_ROOT}.\n"


def test_up_in_a_user_namespace_exits_77(command, as_nobody, environment, run_directory):
    inside = (*as_nobody(), sys.executable, "-m", "tunlab.kernel.namespace.userns")
    result = command("up", prefix=inside, env={**environment, "TUNLAB_RUN": "/run/tunlab-of-root"})
    assert (result.status, result.err) == (
        77,
        (
            "tunlab: create /run/tunlab-of-root/lab: user 65534 may not write to /run/tunlab-of-root (EACCES)."
            f" {NEEDS_ROOT}.\n"
        ),
    )
    result = command("up", prefix=inside, env={**environment, "TUNLAB_RUN": "/mnt/work/run"})
    assert result.status == 77
    assert result.err.startswith("tunlab: pin net:[")
    assert result.err.endswith(f". {NEEDS_ROOT}.\n")
    assert list(run_directory.iterdir()) == []


def test_up_of_the_router_lab_prints_its_nodes_and_commands_that_work(tunlab, command):
    result = command("up", "router", "--name", "x")
    assert result.out.splitlines() == [
        "x is up: 4 nodes, 2 links",
        "  client  eth0 10.0.1.1/24",
        "  router  eth0 10.0.1.2/24, lan0 10.0.2.1/24",
        "  server  eth0 10.0.2.2/24",
        "  stack   tun0 10.9.0.1/24",
    ]
    for line in result.err.splitlines():
        program, *arguments = re.split(r" {2,}", line.strip())[0].split()
        assert program == "tunlab"
        assert command(*arguments).status == 0, line
    assert tunlab("ls", "--json").out == "[]\n"


def test_up_with_json_option_prints_plan_and_directory(tunlab, run_directory):
    made = json.loads(tunlab("up", "bridge", "--json").out)
    assert made["directory"] == str(run_directory / "bridge")
    assert [node["name"] for node in made["nodes"]] == ["a", "b", "c", "d", "link1"]


def test_up_of_30_nodes_lists_the_first_20(tunlab, tmp_path):
    names = [f"h{number}" for number in range(30)]
    nodes = "".join(f"{name} = {{}}\n" for name in names)
    file = tmp_path / "star.toml"
    file.write_text(f"[nodes]\n{nodes}[[links]]\nends = {names}\n")
    assert tunlab("up", str(file)).out.splitlines()[-1] == "  … and 10 more"
    head, row = tunlab("ls").out.splitlines()
    assert row.split()[head.split().index("NODES")] == "30"


def test_up_finds_relative_files_beside_the_lab_file(tunlab, command, tmp_path, need):
    (tmp_path / "motd.txt").write_text("hello\n")
    file = tmp_path / "x.toml"
    files = '{ "/etc/motd" = "motd.txt", "/etc/tunlab-new/dir/motd" = "motd.txt" }'
    file.write_text(f'[nodes]\na = {{ files = {files} }}\nb = {{}}\n[[links]]\nends = ["a", "b"]\n')
    assert tunlab("up", str(file)).status == 0
    shown = command("exec", "x/a", "--", need("cat"), "/etc/motd", "/etc/tunlab-new/dir/motd")
    assert shown.out == "hello\n" * 2
    assert command("exec", "x/b", "--", need("cat"), "/etc/motd").out != "hello\n"


def test_up_reports_a_program_that_exited_with_an_error(tunlab, tmp_path):
    """The first program fails, which closes the pipe, so that the second becomes ready; the third succeeds."""
    pipe, file = tmp_path / "pipe", tmp_path / "x.toml"
    os.mkfifo(pipe)
    failing = ["sh", "-c", f"exec 9> {pipe}; echo oops; exit 3"]
    waiting = f'{{ command = ["sh", "-c", "cat {pipe}; echo done"], ready = {{ line = "done" }} }}'
    file.write_text(f'[nodes]\na = {{ run = [{json.dumps(failing)}, {waiting}, "true"] }}\nb = {{}}\n')
    result = tunlab("up", str(file))
    assert (result.status, result.out.splitlines()[0]) == (0, "x is up: 2 nodes")
    *_, first, head, printed = result.err.splitlines()
    assert first.startswith("tunlab: 'sh -c exec 9> ")
    assert first.endswith(" in node a exited with status 3. Run the program in the node to see why.")
    assert (head, printed) == ("the end of its output:", "  oops")


def test_up_of_the_bridge_lab_interrupted_by_ctrl_c_leaves_no_files(command, need, run_directory):
    inject = "inject=mount:signal=INT:when=2"
    result = command("up", "bridge", prefix=(need("strace"), "-f", "-o", os.devnull, "-e", "trace=mount", "-e", inject))
    assert (result.status, result.out, result.err) == (130, "", "")
    assert list(run_directory.iterdir()) == []


def test_up_of_a_slow_lab_shows_progress_on_a_terminal(environment, tmp_path):
    """The lab's program waits until the test, after it has seen the progress line, writes to a pipe."""
    file, signs = tmp_path / "slow.toml", tmp_path / "sign"
    os.mkfifo(signs)
    program = f"cat {signs}; echo ready"
    run = f'run = [{{ command = ["sh", "-c", "{program}"], ready = {{ line = "ready" }} }}]'
    file.write_text(f'[nodes]\na = {{ {run} }}\nb = {{}}\n[[links]]\nends = ["a", "b"]\n')
    with PseudoTerminal("up", str(file), environment=environment) as (process, shown):
        read_until(shown, r"slow is coming up: 2 of 2 nodes")
        signs.write_text("")
        result = read_until(shown, r"slow is up: 2 nodes, 1 link")
        assert "\r\x1b[K" in result
        assert process.wait(20) == 0


def test_up_dry_run_prints_plan_and_creates_no_lab(tunlab, run_directory, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[nodes]\nclient = {}\nrouter = { forward = true }\nserver = { run = ["sleep 1"] }\n'
        '[[links]]\nends = ["client", "router"]\n'
        '[[links]]\nends = ["router:lan0", "server"]\nmtu = 1400\nrate = "10mbit"\ndelay = "20ms"\nloss = "1%"\n'
    )
    result = tunlab("up", str(file), "--dry-run")
    assert (result.status, result.err) == (0, "dry run: nothing was created\n")
    words = [line.split("  ") for line in map(str.strip, result.out.splitlines())]
    assert words[0] == ["lab mine: 3 nodes, 2 links"]
    assert ["eth0", "10.0.1.1/24", "02:00:00:00:01:01", "mtu 1500", "to router eth0"] in words
    assert ["route default via 10.0.1.2"] in words
    (impaired,) = (line for line in words if line[0] == "lan0")
    assert impaired[3:] == ["mtu 1400", "to server eth0", "10 Mbit/s, delay 20 ms, loss 1 %"]
    assert ["run sleep 1"] in words
    assert not run_directory.exists()


def test_up_dry_run_with_json_option_prints_the_plan(tunlab):
    made = json.loads(tunlab("up", "router", "--name", "x", "--dry-run", "--json").out)
    assert made["name"] == "x"
    assert [node["name"] for node in made["nodes"]] == ["client", "router", "server", "stack"]


def test_up_dry_run_without_capabilities_exits_0(command, without_capabilities):
    assert command("up", "router", "--dry-run", prefix=without_capabilities).status == 0


def test_up_dry_run_prints_the_same_errors_as_check(tunlab, broken_file):
    assert tunlab("up", "--dry-run", str(broken_file)).err == tunlab("check", str(broken_file)).err


def test_up_of_a_faulty_lab_file_prints_the_same_errors_as_check_and_creates_no_lab(tunlab, run_directory, tmp_path):
    file = tmp_path / "mine.toml"
    files = 'files = { "/etc/here" = "a.conf", "/etc/gone" = "b.conf" }'
    file.write_text(f'[nodes]\na = {{ run = ["no-such"], {files} }}\nb = {{ mut = 1 }}\n')
    result = tunlab("up", str(file))
    assert (result.status, result.err) == tunlab("check", str(file))[::2]
    assert result.err.count("\n") == 4
    assert not run_directory.exists()


def test_up_with_sysctl_rejected_by_kernel_exits_78(tunlab, run_directory, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[nodes]\na = { sysctls = { "net.core.somaxconn" = "abc" } }\nb = {}\n')
    result = tunlab("up", str(file))
    problem = "`nodes.a.sysctls.net.core.somaxconn` cannot be 'abc': the kernel rejects this value. See"
    assert (result.status, result.err.startswith(f"tunlab: {file}: {problem}")) == (78, True), result.err
    assert list(run_directory.iterdir()) == []


def test_up_of_several_nodes_with_address_option_exits_78(tunlab, run_directory):
    result = tunlab("up", "router", "--address", "10.9.0.1/24")
    assert result.status == 78
    assert result.err.startswith("tunlab: `--address` is ambiguous: the lab has 4 nodes")
    assert not run_directory.exists()
