"""Labs that more than one test uses, as text."""

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
