"""Sysctls of a network namespace."""

import errno
from pathlib import Path

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.namespace import sysctl
from tunlab.kernel.namespace.netns import Netns


@pytest.mark.parametrize(("name", "value"), sysctl.DEFAULTS)
def test_create_of_namespace_applies_default_sysctls(netns, name, value):
    assert netns.sysctl(name).split() == value.split()


@pytest.mark.parametrize("which", ["all", "default", "lo"])
def test_create_of_namespace_disables_ipv6_on_every_interface(netns, which):
    assert netns.sysctl(f"net.ipv6.conf.{which}.disable_ipv6") == "1"


@pytest.mark.parametrize(("name", "value"), sysctl.WITH_IPV6)
def test_create_of_namespace_with_ipv6_disables_autoconfiguration(name, value):
    with Netns.create(ipv6=True) as netns:
        assert netns.sysctl(name) == value


def test_create_of_namespace_disables_ipv6_on_later_interfaces(netns, tun):
    assert netns.sysctl("net.ipv6.conf.tun0.disable_ipv6") == "1"


def test_create_of_namespace_with_sysctls_overrides_defaults():
    with Netns.create(sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.ip_default_ttl": "17"}) as netns:
        assert netns.sysctl("net.ipv4.ip_forward") == "1"
        assert netns.sysctl("net.ipv4.ip_default_ttl") == "17"


def test_set_sysctl_affects_only_the_given_namespace(netns, other_netns):
    netns.set_sysctl("net.ipv4.ip_default_ttl", 99)
    assert netns.sysctl("net.ipv4.ip_default_ttl") == "99"
    assert other_netns.sysctl("net.ipv4.ip_default_ttl") == "64"


def test_set_sysctl_accepts_slashes_for_dotted_interface(netns, rtnl):
    rtnl.add_link("br0.5", "bridge")
    netns.set_sysctl("net/ipv4/conf/br0.5/rp_filter", "2")
    assert netns.sysctl("net/ipv4/conf/br0.5/rp_filter") == "2"


def test_sysctl_path_accepts_dots_and_slashes():
    assert sysctl.sysctl_path("net.ipv4.ip_forward") == sysctl.sysctl_path("net/ipv4/ip_forward")
    assert sysctl.sysctl_path("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"


@pytest.mark.parametrize(
    "name", ["", "net", "../etc/passwd", "net..ipv4", "/net/ipv4", "net.ipv4.", "net ipv4", "a.b\n"]
)
def test_sysctl_path_of_invalid_name_raises(name):
    with pytest.raises(KernelError, match="is not a sysctl name") as raised:
        sysctl.sysctl_path(name)
    assert raised.value.errno == errno.EINVAL


def test_error_of_sysctl_with_unknown_name_gives_reason(netns):
    for attempt in (lambda: netns.sysctl("net.ipv4.nonsense"), lambda: netns.set_sysctl("net.ipv4.nonsense", 1)):
        with pytest.raises(KernelError, match="this kernel has no such sysctl") as raised:
            attempt()
        assert raised.value.errno == errno.ENOENT


def test_error_of_set_sysctl_with_rejected_value_gives_reason(netns):
    with pytest.raises(KernelError, match="the kernel rejects this value") as raised:
        netns.set_sysctl("net.ipv4.ip_forward", "perhaps")
    assert raised.value.operation == "sysctl net.ipv4.ip_forward=perhaps"


def test_error_of_set_sysctl_without_capability_names_the_capability(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        with Netns.current() as netns:
            try:
                from tunlab.kernel.namespace import sysctl
                sysctl.write([("net.ipv4.ip_default_ttl", sysctl.read("net.ipv4.ip_default_ttl"))])
            except PrivilegeError as error:
                print(error.missing)
    """
    assert run_python(source, nobody=True).strip() == "CAP_NET_ADMIN"


READ_ONLY = """
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec "$@"
"""


def test_set_sysctl_works_with_read_only_proc(run_python):
    source = """
        from tunlab.kernel.namespace.netns import Netns
        try:
            open("/proc/sys/net/ipv4/ip_forward", "w").close()
        except OSError as error:
            print(error.errno)
        with Netns.create() as netns:
            print(netns.sysctl("net.ipv4.ip_forward"), netns.sysctl("net.ipv4.icmp_ratemask"))
            netns.set_sysctl("net.ipv4.ip_forward", 1)
            print(netns.sysctl("net.ipv4.ip_forward"))
        try:
            open("/proc/sys/net/ipv4/ip_forward", "w").close()
        except OSError as error:
            print(error.errno)
    """
    output = run_python(source, prefix=["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh"])
    assert output.split() == [str(errno.EROFS), "0", "0", "1", str(errno.EROFS)]


def test_error_of_set_sysctl_with_locked_read_only_proc_gives_reason(run_python):
    source = """
        from tunlab.errors import KernelError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.userns import enter_user_namespace
        enter_user_namespace()
        try:
            Netns.create()
        except KernelError as error:
            print(error)
    """
    output = run_python(source, prefix=["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh"])
    assert "/proc/sys is read-only and cannot be remounted (EROFS). Start the container with" in output


def test_ping_group_range_in_user_namespace_is_mapped_group(run_python):
    source = """
        import os
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.userns import enter_user_namespace
        enter_user_namespace()
        with Netns.create() as netns:
            print(*netns.sysctl("net.ipv4.ping_group_range").split())
    """
    assert run_python(source, nobody=True).strip() == "65534 65534"


def test_privilege_error_is_kernel_error():
    assert issubclass(PrivilegeError, KernelError)


@pytest.mark.parametrize(
    "name", ["kernel.hostname", "kernel/hostname", "vm.swappiness", "fs.file-max", "user.max_net_namespaces"]
)
def test_sysctl_outside_of_net_raises_eperm(netns, name):
    """Write the current value, so that a failing test changes nothing on the machine."""
    value = Path("/proc/sys", name.replace(".", "/")).read_text().strip()
    for attempt in (
        lambda: netns.set_sysctl(name, value),
        lambda: netns.sysctl(name),
        lambda: Netns.create(sysctls={name: value}),
    ):
        with pytest.raises(KernelError, match="belongs to the machine") as raised:
            attempt()
        assert raised.value.errno == errno.EPERM
