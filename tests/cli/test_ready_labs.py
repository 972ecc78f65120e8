"""Every ready lab, used for real: up by its name, who reaches whom as its topology says, down, nothing left."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunlab.lab import Lab
from tunlab.lab.attachment import attach
from tunlab.lab.lab_files import ready_labs
from tunlab.packet import TCP, IPv4, TCPFlag, build, findings, parse

READY = sorted(ready_labs())


@pytest.fixture
def up(tunlab):
    """`up("router")`: that ready lab, up under its own name."""

    def make(name, *options):
        said = tunlab("up", name, *options)
        assert said.status == 0, said.err
        return said

    return make


@pytest.fixture
def inside(command):
    """`inside("router/client", "curl", …)`: run a program there by `tunlab exec`; what it printed."""

    def run(target, *program):
        said = command("exec", target, "--", *program)
        assert said.status == 0, f"{said.err}{said.out}"
        return said.out

    return run


def matrix(tunlab, name):
    said = tunlab("ping-all", name, "--json")
    assert said.status == 0, said.err
    return {(each["from"], each["to"]): each["reached"] for each in json.loads(said.out)}


class TestEveryLab:
    @pytest.mark.parametrize("name", READY)
    def test_it_comes_up_is_as_its_topology_says_and_goes_down(self, tunlab, up, run_directory, name):
        said = up(name)
        lab = re.match(r"[a-z0-9-]+", said.out)[0]
        assert matrix(tunlab, lab) == {
            (each["from"], each["to"]): each["promised"] for each in json.loads(tunlab("ping-all", lab, "--json").out)
        }
        shown = tunlab("ping-all", lab)
        assert shown.status == 0
        assert "LOST" not in shown.out
        assert "OPEN" not in shown.out
        assert [each["condition"] for each in json.loads(tunlab("ls", "--json").out)] == ["up"]
        assert tunlab("down", lab).status == 0
        assert list(run_directory.iterdir()) == []

    def test_ten_of_the_same_file_at_once_do_not_meet(self, command, tunlab):
        names = [f"lab{number}" for number in range(10)]
        with ThreadPoolExecutor(5) as pool:
            ups = list(pool.map(lambda name: command("up", "bridge", "--name", name), names))
            assert [said.status for said in ups] == [0] * 10, ups
            pings = list(pool.map(lambda name: command("ping-all", name), names))
            assert [said.status for said in pings] == [0] * 10, pings
        assert sorted(each["name"] for each in json.loads(tunlab("ls", "--json").out)) == names
        assert tunlab("down", "--all").out.count("is down: removed") == 10


class TestUsedForReal:
    def test_two_hosts_ping_by_name(self, up, inside, need):
        up("two-hosts")
        assert "1 received" in inside("two-hosts/a", need("ping"), "-c", "1", "-W", "5", "b")
        assert inside("two-hosts/b", need("getent"), "hosts", "a").split() == ["10.0.1.1", "a", "a.lab"]

    def test_router_a_page_by_name_from_its_other_side(self, up, inside, command, need):
        up("router")
        page = inside("router/client", need("curl"), "--silent", "--show-error", "--max-time", "20", "http://server/")
        assert "Directory listing" in page
        said = command("exec", "router/client", "--", need("ping"), "-c", "1", "-t", "1", "-W", "5", "server")
        assert "From router (10.0.1.2)" in said.out
        assert "Time to live exceeded" in said.out

    def test_nat_two_inside_are_one_outside_and_cannot_be_asked(self, up, command, start, inside, need):
        up("nat")
        server = start("exec", "nat/server", "--", sys.executable, "-c", WHO_IS_THERE)
        server.wait_for("ready")
        for host in ("laptop", "phone"):
            inside(f"nat/{host}", need("curl"), "--silent", "--max-time", "20", "http://server/")
            inside(f"nat/{host}", sys.executable, "-c", KNOCK)
        assert server.end().out.split() == ["203.0.113.1"] * 2
        assert command("exec", "nat/server", "--", need("ping"), "-c", "1", "-W", "1", "192.168.1.2").status != 0

    def test_bridge_four_hosts_are_neighbours(self, tunlab, up, inside, need):
        up("bridge")
        reached = matrix(tunlab, "bridge")
        assert len(reached) == 12
        assert all(reached.values())
        for other in "bcd":
            # TTL 1: nobody between them counts it down.
            assert "1 received" in inside("bridge/a", need("ping"), "-c", "1", "-t", "1", "-W", "5", other)

    def test_dual_stack_traceroute_and_path_mtu_in_both_families(self, up, inside, command, need):
        up("dual-stack")
        traceroute = (need("traceroute"), "-n", "-q", "1", "-w", "5")
        hops = re.findall(r"^ *\d+ +(\S+)", inside("dual-stack/client", *traceroute, "10.0.4.2"), re.MULTILINE)
        assert hops == ["10.0.1.2", "10.0.2.2", "10.0.3.2", "10.0.4.2"]
        hops = re.findall(
            r"^ *\d+ +(\S+)", inside("dual-stack/client", *traceroute, "-6", "fd00:0:0:4::2"), re.MULTILINE
        )
        assert hops == ["fd00:0:0:1::2", "fd00:0:0:2::2", "fd00:0:0:3::2", "fd00:0:0:4::2"]
        for family in ("-4", "-6"):
            ping = (need("ping"), family, "-c", "1", "-W", "5", "-s", "1420", "-M", "do", "server")
            said = command("exec", "dual-stack/client", "--", *ping)
            assert re.search(r"mtu ?= ?1400", said.out), said
            page = inside("dual-stack/client", need("curl"), family, "--silent", "--max-time", "20", "http://server/")
            assert "Directory listing" in page

    def test_two_stacks_talk_tcp_through_the_kernel_which_tracks_nothing(self, up):
        """A handshake, a line there and back, and the close, by two TCP ends of our own: one on each TUN."""
        up("two-stacks")
        with Lab.open("two-stacks").netns() as netns, attach(netns, "tun0") as one, attach(netns, "tun1") as other:
            client = End(one, "10.1.2.2", 40000, "10.1.3.2", 7)
            server = End(other, "10.1.3.2", 7, "10.1.2.2", 40000)
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
            # A segment of no connection there is: one that tracked connections would drop it, or answer.
            client.send(TCPFlag.ACK, b"stray", seq=12345)
            assert server.receive().seq == 12345
            assert one.read_all() == []
            tracked = Path("/proc/thread-self/net/nf_conntrack")
            assert not netns.call(lambda: tracked.exists() and tracked.read_text())


class End:
    """One side of a TCP connection in user space, on a TUN of which it is the only reader."""

    def __init__(self, device, own, own_port, far, far_port):
        self.device, self.own, self.own_port, self.far, self.far_port = device, own, own_port, far, far_port
        self.seq, self.ack, self.data = 1000, 0, b""

    def send(self, flags, data=b"", seq=None):
        segment = TCP(
            src_port=self.own_port,
            dst_port=self.far_port,
            seq=self.seq if seq is None else seq,
            ack=self.ack,
            flags=flags,
        )
        self.device.write(build(IPv4(src=self.own, dst=self.far, ttl=64), segment, data))
        if seq is None:
            self.seq += len(data) + bool(flags & (TCPFlag.SYN | TCPFlag.FIN))

    def receive(self):
        """The next segment, which has crossed one router and is otherwise as it was sent."""
        assert self.device.wait(20)
        packet = parse(self.device.read())
        assert (str(packet.ip.src), str(packet.ip.dst), packet.ip.ttl) == (self.far, self.own, 63)
        assert findings(packet) == []
        segment = packet.tcp
        if segment.seq == self.ack or segment.flags & TCPFlag.SYN:
            self.ack = segment.seq + len(packet.payload) + bool(segment.flags & (TCPFlag.SYN | TCPFlag.FIN))
            self.data += packet.payload
        return segment


WHO_IS_THERE = """
import socket, sys
door = socket.create_server(("", 7))
print("ready", file=sys.stderr, flush=True)
for _ in range(2):
    caller, address = door.accept()
    caller.close()
    print(address[0])
"""
KNOCK = 'import socket; socket.create_connection(("server", 7), 20).close()'
