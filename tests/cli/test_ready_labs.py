"""The ready labs, which come with tunlab: each comes up, answers pings, runs real programs and goes down."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tunlab
from tunlab.lab import PersistentLab
from tunlab.lab.attachment import attach
from tunlab.lab.lab_files import ready_labs
from tunlab.packet import TCP, IPv4, TCPFlag, build, findings, parse

ROOT = Path(__file__).parents[2]
PACKAGE = Path(tunlab.__file__).parent
READY = sorted(ready_labs())


@pytest.fixture
def up(tunlab):
    """Return a function that starts a ready lab: `up("router")`."""

    def make(name, *options):
        result = tunlab("up", name, *options)
        assert result.status == 0, result.err
        return result

    return make


@pytest.fixture
def inside(command):
    """Return a function that runs a program in a node and returns its output: `inside("router/client", "curl", …)`."""

    def run(target, *program):
        result = command("exec", target, "--", *program)
        assert result.status == 0, f"{result.err}{result.out}"
        return result.out

    return run


def matrix(tunlab, name):
    result = tunlab("ping-all", name, "--json")
    assert result.status == 0, result.err
    return {(each["from"], each["to"]): each["reached"] for each in json.loads(result.out)}


class TCPEndpoint:
    """One side of a TCP connection in user space, on a TUN."""

    def __init__(self, device, own, own_port, peer, peer_port):
        self.device, self.own, self.own_port, self.peer, self.peer_port = device, own, own_port, peer, peer_port
        self.seq, self.ack, self.data = 1000, 0, b""

    def send(self, flags, data=b"", seq=None):
        segment = TCP(
            src_port=self.own_port,
            dst_port=self.peer_port,
            seq=self.seq if seq is None else seq,
            ack=self.ack,
            flags=flags,
        )
        self.device.write(build(IPv4(src=self.own, dst=self.peer, ttl=64), segment, data))
        if seq is None:
            self.seq += len(data) + bool(flags & (TCPFlag.SYN | TCPFlag.FIN))

    def receive(self):
        """Return the next segment, after asserting that exactly one router forwarded it unchanged."""
        assert self.device.wait(20)
        packet = parse(self.device.read())
        assert (str(packet.ip.src), str(packet.ip.dst), packet.ip.ttl) == (self.peer, self.own, 63)
        assert findings(packet) == []
        segment = packet.tcp
        if segment.seq == self.ack or segment.flags & TCPFlag.SYN:
            self.ack = segment.seq + len(packet.payload) + bool(segment.flags & (TCPFlag.SYN | TCPFlag.FIN))
            self.data += packet.payload
        return segment


PRINT_CLIENTS = """
import socket, sys
door = socket.create_server(("", 7))
print("ready", file=sys.stderr, flush=True)
for _ in range(2):
    caller, address = door.accept()
    caller.close()
    print(address[0])
"""


CONNECT = 'import socket; socket.create_connection(("server", 7), 20).close()'


def test_ready_labs_equal_the_files_in_the_lab_folder():
    found = {name: file.read_text() for name, file in ready_labs().items()}
    assert found == {file.stem: file.read_text() for file in (ROOT / "lab").glob("*.toml")}
    in_checkout = PACKAGE.parent == ROOT
    assert {file.parent for file in ready_labs().values()} == {ROOT / "lab" if in_checkout else PACKAGE / "labs"}


def test_wheel_contains_ready_labs(tmp_path, environment):
    """Build the wheel as pip does, unpack it elsewhere, and run `tunlab check` from there."""
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    leave_out = shutil.ignore_patterns("__pycache__", "labs", "source")
    shutil.copytree(PACKAGE, source / "tunlab", ignore=leave_out)
    shutil.copytree(ROOT / "lab", source / "lab")
    for name in ("pyproject.toml", "README.md", "LICENSE", "Dockerfile"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    result = subprocess.run(
        [sys.executable, "-m", "tunlab", "check", *READY],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(unpacked)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{unpacked}/tunlab/labs/router.toml: no problems" in result.stdout
    files = [file.relative_to(source) for file in (source / "tunlab").rglob("*") if file.is_file()]
    assert [
        file for file in files if not (unpacked / file).exists()
    ] == []  # the wheel also contains the styles and scripts of the HTML page


@pytest.mark.parametrize("name", READY)
def test_ready_lab_comes_up_passes_ping_all_and_goes_down(tunlab, up, run_directory, need, name):
    if name == "dnsmasq":
        need("dnsmasq")
    result = up(name)
    lab = re.match(r"[a-z0-9-]+", result.out)[0]
    assert matrix(tunlab, lab) == {
        (each["from"], each["to"]): each["expected"] for each in json.loads(tunlab("ping-all", lab, "--json").out)
    }
    shown = tunlab("ping-all", lab)
    assert shown.status == 0
    assert "LOST" not in shown.out
    assert "OPEN" not in shown.out
    assert [each["condition"] for each in json.loads(tunlab("ls", "--json").out)] == ["up"]
    assert tunlab("down", lab).status == 0
    assert list(run_directory.iterdir()) == []


def test_ten_labs_of_one_file_run_at_once_and_pass_ping_all(command, tunlab):
    names = [f"lab{number}" for number in range(10)]
    with ThreadPoolExecutor(5) as pool:
        ups = list(pool.map(lambda name: command("up", "bridge", "--name", name), names))
        assert [result.status for result in ups] == [0] * 10, ups
        pings = list(pool.map(lambda name: command("ping-all", name), names))
        assert [result.status for result in pings] == [0] * 10, pings
    assert sorted(each["name"] for each in json.loads(tunlab("ls", "--json").out)) == names
    assert tunlab("down", "--all").out.count("is down: removed") == 10


def test_two_hosts_lab_answers_ping_to_a_node_name(up, inside, need):
    up("two-hosts")
    assert "1 received" in inside("two-hosts/a", need("ping"), "-c", "1", "-W", "5", "b")
    assert inside("two-hosts/b", need("getent"), "hosts", "a").split() == ["10.0.1.1", "a", "a.lab"]


def test_router_lab_forwards_http_to_the_server_by_name(up, inside, command, need):
    up("router")
    page = inside("router/client", need("curl"), "--silent", "--show-error", "--max-time", "20", "http://server/")
    assert "Directory listing" in page
    result = command("exec", "router/client", "--", need("ping"), "-c", "1", "-t", "1", "-W", "5", "server")
    assert "From router (10.0.1.2)" in result.out
    assert "Time to live exceeded" in result.out


def test_dnsmasq_lab_resolves_names_of_nodes_and_of_its_configuration(up, inside, command, need):
    need("dnsmasq")
    up("dnsmasq")
    lookup = (sys.executable, "-c", DNS_QUERY)
    assert inside("dnsmasq/client", *lookup, "client.lab").split() == ["0", "10.0.1.1"]
    assert inside("dnsmasq/client", *lookup, "www.lab").split() == ["0", "10.0.1.2"]
    assert inside("dnsmasq/client", *lookup, "nobody.lab").split() == ["3"]
    assert inside("dnsmasq/client", need("getent"), "ahostsv4", "www").split()[0] == "10.0.1.2"
    assert command("exec", "dnsmasq/client", "--", need("getent"), "hosts", "nobody").status == 2


def test_nat_lab_hosts_share_one_outside_address(up, command, start, inside, need):
    up("nat")
    server = start("exec", "nat/server", "--", sys.executable, "-c", PRINT_CLIENTS)
    server.wait_for("ready")
    for host in ("laptop", "phone"):
        inside(f"nat/{host}", need("curl"), "--silent", "--max-time", "20", "http://server/")
        inside(f"nat/{host}", sys.executable, "-c", CONNECT)
    assert server.end().out.split() == ["203.0.113.1"] * 2
    assert command("exec", "nat/server", "--", need("ping"), "-c", "1", "-W", "1", "192.168.1.2").status != 0


def test_bridge_lab_hosts_reach_each_other_with_ttl_1(tunlab, up, inside, need):
    up("bridge")
    reached = matrix(tunlab, "bridge")
    assert len(reached) == 12
    assert all(reached.values())
    for other in "bcd":
        # With TTL 1, a packet cannot pass a router.
        assert "1 received" in inside("bridge/a", need("ping"), "-c", "1", "-t", "1", "-W", "5", other)


def test_dual_stack_lab_passes_traceroute_and_path_mtu_discovery(up, inside, command, need):
    up("dual-stack")
    traceroute = (need("traceroute"), "-n", "-q", "1", "-w", "5")
    hops = re.findall(r"^ *\d+ +(\S+)", inside("dual-stack/client", *traceroute, "10.0.4.2"), re.MULTILINE)
    assert hops == ["10.0.1.2", "10.0.2.2", "10.0.3.2", "10.0.4.2"]
    hops = re.findall(r"^ *\d+ +(\S+)", inside("dual-stack/client", *traceroute, "-6", "fd00:0:0:4::2"), re.MULTILINE)
    assert hops == ["fd00:0:0:1::2", "fd00:0:0:2::2", "fd00:0:0:3::2", "fd00:0:0:4::2"]
    for family in ("-4", "-6"):
        ping = (need("ping"), family, "-c", "1", "-W", "5", "-s", "1420", "-M", "do", "server")
        result = command("exec", "dual-stack/client", "--", *ping)
        assert re.search(r"mtu ?= ?1400", result.out), result
        page = inside("dual-stack/client", need("curl"), family, "--silent", "--max-time", "20", "http://server/")
        assert "Directory listing" in page


def test_two_stacks_lab_forwards_tcp_without_connection_tracking(up):
    """Two TCP endpoints in user space, one per TUN, connect, exchange data and close; a stray segment passes, too."""
    up("two-stacks")
    with (
        PersistentLab.open("two-stacks").netns() as netns,
        attach(netns, "tun0") as one,
        attach(netns, "tun1") as other,
    ):
        client = TCPEndpoint(one, "10.1.2.2", 40000, "10.1.3.2", 7)
        server = TCPEndpoint(other, "10.1.3.2", 7, "10.1.2.2", 40000)
        client.send(TCPFlag.SYN)
        assert server.receive().flags == TCPFlag.SYN
        server.send(TCPFlag.SYN | TCPFlag.ACK)
        assert client.receive().flags == TCPFlag.SYN | TCPFlag.ACK
        client.send(TCPFlag.ACK)
        server.receive()
        client.send(TCPFlag.PSH | TCPFlag.ACK, b"echo\n")
        server.receive()
        server.send(TCPFlag.PSH | TCPFlag.ACK, server.data)
        client.receive()
        assert client.data == b"echo\n"
        client.send(TCPFlag.FIN | TCPFlag.ACK)
        assert server.receive().flags & TCPFlag.FIN
        # This segment belongs to no connection. A router with connection tracking would drop it.
        client.send(TCPFlag.ACK, b"stray", seq=12345)
        assert server.receive().seq == 12345
        assert one.read_all() == []
        tracked = Path("/proc/thread-self/net/nf_conntrack")
        assert not netns.call(lambda: tracked.exists() and tracked.read_text())


# This program asks the DNS server 10.0.1.2 for the addresses of argv[1]; it prints the response code and addresses.
DNS_QUERY = """
import socket, struct, sys
name = b"".join(bytes([len(each)]) + each.encode() for each in sys.argv[1].split(".")) + bytes(1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.connect(("10.0.1.2", 53))
    client.send(struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1))
    reply = client.recv(4096)
_, flags, _, answers, _, _ = struct.unpack_from("!HHHHHH", reply)
offset = 12 + len(name) + 4
addresses = [socket.inet_ntoa(reply[offset + 16 * n + 12 : offset + 16 * n + 16]) for n in range(answers)]
print(flags & 15, *addresses)
"""
