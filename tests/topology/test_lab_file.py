"""Lab files with one node: defaults, overridden values, and errors in names and TUN values."""

import re
from pathlib import Path

import pytest

from tunlab.errors import TopologyError
from tunlab.topology import LabSpec, NodeSpec, check_lab_name, parse_lab

DEFAULT = Path(__file__).parents[2] / "lab" / "default.toml"


def test_default_lab_file_equals_an_empty_lab_file():
    assert parse_lab(DEFAULT.read_text()) == LabSpec() == parse_lab("")
    assert LabSpec().node == NodeSpec(tun=("10.1.2.1/24",), ifname="tun0", mtu=1500)


def test_missing_keys_in_a_lab_file_have_the_values_of_the_default_lab():
    assert parse_lab('[nodes.vpn]\ntun = "192.0.2.1/30"') == LabSpec("lab", {"vpn": NodeSpec(tun=("192.0.2.1/30",))})
    assert parse_lab("[nodes.vpn]\nmtu = 1400").node == NodeSpec(tun=("10.1.2.1/24",), mtu=1400)
    assert parse_lab('ip = "both"').node == NodeSpec(tun=("10.1.2.1/24", "fd00:1:2::1/64"))
    assert parse_lab('ip = "ipv6"').node == NodeSpec(tun=("fd00:1:2::1/64",))


def test_default_tun_is_added_only_to_a_lab_of_one_host():
    assert [node.tun for node in parse_lab("[nodes]\na = {}\nb = {}").nodes.values()] == [(), ()]
    assert parse_lab('[nodes]\na = { kind = "switch" }').node.tun == ()


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
def test_lab_name_defaults_to_the_file_name(file, name):
    assert parse_lab("", file).name == name == check_lab_name(name)


def test_override_of_a_lab_spec_replaces_only_the_given_values():
    spec = parse_lab('name = "a"\n[nodes.n]\nmtu = 1400').override(name="b", tun="192.0.2.1/24")
    assert spec == LabSpec("b", {"n": NodeSpec(tun=("192.0.2.1/24",), mtu=1400)})


@pytest.mark.parametrize("value", ['"fd00::1/64"', '["10.1.2.1/24", "fd00::1/64"]'])
def test_tun_with_an_ipv6_address_enables_both_ip_versions(value):
    addresses = tuple(re.findall(r"[^\[\], \"]+", value))
    spec = parse_lab(f"[nodes.vpn]\ntun = {value}")
    assert (spec.node, spec.ip) == (NodeSpec(tun=addresses), "both")
    assert LabSpec().override(tun=addresses).node.devices == {"tun0": addresses}
    assert LabSpec().override(tun=addresses).ip == "both"
    assert parse_lab(f"[nodes.vpn]\ntuns = {{ a = {value} }}").ip == "both"
    assert parse_lab('[nodes.vpn]\ntun = "10.1.2.1/24"').ip == "ipv4"


def test_error_of_override_with_an_ipv6_address_names_the_minimum_mtu():
    with pytest.raises(TopologyError, match=r"`mtu` is 1000; the minimum for IPv6 is 1280"):
        LabSpec().override(tun=["fd00::1/64"], mtu=1000)


def test_override_of_mtu_in_a_lab_of_two_nodes_raises_topology_error():
    spec = parse_lab("[nodes]\na = {}\nb = {}")
    assert spec.override(name="x") == parse_lab('name = "x"\n[nodes]\na = {}\nb = {}')
    with pytest.raises(TopologyError) as caught:
        spec.override(mtu=1400)
    assert str(caught.value) == "`mtu` is ambiguous: the lab has 2 nodes. Change the lab file instead."


def test_error_of_lab_spec_override_lists_every_invalid_value():
    with pytest.raises(TopologyError) as caught:
        LabSpec().override(tun="10.1.2", ifname="a b", mtu=1)
    assert [(each.key, each.problem) for each in caught.value.problems] == [
        ("tun", "is '10.1.2', which is not an address"),
        ("ifname", "is 'a b', which is not a valid interface name"),
        ("mtu", "is 1; the minimum is 68"),
    ]


@pytest.mark.parametrize("name", ["a", "0", "lab", "a-b-", "x" * 15])
def test_check_lab_name_accepts_valid_names(name):
    assert check_lab_name(name) == name


LAB_NAME_HINT = "Use 1 to 15 characters of a-z, 0-9 and -, not starting with -."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "x.toml: not valid TOML: Invalid value (at end of document). See https://toml.io."),
        ('nmae = "a"', "x.toml: `nmae` is not a known key. Did you mean name?"),
        ("colour = 1", "x.toml: `colour` is not a known key. Choose from name, nodes, links, ip, subnets, subnets6."),
        ("[nodes.a]\nmut = 1", "x.toml: `nodes.a.mut` is not a known key. Did you mean mtu?"),
        ("name = 1", f"x.toml: `name` is 1, which is not a string. {LAB_NAME_HINT}"),
        ('name = ""', f"x.toml: `name` is empty. {LAB_NAME_HINT}"),
        (
            'name = "sixteen-letters-"',
            f"x.toml: `name` is 'sixteen-letters-', which has 16 characters; the maximum is 15. {LAB_NAME_HINT}",
        ),
        ('name = "../etc"', f"x.toml: `name` is '../etc', which is not a valid lab name. {LAB_NAME_HINT}"),
        ('name = "-x"', f"x.toml: `name` is '-x', which is not a valid lab name. {LAB_NAME_HINT}"),
        ('name = "Lab"', f"x.toml: `name` is 'Lab', which is not a valid lab name. {LAB_NAME_HINT}"),
        ("nodes = 1", "x.toml: `nodes` is not a table. Write a node as [nodes.stack]."),
        ("nodes = {a = 1}", "x.toml: `nodes.a` is 1, which is not a table. Write [nodes.a] or a = {}."),
        ("[nodes]", "x.toml: `nodes` is empty. Add a node such as [nodes.stack]."),
    ],
)
def test_error_of_parse_lab_names_the_invalid_key(text, message):
    with pytest.raises(TopologyError) as caught:
        parse_lab(text, "x.toml")
    assert str(caught.value) == message


ADDRESS_HINT = 'Write an IPv4 address with prefix length, such as "10.1.2.1/24".'
ADDRESS_HINT_IPV6 = 'Write an IPv6 address with prefix length, such as "fd00:0:0:1::1/64".'
IFNAME_ERROR = "which is not a valid interface name. Use 1 to 15 characters of a-z, A-Z, 0-9, _, . and -."


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tun", '"10.1.2"', f"is '10.1.2', which is not an address. {ADDRESS_HINT}"),
        ("tun", '"10.1.2.300/24"', f"is '10.1.2.300/24', which is not an address. {ADDRESS_HINT}"),
        ("tun", '"10.1.2.1/33"', f"is '10.1.2.1/33', which is not an address. {ADDRESS_HINT}"),
        ("tun", '"fd00::1"', f"is 'fd00::1', which has no prefix length. {ADDRESS_HINT_IPV6}"),
        ("tun", "[]", 'has no address. Write ["10.1.2.1/24", "fd00::1/64"], or remove it.'),
        ("tun", '""', f"is '', which is not an address. {ADDRESS_HINT}"),
        ("tun", '"10.1.2.1"', f"is '10.1.2.1', which has no prefix length. {ADDRESS_HINT}"),
        (
            "tun",
            '"10.1.2.1/255.255.255.0"',
            f"is '10.1.2.1/255.255.255.0', which has no prefix length. {ADDRESS_HINT}",
        ),
        ("tun", '"0.0.0.0/0"', f"is '0.0.0.0/0', which is not a usable interface address. {ADDRESS_HINT}"),
        ("tun", '"224.0.0.1/24"', f"is '224.0.0.1/24', which is not a usable interface address. {ADDRESS_HINT}"),
        ("tun", "5", f"is 5, which is not a string. {ADDRESS_HINT}"),
        ("ifname", '""', f"is '', {IFNAME_ERROR}"),
        ("ifname", '"a b"', f"is 'a b', {IFNAME_ERROR}"),
        ("ifname", '"tun%d"', f"is 'tun%d', {IFNAME_ERROR}"),
        ("ifname", '"lo"', "is 'lo', which is reserved in every namespace. Choose a name such as \"tun0\"."),
        (
            "ifname",
            '"sixteen-letters-"',
            (
                "is 'sixteen-letters-', which has 16 characters; the kernel's maximum is 15."
                ' Choose a name such as "tun0".'
            ),
        ),
        ("ifname", "true", 'is True, which is not a string. Choose a name such as "tun0".'),
        ("mtu", "67", "is 67; the minimum is 68. Set 68 to 65535."),
        ("mtu", "65536", "is 65536; the maximum is 65535. Set 68 to 65535."),
        ("mtu", "true", "is True, which is not a whole number. Set 68 to 65535."),
        ("mtu", '"1500"', "is '1500', which is not a whole number. Set 68 to 65535."),
    ],
)
def test_error_of_parse_lab_with_invalid_node_value_names_node_and_key(key, value, message):
    with pytest.raises(TopologyError) as caught:
        parse_lab(f"[nodes.a]\n{key} = {value}", "x.toml")
    assert str(caught.value) == f"x.toml: `nodes.a.{key}` {message}"
    assert (caught.value.table, caught.value.key) == ("nodes.a", key)


@pytest.mark.parametrize("mtu", [68, 65_535])
def test_parse_lab_accepts_minimum_and_maximum_mtu(mtu):
    assert parse_lab(f"[nodes.a]\nmtu = {mtu}").node.mtu == mtu
