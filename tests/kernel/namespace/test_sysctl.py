import errno
from pathlib import Path

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.namespace import sysctl
from tunlab.kernel.namespace.netns import Netns


@pytest.mark.parametrize(("name", "value"), sysctl.DEFAULTS)
def test_a_new_namespace_has_what_the_table_says(netns, name, value):
    assert netns.sysctl(name).split() == value.split()


@pytest.mark.parametrize("which", ["all", "default", "lo"])
def test_ipv6_is_off_everywhere_by_one_write(netns, which):
    assert netns.sysctl(f"net.ipv6.conf.{which}.disable_ipv6") == "1"


@pytest.mark.parametrize(("name", "value"), sysctl.WITH_IPV6)
def test_ipv6_asked_for_is_on_and_quiet(name, value):
    with Netns.create(ipv6=True) as netns:
        assert netns.sysctl(name) == value


def test_a_new_device_is_without_ipv6(netns, tun):
    assert netns.sysctl("net.ipv6.conf.tun0.disable_ipv6") == "1"


def test_the_callers_own_come_last():
    with Netns.create(sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.ip_default_ttl": "17"}) as netns:
        assert netns.sysctl("net.ipv4.ip_forward") == "1"
        assert netns.sysctl("net.ipv4.ip_default_ttl") == "17"


def test_a_sysctl_is_the_namespaces_own(netns, other_netns):
    netns.set_sysctl("net.ipv4.ip_default_ttl", 99)
    assert netns.sysctl("net.ipv4.ip_default_ttl") == "99"
    assert other_netns.sysctl("net.ipv4.ip_default_ttl") == "64"


def test_a_device_with_a_dot_is_written_with_slashes(netns, rtnl):
    rtnl.add_link("br0.5", "bridge")
    netns.set_sysctl("net/ipv4/conf/br0.5/rp_filter", "2")
    assert netns.sysctl("net/ipv4/conf/br0.5/rp_filter") == "2"


def test_both_spellings_name_one_file():
    assert sysctl.sysctl_path("net.ipv4.ip_forward") == sysctl.sysctl_path("net/ipv4/ip_forward")
    assert sysctl.sysctl_path("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"


@pytest.mark.parametrize(
    "name", ["", "net", "../etc/passwd", "net..ipv4", "/net/ipv4", "net.ipv4.", "net ipv4", "a.b\n"]
)
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(KernelError, match="a sysctl is named as in") as raised:
        sysctl.sysctl_path(name)
    assert raised.value.errno == errno.EINVAL


def test_an_unknown_sysctl_is_explained(netns):
    for attempt in (lambda: netns.sysctl("net.ipv4.nonsense"), lambda: netns.set_sysctl("net.ipv4.nonsense", 1)):
        with pytest.raises(KernelError, match="there is no such sysctl in this kernel") as raised:
            attempt()
        assert raised.value.errno == errno.ENOENT


def test_a_value_that_is_refused_is_explained(netns):
    with pytest.raises(KernelError, match="the kernel takes no such value for it") as raised:
        netns.set_sysctl("net.ipv4.ip_forward", "perhaps")
    assert raised.value.operation == "sysctl net.ipv4.ip_forward=perhaps"


def test_a_sysctl_without_a_right_names_it(run_python):
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


def test_a_read_only_proc_is_no_obstacle(run_python):
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
    said = run_python(source, prefix=["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh"])
    assert said.split() == [str(errno.EROFS), "0", "0", "1", str(errno.EROFS)]


def test_a_read_only_proc_of_another_user_namespace_is_explained(run_python):
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
    said = run_python(source, prefix=["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh"])
    assert "/proc/sys is read-only here and may not be mounted anew (EROFS); start the container with" in said


def test_the_ping_range_in_a_user_namespace_is_the_group_that_is_mapped(run_python):
    source = """
        import os
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.userns import enter_user_namespace
        enter_user_namespace()
        with Netns.create() as netns:
            print(*netns.sysctl("net.ipv4.ping_group_range").split())
    """
    assert run_python(source, nobody=True).strip() == "65534 65534"


def test_privilege_errors_are_kernel_errors():
    assert issubclass(PrivilegeError, KernelError)


@pytest.mark.parametrize(
    "name", ["kernel.hostname", "kernel/hostname", "vm.swappiness", "fs.file-max", "user.max_net_namespaces"]
)
def test_the_machines_own_are_refused(netns, name):
    """Written with the value that they have: were they not refused, nothing would change."""
    value = Path("/proc/sys", name.replace(".", "/")).read_text().strip()
    for attempt in (
        lambda: netns.set_sysctl(name, value),
        lambda: netns.sysctl(name),
        lambda: Netns.create(sysctls={name: value}),
    ):
        with pytest.raises(KernelError, match="belongs to the machine") as raised:
            attempt()
        assert raised.value.errno == errno.EPERM
