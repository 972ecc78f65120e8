"""Lab files: what they say becomes a spec, and what they cannot say a sentence that names file, table and key."""

from pathlib import Path

import pytest

from tunlab.errors import TopologyError
from tunlab.topology import LabSpec, NodeSpec, check_lab_name, parse_lab

DEFAULT = Path(__file__).parents[2] / "lab" / "default.toml"


def test_the_default_lab_is_what_up_makes_without_a_file():
    assert parse_lab(DEFAULT.read_text()) == LabSpec() == parse_lab("")
    assert LabSpec().node == NodeSpec(tun="10.1.2.1/24", ifname="tun0", mtu=1500)


def test_what_a_file_leaves_out_is_as_in_the_default_lab():
    assert parse_lab('[nodes.vpn]\ntun = "192.0.2.1/30"') == LabSpec("lab", {"vpn": NodeSpec(tun="192.0.2.1/30")})
    assert parse_lab("[nodes.vpn]\nmtu = 1400").node == NodeSpec(tun="10.1.2.1/24", mtu=1400)
    assert parse_lab('ip = "both"').node == NodeSpec(tun="10.1.2.1/24", tun6="fd00:1:2::1/64")
    assert parse_lab('ip = "ipv6"').node == NodeSpec(tun6="fd00:1:2::1/64")


def test_only_a_node_that_is_alone_gets_a_tun_by_itself():
    assert [node.tun for node in parse_lab("[nodes]\na = {}\nb = {}").nodes.values()] == ["", ""]
    assert parse_lab('[nodes]\na = { kind = "switch" }').node.tun == ""


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("", "lab"),
        ("lab/router.toml", "router"),
        ("My Lab.toml", "my-lab"),
        ("...toml", "lab"),
        ("a-very-long-name-indeed.toml", "a-very-long-nam"),
        ("fifteen-letters-and.toml", "fifteen-letters"),
    ],
)
def test_a_lab_without_a_name_is_called_as_its_file(file, name):
    assert parse_lab("", file).name == name == check_lab_name(name)


def test_what_is_given_takes_the_place_of_what_a_lab_has():
    changed = parse_lab('name = "a"\n[nodes.n]\nmtu = 1400').changed(name="b", tun="192.0.2.1/24")
    assert changed == LabSpec("b", {"n": NodeSpec(tun="192.0.2.1/24", mtu=1400)})


def test_of_a_lab_with_several_nodes_only_the_name_can_be_changed():
    spec = parse_lab("[nodes]\na = {}\nb = {}")
    assert spec.changed(name="x") == parse_lab('name = "x"\n[nodes]\na = {}\nb = {}')
    with pytest.raises(TopologyError) as caught:
        spec.changed(mtu=1400)
    sentence = "mtu: the lab has 2 nodes, and which one is meant is not said; change the lab file"
    assert str(caught.value) == sentence


def test_what_is_changed_is_checked_as_a_file_is():
    with pytest.raises(TopologyError) as caught:
        LabSpec().changed(tun="10.1.2", ifname="a b", mtu=1)
    assert [(each.key, each.problem) for each in caught.value.problems] == [
        ("tun", "'10.1.2' is no address"),
        ("ifname", "a device cannot be called 'a b'"),
        ("mtu", "1 is no MTU"),
    ]


@pytest.mark.parametrize("name", ["a", "0", "lab", "a-b-", "x" * 15])
def test_names_that_a_lab_may_have(name):
    assert check_lab_name(name) == name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "x.toml: no TOML: Invalid value (at end of document); see https://toml.io"),
        ('nmae = "a"', "x.toml: nmae: no such key; did you mean name?"),
        ("colour = 1", "x.toml: colour: no such key; there are name, nodes, links, ip, subnets, subnets6"),
        ("[nodes.a]\nmut = 1", "x.toml: nodes.a.mut: no such key; did you mean mtu?"),
        ("name = 1", "x.toml: name: 1 is no text; take 1 to 15 of a-z, 0-9 and -"),
        ('name = ""', "x.toml: name: a lab needs a name; take 1 to 15 of a-z, 0-9 and -"),
        (
            'name = "sixteen-letters-"',
            (
                "x.toml: name: 'sixteen-letters-' has 16 characters, and a lab's name has 15 at most;"
                " take 1 to 15 of a-z, 0-9 and -"
            ),
        ),
        ('name = "../etc"', "x.toml: name: a lab cannot be called '../etc'; take 1 to 15 of a-z, 0-9 and -"),
        ('name = "-x"', "x.toml: name: a lab cannot be called '-x'; take 1 to 15 of a-z, 0-9 and -"),
        ('name = "Lab"', "x.toml: name: a lab cannot be called 'Lab'; take 1 to 15 of a-z, 0-9 and -"),
        ("nodes = 1", "x.toml: nodes: no tables; write a node as [nodes.stack]"),
        ("nodes = {a = 1}", "x.toml: nodes.a: 1 is no table; write [nodes.a], or a = {}"),
        ("[nodes]", "x.toml: nodes: a lab without a node; write one, as [nodes.stack]"),
    ],
)
def test_a_file_that_cannot_be(text, sentence):
    with pytest.raises(TopologyError) as caught:
        parse_lab(text, "x.toml")
    assert str(caught.value) == sentence


ADDRESS = 'give an IPv4 address and the prefix length of its network, as "10.1.2.1/24"'


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("tun", '"10.1.2"', f"'10.1.2' is no address; {ADDRESS}"),
        ("tun", '"10.1.2.300/24"', f"'10.1.2.300/24' is no address; {ADDRESS}"),
        ("tun", '"10.1.2.1/33"', f"'10.1.2.1/33' is no address; {ADDRESS}"),
        ("tun", '"fd00::1/64"', f"'fd00::1/64' is no address; {ADDRESS}"),
        ("tun", '""', f"'' is no address; {ADDRESS}"),
        ("tun", '"10.1.2.1"', f"'10.1.2.1' has no prefix length; {ADDRESS}"),
        ("tun", '"10.1.2.1/255.255.255.0"', f"'10.1.2.1/255.255.255.0' has no prefix length; {ADDRESS}"),
        ("tun", '"0.0.0.0/0"', f"'0.0.0.0/0' is no address that a device can have; {ADDRESS}"),
        ("tun", '"224.0.0.1/24"', f"'224.0.0.1/24' is no address that a device can have; {ADDRESS}"),
        ("tun", "5", f"5 is no text; {ADDRESS}"),
        ("ifname", '""', "a device cannot be called ''; take 1 to 15 of a-z, A-Z, 0-9, _, . and -"),
        ("ifname", '"a b"', "a device cannot be called 'a b'; take 1 to 15 of a-z, A-Z, 0-9, _, . and -"),
        ("ifname", '"tun%d"', "a device cannot be called 'tun%d'; take 1 to 15 of a-z, A-Z, 0-9, _, . and -"),
        ("ifname", '"lo"', "'lo' is taken in every namespace; give one like \"tun0\""),
        (
            "ifname",
            '"sixteen-letters-"',
            "'sixteen-letters-' has 16 characters, and the kernel takes 15 at most; give one like \"tun0\"",
        ),
        ("ifname", "true", 'True is no text; give one like "tun0"'),
        ("mtu", "67", "67 is no MTU; give a number of octets from 68 to 65535"),
        ("mtu", "65536", "65536 is no MTU; give a number of octets from 68 to 65535"),
        ("mtu", "true", "True is no MTU; give a number of octets from 68 to 65535"),
        ("mtu", '"1500"', "'1500' is no MTU; give a number of octets from 68 to 65535"),
    ],
)
def test_a_value_that_cannot_be(key, value, sentence):
    with pytest.raises(TopologyError) as caught:
        parse_lab(f"[nodes.a]\n{key} = {value}", "x.toml")
    assert str(caught.value) == f"x.toml: nodes.a.{key}: {sentence}"
    assert (caught.value.table, caught.value.key) == ("nodes.a", key)


@pytest.mark.parametrize("mtu", [68, 65_535])
def test_the_least_and_the_largest_mtu(mtu):
    assert parse_lab(f"[nodes.a]\nmtu = {mtu}").node.mtu == mtu
