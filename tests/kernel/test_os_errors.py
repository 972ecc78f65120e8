"""Kernel errors made from OSError: reason, remedy and missing capability."""

import errno
import socket

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.network.qdisc import impair
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import (
    CAPABILITIES,
    SOCKET_REASONS,
    effective_capabilities,
    has_capability,
    kernel_error,
    translate_os_errors,
)

IP_RECVERR = 11  # from <linux/in.h>


def test_kernel_error_for_unknown_errno_uses_system_text():
    error = kernel_error(OSError(errno.EIO, "Input/output error"), "do it", netns="net:[1]", ifname="tun0")
    assert type(error) is KernelError
    assert str(error) == "do it: Input/output error (EIO)"
    assert (error.errno, error.operation, error.netns, error.ifname) == (errno.EIO, "do it", "net:[1]", "tun0")


def test_reason_given_to_kernel_error_replaces_system_text():
    error = kernel_error(OSError(errno.EINVAL, "Invalid argument"), "do it", reason="mtu less than device minimum")
    assert str(error) == "do it: mtu less than device minimum (EINVAL)"


def test_kernel_error_for_explained_errno_has_reason_and_remedy():
    error = kernel_error(OSError(errno.EIO, ""), "write", reasons={errno.EIO: ("the link is down", "set it up first")})
    assert str(error) == "write: the link is down (EIO). Set it up first."
    assert error.remedy == "set it up first"


def test_kernel_error_explains_errno_before_a_missing_capability():
    error = kernel_error(
        OSError(errno.EACCES, ""), "run", needs="CAP_NET_RAW", reasons={errno.EACCES: ("no x bit", "")}
    )
    assert type(error) is KernelError


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_kernel_error_does_not_report_present_capability_as_missing(code):
    error = kernel_error(OSError(code, ""), "unshare", needs="CAP_SYS_ADMIN")
    assert isinstance(error, PrivilegeError)
    assert error.missing == "CAP_SYS_ADMIN"
    assert "CAP_SYS_ADMIN is present" in str(error)
    assert "seccomp" in str(error)


def test_kernel_error_names_dropped_capability(run_python):
    source = """
        import errno
        from tunlab.kernel.os_errors import kernel_error, has_capability
        assert not has_capability("CAP_NET_ADMIN") and has_capability("CAP_SYS_ADMIN")
        print(kernel_error(OSError(errno.EPERM, ""), "set tun0 up", needs="CAP_NET_ADMIN"))
    """
    output = run_python(source, prefix=["setpriv", "--bounding-set=-net_admin"])
    remedy = "Run in a container with --cap-add NET_ADMIN"
    assert output.startswith(f"set tun0 up: you are root, but CAP_NET_ADMIN is missing (EPERM). {remedy}")


def test_kernel_error_advises_unprivileged_user_to_run_as_root(run_python):
    source = """
        import errno
        from tunlab.kernel.os_errors import kernel_error
        print(kernel_error(OSError(errno.EPERM, ""), "set tun0 up", needs="CAP_NET_ADMIN"))
    """
    output = run_python(source, nobody=True)
    assert output.startswith(
        "set tun0 up: CAP_NET_ADMIN is missing (EPERM). Run as root, in a container with --cap-add"
    )


def test_kernel_error_for_eperm_without_needed_capability_is_not_a_privilege_error():
    assert type(kernel_error(OSError(errno.EPERM, ""), "write")) is KernelError


def test_kernel_error_for_errno_enodev_is_not_a_privilege_error():
    assert type(kernel_error(OSError(errno.ENODEV, ""), "bind", needs="CAP_NET_RAW")) is KernelError


def test_translate_os_errors_keeps_kernel_error_unchanged():
    first = KernelError(errno.EINVAL, "first")
    assert kernel_error(first, "second") is first
    with pytest.raises(KernelError) as raised, translate_os_errors("second"):
        raise first
    assert raised.value is first


def test_translate_os_errors_without_error_does_nothing():
    with translate_os_errors("do it"):
        value = 1
    assert value == 1


def test_translate_os_errors_leaves_other_exceptions_unchanged():
    with pytest.raises(ZeroDivisionError), translate_os_errors("do it"):
        raise ZeroDivisionError


def test_kernel_error_is_caught_as_oserror():
    with pytest.raises(OSError) as raised, translate_os_errors("do it"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert raised.value.errno == errno.ENOENT
    assert isinstance(raised.value, KernelError)


def test_effective_capabilities_equal_those_of_has_capability():
    mask = effective_capabilities()
    for name, number in CAPABILITIES.items():
        assert has_capability(name) == bool(mask & 1 << number)


@pytest.mark.parametrize("code", SOCKET_REASONS, ids=errno.errorcode.get)
def test_kernel_error_with_socket_reasons_has_reason_and_remedy(code):
    error = kernel_error(OSError(code, "system text"), "send", reasons=SOCKET_REASONS)
    reason, remedy = SOCKET_REASONS[code]
    assert str(error) == f"send: {reason} ({errno.errorcode[code]}). {remedy[:1].upper()}{remedy[1:]}."
    assert reason
    assert remedy


def failing_calls(netns, tun):
    """Return two functions for each error number: one opens a socket, the other makes it fail with that error."""

    def udp():
        return netns.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def udp_with_full_queue():
        opened = udp()
        opened.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        with Rtnl(netns) as rtnl:
            impair(rtnl, rtnl.link(tun.ifname).index, rate=64_000)
        return opened

    def tcp():
        return netns.socket(socket.AF_INET, socket.SOCK_STREAM)

    return {
        errno.ENOBUFS: (
            udp_with_full_queue,
            lambda opened: [opened.sendto(bytes(1000), ("10.1.2.2", 9)) for _ in range(1000)],
        ),
        errno.ENETUNREACH: (udp, lambda opened: opened.sendto(b"x", ("192.0.2.1", 9))),
        errno.EMSGSIZE: (udp, lambda opened: opened.sendto(bytes(65_508), ("10.1.2.2", 9))),
        errno.EADDRINUSE: (tcp, lambda opened: opened.bind(("10.1.2.1", 80))),
        errno.EADDRNOTAVAIL: (udp, lambda opened: opened.bind(("192.0.2.1", 9))),
        errno.ECONNREFUSED: (tcp, lambda opened: opened.connect(("10.1.2.1", 9))),
        errno.EACCES: (udp, lambda opened: opened.sendto(b"x", ("10.1.2.255", 9))),
    }


@pytest.mark.parametrize("code", SOCKET_REASONS, ids=errno.errorcode.get)
def test_socket_reasons_have_error_numbers_that_kernel_returns(netns, tun, code):
    open_socket, fail = failing_calls(netns, tun)[code]
    with netns.socket() as listener, open_socket() as opened:
        listener.bind(("10.1.2.1", 80))
        with pytest.raises(KernelError) as raised, translate_os_errors("try", reasons=SOCKET_REASONS):
            fail(opened)
    assert (raised.value.errno, raised.value.remedy) == (code, SOCKET_REASONS[code][1])


def test_grant_argument_of_kernel_error_replaces_default_advice(run_python):
    source = """
        import errno
        from tunlab.kernel.os_errors import ROOT_REMEDY, kernel_error
        error = kernel_error(OSError(errno.EPERM, ""), "pin", needs="CAP_SYS_ADMIN", grant=ROOT_REMEDY, ifname="x")
        remedy = error.remedy.removeprefix("run ")
        print(remedy in ROOT_REMEDY, "userns" in str(error), error.ifname)
    """
    assert run_python(source, prefix=["setpriv", "--bounding-set=-sys_admin"]).split() == ["True", "False", "x"]
