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


def test_the_node_is_opened_without_blocking_and_close_on_exec():
    with open_tun_node() as node:
        assert fcntl.fcntl(node, fcntl.F_GETFL) & os.O_NONBLOCK
        assert not os.get_inheritable(node.fileno())


def test_the_driver_says_what_it_can():
    features = tun_features()
    for flag in (IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR):
        assert features & flag


def test_a_read_without_a_device_is_ebadfd():
    with open_tun_node() as node, pytest.raises(OSError) as raised:
        node.read(100)
    assert raised.value.errno == errno.EBADFD


def test_the_kernel_numbers_the_name_and_tells_it(netns):
    def inside():
        with open_tun_node() as first, open_tun_node() as second, socket.socket() as any_socket:
            names = [attach_interface(node, "test%d", IFF_TUN | IFF_NO_PI) for node in (first, second)]
            return names, [interface_index(any_socket, name) for name in names]

    names, indexes = netns.call(inside)
    assert names == ["test0", "test1"]
    assert indexes[0] < indexes[1]


def test_the_index_of_no_device_is_refused(netns):
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
def test_the_flags_are_those_of_the_header_file(arguments, flags):
    assert interface_flags(*arguments) == flags


def test_a_mode_that_is_none_is_refused():
    with pytest.raises(KernelError, match='a mode is "tun" or "tap"'):
        interface_flags("tunnel", False, False, False)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOENT, "/dev/net/tun does not exist"),
        (errno.ENODEV, "has no driver behind it"),
        (errno.ENXIO, "has no driver behind it"),
        (errno.EPERM, "is kept from this process by a device cgroup"),
    ],
)
def test_a_missing_node_is_a_missing_right(code, said):
    error = tun_node_error(OSError(code, ""))
    assert isinstance(error, PrivilegeError)
    assert error.missing == "/dev/net/tun"
    assert said in str(error)


def test_another_error_of_the_node_is_a_plain_one():
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


def test_a_node_that_is_closed_to_us_says_its_mode(run_python):
    said = run_python(OPEN, nobody=True, tun_mode=0o600)
    assert said.startswith(
        "/dev/net/tun open /dev/net/tun: /dev/net/tun has mode 0600, owner 0:0, and you are uid 65534"
    )
    assert "chmod 0666 /dev/net/tun" in said


def test_a_node_that_is_open_to_all_is_opened(run_python):
    assert run_python(OPEN, nobody=True).strip() == "opened"


def test_a_node_that_is_not_there_says_so(run_python):
    hide = 'mount -t tmpfs none /dev/net; exec "$@"'
    said = run_python(OPEN, prefix=["unshare", "--mount", "sh", "-ec", hide, "sh"])
    assert "/dev/net/tun does not exist (ENOENT); load the driver (modprobe tun), or pass --device" in said


def test_a_node_without_a_driver_says_so(run_python):
    other = 'mount -t tmpfs none /dev/net; mknod /dev/net/tun c 10 201; exec "$@"'
    said = run_python(OPEN, prefix=["unshare", "--mount", "sh", "-ec", other, "sh"])
    # A container that is not privileged has a device cgroup, which lets only known devices pass.
    assert "/dev/net/tun has no driver behind it" in said or "/dev/net/tun is kept from this process by a" in said
