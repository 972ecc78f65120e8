"""Validation of interface names, addresses and MTUs without system calls."""

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
def test_check_ifname_accepts_valid_name(name):
    assert check_ifname(name, "make") == name


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("", "the interface name is empty"),
        ("x" * 16, "has 16 bytes; the maximum is 15"),
        ("ü" * 8, "has 16 bytes; the maximum is 15"),
        (".", "'.' is not an interface name"),
        ("..", "'..' is not an interface name"),
        ("a/b", "contains '/'"),
        ("a:b", "contains ':'"),
        ("a b", "contains ' '"),
        ("a\tb", "contains '\\t'"),
        ("a\n", "contains '\\n'"),
        ("a\0b", "contains '\\x00'"),
    ],
)
def test_error_of_check_ifname_gives_reason(name, output):
    with pytest.raises(KernelError) as raised:
        check_ifname(name, "make")
    assert raised.value.errno == errno.EINVAL
    assert output in str(raised.value)


@pytest.mark.parametrize("name", ["a", "x" * 15, "eth0.100", "a/b", "a b", "a:b", ".", "..", "..."])
def test_check_ifname_agrees_with_kernel(rtnl, name, monkeypatch):
    try:
        check_ifname(name, "make")
        accepted = True
    except KernelError:
        accepted = False
    monkeypatch.setattr("tunlab.kernel.network.request_attributes.check_ifname", lambda ifname, _: ifname)
    monkeypatch.setattr("tunlab.kernel.network.rtnl_links.check_ifname", lambda ifname, _: ifname)
    if accepted:
        assert rtnl.add_link(name, "bridge") > 1
    else:
        with pytest.raises(KernelError):
            rtnl.add_link(name, "bridge")


def test_parse_interface_keeps_host_bits():
    assert str(parse_interface("10.1.2.1/24", "add")) == "10.1.2.1/24"
    assert str(parse_interface("fd00::1/64", "add")) == "fd00::1/64"


@pytest.mark.parametrize("text", ["10.1.2.1", "10.1.2.1/33", "10.1.2/24", "", "fd00::1/129", "name/24", "/"])
def test_error_of_parse_interface_with_invalid_text_gives_reason(text):
    with pytest.raises(KernelError) as raised:
        parse_interface(text, "add")
    assert raised.value.errno == errno.EINVAL
    assert f'as "{"fd00::1/64" if ":" in text else "10.1.2.1/24"}"' in str(raised.value)


@pytest.mark.parametrize("text", ["10.1.2.1/24", "10.1.2", "", "localhost", "256.0.0.1", "fd00:::1"])
def test_error_of_parse_address_with_invalid_text_gives_reason(text):
    with pytest.raises(KernelError) as raised:
        parse_address(text, "add")
    assert "without a prefix length" in str(raised.value)


def test_parse_network_accepts_single_address():
    assert str(parse_network("192.0.2.7", "add")) == "192.0.2.7/32"
    assert str(parse_network("fd00::/64", "add")) == "fd00::/64"


@pytest.mark.parametrize("text", ["192.0.2.7/24", "nowhere", "", "1.2.3.4/40"])
def test_error_of_parse_network_with_invalid_text_gives_reason(text):
    with pytest.raises(KernelError) as raised:
        parse_network(text, "add")
    assert '"default"' in str(raised.value)


def test_check_hardware_address_accepts_valid_address():
    assert check_hardware_address("02:00:00:00:00:0f", "set") == "02:00:00:00:00:0f"


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g", "02:00:00:00:00:01\n"]
)
def test_error_of_check_hardware_address_gives_reason(text):
    with pytest.raises(KernelError) as raised:
        check_hardware_address(text, "set")
    assert "six bytes" in str(raised.value)


def test_validation_makes_no_system_calls():
    assert not {"os", "socket", "fcntl"} & vars(validation).keys()


@pytest.mark.parametrize("mtu", [68, 1500, 65_535])
def test_check_mtu_accepts_valid_mtu(mtu):
    assert check_mtu(mtu, "set") == mtu


@pytest.mark.parametrize("mtu", [67, 65_536, 0, -1, 1 << 40, True, 1500.0, "1500"])
def test_error_of_check_mtu_gives_range(mtu):
    with pytest.raises(KernelError) as raised:
        check_mtu(mtu, "set the MTU of tun0", ifname="tun0")
    assert str(raised.value) == (f"set the MTU of tun0: the MTU {mtu!r} is not valid (EINVAL). Give 68 to 65535 bytes.")
    assert (raised.value.errno, raised.value.ifname) == (errno.EINVAL, "tun0")


def test_range_of_check_mtu_equals_range_in_lab_files():
    assert (validation.MIN_MTU, validation.MAX_MTU) == (units.LEAST_MTU, units.LARGEST_MTU)
