import errno

import pytest

from tunlab.errors import KernelError
from tunlab.kernel import validation
from tunlab.kernel.validation import (
    check_hardware_address,
    check_ifname,
    check_mtu,
    parse_address,
    parse_interface,
    parse_network,
)
from tunlab.topology.values import units


@pytest.mark.parametrize("name", ["a", "tun0", "tun%d", "x" * 15, "eth0.100", "ü" * 7, "-", "..."])
def test_a_name_that_the_kernel_takes_is_taken(name):
    assert check_ifname(name, "make") == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "a device needs a name"),
        ("x" * 16, "has 16 octets and the kernel takes 15"),
        ("ü" * 8, "has 16 octets and the kernel takes 15"),
        (".", "cannot be called '.'"),
        ("..", "cannot be called '..'"),
        ("a/b", "cannot contain '/'"),
        ("a:b", "cannot contain ':'"),
        ("a b", "cannot contain ' '"),
        ("a\tb", "cannot contain '\\t'"),
        ("a\n", "cannot contain '\\n'"),
        ("a\0b", "cannot contain '\\x00'"),
    ],
)
def test_a_name_that_the_kernel_refuses_is_explained(name, said):
    with pytest.raises(KernelError) as raised:
        check_ifname(name, "make")
    assert raised.value.errno == errno.EINVAL
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["a", "x" * 15, "eth0.100", "a/b", "a b", "a:b", ".", "..", "..."])
def test_the_kernel_agrees_about_names(rtnl, name, monkeypatch):
    try:
        check_ifname(name, "make")
        taken = True
    except KernelError:
        taken = False
    monkeypatch.setattr("tunlab.kernel.network.request_attributes.check_ifname", lambda ifname, _: ifname)
    monkeypatch.setattr("tunlab.kernel.network.rtnl.check_ifname", lambda ifname, _: ifname)
    if taken:
        assert rtnl.add_link(name, "bridge") > 1
    else:
        with pytest.raises(KernelError):
            rtnl.add_link(name, "bridge")


def test_an_interface_address_keeps_its_host_bits():
    assert str(parse_interface("10.1.2.1/24", "add")) == "10.1.2.1/24"
    assert str(parse_interface("fd00::1/64", "add")) == "fd00::1/64"


@pytest.mark.parametrize("text", ["10.1.2.1", "10.1.2.1/33", "10.1.2/24", "", "fd00::1/129", "name/24", "/"])
def test_an_interface_address_that_is_none_is_explained(text):
    with pytest.raises(KernelError) as raised:
        parse_interface(text, "add")
    assert raised.value.errno == errno.EINVAL
    assert 'as "10.1.2.1/24"' in str(raised.value)


@pytest.mark.parametrize("text", ["10.1.2.1/24", "10.1.2", "", "localhost", "256.0.0.1", "fd00:::1"])
def test_an_address_that_is_none_is_explained(text):
    with pytest.raises(KernelError) as raised:
        parse_address(text, "add")
    assert "without a prefix length" in str(raised.value)


def test_a_network_may_be_one_address():
    assert str(parse_network("192.0.2.7", "add")) == "192.0.2.7/32"
    assert str(parse_network("fd00::/64", "add")) == "fd00::/64"


@pytest.mark.parametrize("text", ["192.0.2.7/24", "nowhere", "", "1.2.3.4/40"])
def test_a_network_that_is_none_is_explained(text):
    with pytest.raises(KernelError) as raised:
        parse_network(text, "add")
    assert '"default"' in str(raised.value)


def test_a_hardware_address_is_taken():
    assert check_hardware_address("02:00:00:00:00:0f", "set") == "02:00:00:00:00:0f"


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g", "02:00:00:00:00:01\n"]
)
def test_a_hardware_address_that_is_none_is_explained(text):
    with pytest.raises(KernelError) as raised:
        check_hardware_address(text, "set")
    assert "six octets" in str(raised.value)


def test_nothing_here_speaks_to_the_kernel():
    assert not {"os", "socket", "fcntl"} & vars(validation).keys()


@pytest.mark.parametrize("mtu", [68, 1500, 65_535])
def test_an_mtu_that_a_tun_can_have_is_taken(mtu):
    assert check_mtu(mtu, "set") == mtu


@pytest.mark.parametrize("mtu", [67, 65_536, 0, -1, 1 << 40, True, 1500.0, "1500"])
def test_an_mtu_that_is_none_is_told_the_range(mtu):
    with pytest.raises(KernelError) as raised:
        check_mtu(mtu, "set the MTU of tun0", ifname="tun0")
    assert str(raised.value) == (
        f"set the MTU of tun0: {mtu!r} is no MTU (EINVAL); give a number of octets from 68 to 65535"
    )
    assert (raised.value.errno, raised.value.ifname) == (errno.EINVAL, "tun0")


def test_the_range_is_that_of_lab_files():
    assert (validation.MIN_MTU, validation.MAX_MTU) == (units.LEAST_MTU, units.LARGEST_MTU)
