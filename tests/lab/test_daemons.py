"""Labs with daemons of Debian, each twice at once: FRR, wireguard-go and dnsmasq keep their files and sockets apart."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunlab.lab import Lab

pytestmark = pytest.mark.slow

FRR = """
[nodes.{name}]
forward = true
loopback = "{address}"
run_dirs = [{{ path = "/run/frr", owner = "frr:frr" }}]
run = [
  {{ command = "/usr/lib/frr/zebra -A 127.0.0.1", ready = {{ path = "/run/frr/zserv.api" }} }},
  {{ command = "/usr/lib/frr/ospfd -A 127.0.0.1", ready = {{ command = "vtysh -c 'show ip ospf'" }} }},
]

[nodes.{name}.files]
"/etc/frr/zebra.conf" = {{ text = "", owner = "frr:frr", mode = "0640" }}
"/etc/frr/vtysh.conf" = {{ text = "", owner = "frr:frr", mode = "0640" }}
"/etc/frr/ospfd.conf" = {{ owner = "frr:frr", mode = "0640", text = \"\"\"
interface eth0
 ip ospf hello-interval 1
 ip ospf dead-interval 4
router ospf
 network 10.0.0.0/8 area 0
 network {address}/32 area 0
\"\"\" }}
"""

OSPF = (
    "[nodes]\n"
    + "".join(FRR.format(name=name, address=address) for name, address in (("r1", "192.0.2.1"), ("r2", "192.0.2.2")))
    + '\n[[links]]\nends = ["r1", "r2"]\n'
)

WIREGUARD = """
[nodes.peer]
env = { WG_PROCESS_FOREGROUND = 1 }
run = [{ command = "wireguard-go -f wg0", ready = { path = "/run/wireguard/wg0.sock" } }]
"""

DNSMASQ = """
[nodes.server]
run_dirs = [{ path = "/run/dnsmasq", owner = "dnsmasq:nogroup" }]
run = [{ command = "dnsmasq -k --no-resolv --no-hosts --address=/x.test/192.0.2.7 --pid-file=/run/dnsmasq/dnsmasq.pid \
--dhcp-range=10.0.1.50,10.0.1.60 --dhcp-leasefile=/var/lib/misc/leases", ready = { udp = 53 } }]
private = ["/var/lib/misc"]

[nodes.client]

[[links]]
ends = ["server", "client"]
"""


def output(node, *arguments):
    return node.run(arguments, capture_output=True, text=True, check=True).stdout


def twice(check):
    """Call the function twice at once, as two workers of pytest-xdist would."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: check(), range(2)))


def test_two_labs_of_frr_routers_learn_routes_and_write_their_configuration(need):
    need("vtysh")
    before = sorted(Path("/run/frr").iterdir()) if Path("/run/frr").is_dir() else None

    def check():
        with Lab.from_text(OSPF) as lab:
            while "192.0.2.2" not in output(lab["r1"], "ip", "route"):
                assert lab.failures() == []
            assert lab["r1"].run(["ping", "-c", "1", "192.0.2.2"], capture_output=True).returncode == 0
            output(lab["r1"], "vtysh", "-c", "configure terminal", "-c", "hostname changed", "-c", "end", "-c", "write")
            assert "hostname changed" in output(lab["r1"], "sh", "-c", "cat /etc/frr/*.conf")
            assert output(lab["r1"], "stat", "-c", "%U:%G %a", "/etc/frr") == frr_directory()

    twice(check)
    assert (sorted(Path("/run/frr").iterdir()) if Path("/run/frr").is_dir() else None) == before


def frr_directory():
    path = Path("/etc/frr")
    return f"{path.owner()}:{path.group()} {path.stat().st_mode & 0o777:o}\n"


def test_two_labs_use_the_same_wireguard_interface_name(need):
    need("wireguard-go")

    def check():
        with Lab.from_text(WIREGUARD) as lab:
            assert "wg0" in output(lab["peer"], "ls", "/sys/class/net")

    twice(check)
    assert not Path("/run/wireguard/wg0.sock").exists()
    assert not Path("/var/run/wireguard/wg0.sock").exists()


def test_two_labs_of_dnsmasq_answer_and_keep_their_lease_files(need):
    need("dnsmasq")
    query = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20);"
        r"s.sendto(bytes.fromhex('0001010000010000000000000178047465737400') + b'\0\1\0\1', ('10.0.1.1', 53));"
        "print('.'.join(map(str, s.recv(512)[-4:])))"
    )

    def check():
        with Lab.from_text(DNSMASQ) as lab:
            assert output(lab["client"], "python3", "-c", query) == "192.0.2.7\n"
            assert re.search(r"^\d+$", output(lab["server"], "cat", "/run/dnsmasq/dnsmasq.pid"), re.MULTILINE)

    before = sorted(Path("/var/lib/misc").iterdir())
    twice(check)
    assert sorted(Path("/var/lib/misc").iterdir()) == before
    assert not Path("/run/dnsmasq/dnsmasq.pid").exists()
