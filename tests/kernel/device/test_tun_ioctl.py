"""The device node /dev/net/tun: its ioctls, flags and errors."""

import errno
import fcntl
import os
import socket

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.device.tun_ioctl import (
    IFF_MULTI_QUEUE,
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_VNET_HDR,
    attach_interface,
    interface_flags,
    interface_index,
    open_tun_node,
    tun_features,
    tun_node_error,
)


def test_opened_tun_node_is_nonblocking_and_close_on_exec():
    with open_tun_node() as node:
        assert fcntl.fcntl(node, fcntl.F_GETFL) & os.O_NONBLOCK
        assert not os.get_inheritable(node.fileno())


def test_tun_features_returns_supported_flags():
    features = tun_features()
    for flag in (IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR):
        assert features & flag


def test_read_from_tun_node_without_device_raises_ebadfd():
    with open_tun_node() as node, pytest.raises(OSError) as raised:
        node.read(100)
    assert raised.value.errno == errno.EBADFD


def test_attach_interface_with_name_pattern_returns_numbered_name(netns):
    def inside():
        with open_tun_node() as first, open_tun_node() as second, socket.socket() as any_socket:
            names = [attach_interface(node, "test%d", IFF_TUN | IFF_NO_PI) for node in (first, second)]
            return names, [interface_index(any_socket, name) for name in names]

    names, indexes = netns.call(inside)
    assert names == ["test0", "test1"]
    assert indexes[0] < indexes[1]


def test_interface_index_of_missing_device_raises(netns):
    with netns.socket() as any_socket, pytest.raises(OSError) as raised:
        interface_index(any_socket, "nothing")
    assert raised.value.errno == errno.ENODEV


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (("tun", False, False, False), 0x1001),
        (("tap", False, False, False), 0x1002),
        (("tun", True, False, False), 0x0001),
        (("tun", False, True, False), 0x1101),
        (("tap", True, True, True), 0x4102),
    ],
)
def test_interface_flags_have_values_of_if_tun_header(arguments, flags):
    assert interface_flags(*arguments) == flags


def test_interface_flags_of_unknown_mode_raises():
    with pytest.raises(KernelError, match="the mode 'tunnel' does not exist"):
        interface_flags("tunnel", False, False, False)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (errno.ENOENT, "/dev/net/tun does not exist"),
        (errno.ENODEV, "has no driver behind it"),
        (errno.ENXIO, "has no driver behind it"),
        (errno.EPERM, "a device cgroup forbids /dev/net/tun"),
    ],
)
def test_tun_node_error_for_missing_node_is_privilege_error(code, output):
    error = tun_node_error(OSError(code, ""))
    assert isinstance(error, PrivilegeError)
    assert error.missing == "/dev/net/tun"
    assert output in str(error)


def test_tun_node_error_for_other_errno_is_kernel_error():
    error = tun_node_error(OSError(errno.EMFILE, "Too many open files"))
    assert type(error) is KernelError
    assert str(error) == "open /dev/net/tun: Too many open files (EMFILE)"


OPEN = """
    from tunlab.errors import PrivilegeError
    from tunlab.kernel.device.tun_ioctl import open_tun_node
    try:
        open_tun_node().close()
        print("opened")
    except PrivilegeError as error:
        print(error.missing, error)
"""


def test_error_of_open_tun_node_without_permission_shows_file_mode(run_python):
    output = run_python(OPEN, nobody=True, tun_mode=0o600)
    assert output.startswith(
        "/dev/net/tun open /dev/net/tun: /dev/net/tun has mode 0600, owner 0:0, and you are uid 65534"
    )
    assert "chmod 0666 /dev/net/tun" in output


def test_open_tun_node_with_access_for_all_users_works(run_python):
    assert run_python(OPEN, nobody=True).strip() == "opened"


def test_error_of_open_tun_node_without_file_gives_reason(run_python):
    hide = 'mount -t tmpfs none /dev/net; exec "$@"'
    output = run_python(OPEN, prefix=["unshare", "--mount", "sh", "-ec", hide, "sh"])
    assert "/dev/net/tun does not exist (ENOENT). Load the driver (`modprobe tun`), or pass --device" in output


def test_error_of_open_tun_node_without_driver_gives_reason(run_python):
    other = 'mount -t tmpfs none /dev/net; mknod /dev/net/tun c 10 201; exec "$@"'
    output = run_python(OPEN, prefix=["unshare", "--mount", "sh", "-ec", other, "sh"])
    # In an unprivileged container, the device cgroup forbids the wrong device number that the test uses.
    assert "/dev/net/tun has no driver behind it" in output or "a device cgroup forbids" in output
