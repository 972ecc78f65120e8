"""A lab built in code with `Topology` equals the lab read from a file with the same tables."""

import pytest
from hypothesis import given

from tests.topology.strategies import labs, sampled
from tunlab.errors import TopologyError
from tunlab.topology import Topology, parse_lab


def test_topology_built_in_code_equals_that_of_the_same_lab_file():
    lab = Topology("router", ip="both")
    assert lab.node("client", files={"/etc/motd": 'a "quoted" \\ \x7f name'}) == "client"
    lab.node("router", forward=True, sysctls={"net.ipv4.tcp_sack": 0})
    lab.node("server", run=["python3 -m http.server 80", ("sleep", "1")], loopback=("192.0.2.1",))
    lab.link("client", "router", delay="20ms", loss=0.01)
    lab.link({"node": "router", "address": "10.0.2.9"}, "server:lan0", subnet="10.0.2.0/24")
    assert (
        lab.spec()
        == parse_lab(lab.text)
        == parse_lab(
            """
        name = "router"
        ip = "both"
        [nodes.client.files]
        "/etc/motd" = 'a "quoted" \\ \x20name'
        [nodes.router]
        forward = true
        sysctls = { "net.ipv4.tcp_sack" = 0 }
        [nodes.server]
        run = ["python3 -m http.server 80", ["sleep", "1"]]
        loopback = ["192.0.2.1"]
        [[links]]
        ends = ["client", "router"]
        delay = "20ms"
        loss = "1%"
        [[links]]
        ends = [{ node = "router", address = "10.0.2.9" }, "server:lan0"]
        subnet = "10.0.2.0/24"
    """.replace("\\ \x20name", "\\ \\u007f name")
            .replace("'a \"", '"a \\"')
            .replace('d" \\', 'd\\" \\\\')
            .replace("name'", 'name"')
        )
    )


def test_topology_with_invalid_keys_raises_the_same_errors_as_a_lab_file():
    lab = Topology("x")
    lab.node("a", mut=1400)
    lab.link("a", "b")
    with pytest.raises(TopologyError) as caught:
        lab.spec()
    assert str(caught.value).splitlines() == [
        "`nodes.a.mut` is not a known key. Did you mean mtu?",
        "`links[0].ends[1]` is 'b', which is not a node of the lab. Choose from a.",
    ]


def test_topology_with_a_duplicate_node_raises_value_error():
    lab = Topology()
    lab.node("a")
    with pytest.raises(ValueError, match="there is a node 'a' already"):
        lab.node("a")


@given(labs())
@sampled(50)
def test_topology_printed_as_a_lab_file_is_read_back_as_the_same_lab(lab):
    assert parse_lab(lab.text) == lab.spec()
