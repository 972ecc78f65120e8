"""Labs and packets that several test modules share."""

from tunlab.packet import ICMP, IPv4, build
from tunlab.topology import LabSpec

DEFAULT = LabSpec("lab")
"""The default lab: one node with tun0, 10.1.2.1/24."""

ECHO_REQUEST = build(IPv4(src="10.1.2.3", dst="10.1.2.1"), ICMP.echo_request(7, 1), b"ping")

ROUTER = """
name = "router"

[nodes]
client = {}
router = { forward = true }
server = {}

[[links]]
ends = ["client", "router"]

[[links]]
ends = ["router:lan0", "server:eth0"]
subnet = "10.0.2.0/24"
mtu = 1400
"""
