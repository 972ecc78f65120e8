import errno
import fcntl
import os
import socket
import struct
import threading

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.device.tun_ioctl import TUN_F_CSUM, TUN_F_TSO4, TUN_F_USO4, TUN_F_USO6
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_for_link, wait_until_running
from tunlab.kernel.network.rtnl import Rtnl


def send(netns, payload, *, dst=("10.1.2.2", 9), count=1):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # IP_MTU_DISCOVER = IP_PMTUDISC_OMIT: the kernel fragments long datagrams.
        sender.setsockopt(socket.IPPROTO_IP, 10, 5)
        for _ in range(count):
            sender.sendto(payload, dst)


# ---- creation of devices


def test_create_adds_device_only_to_its_namespace(netns, tun):
    with Rtnl(netns) as rtnl:
        assert [link.name for link in rtnl.links()] == ["lo", "tun0"]
    assert "tun0" not in [name for _, name in socket.if_nameindex()]
    assert (tun.ifname, tun.link.kind, tun.hardware_address) == ("tun0", "tun", "")
    assert tun.ifindex == tun.link.index


def test_create_tap_has_hardware_address(netns):
    with TunDevice.create(netns, "tap0", mode="tap") as tap:
        assert len(tap.hardware_address) == 17
        tap.hardware_address = "02:00:00:00:00:42"
        assert tap.hardware_address == "02:00:00:00:00:42"
        assert tap.link.kind == "tun"  # The kernel reports the link kind "tun" for a TAP too.


def test_create_with_name_pattern_adds_a_number(netns):
    with TunDevice.create(netns, "vpn%d") as first, TunDevice.create(netns, "vpn%d") as second:
        assert (first.ifname, second.ifname) == ("vpn0", "vpn1")


def test_create_accepts_15_character_name(netns):
    with TunDevice.create(netns, "x" * 15) as device:
        assert device.ifname == device.link.name == "x" * 15


@pytest.mark.parametrize("name", ["", "x" * 16, "a/b", "..", "a b"])
def test_error_of_create_with_invalid_name_gives_reason(netns, name):
    with pytest.raises(KernelError) as raised:
        TunDevice.create(netns, name)
    assert raised.value.errno == errno.EINVAL
    assert raised.value.remedy == 'give a name such as "tun0"'


def test_created_device_is_down_and_has_no_address(netns):
    with TunDevice.create(netns) as device:
        link = device.link
        assert (link.up, link.mtu, link.txqueuelen, device.addresses) == (False, 1500, 500, [])


def test_configure_sets_addresses_mtu_queue_length_and_link_up(netns):
    with TunDevice.create(netns) as device:
        device.configure(["10.1.2.1/24", "10.1.3.1/24"], mtu=1400)
        link = device.link
        assert (link.up, link.mtu, link.txqueuelen, link.running) == (True, 1400, 10_000, True)
        assert [address.cidr for address in device.addresses] == ["10.1.2.1/24", "10.1.3.1/24"]


def test_exclusive_create_of_existing_device_raises_ebusy(netns, tun):
    tun.close()
    with pytest.raises(KernelError) as raised:
        TunDevice.create(netns, exclusive=True)
    assert raised.value.errno == errno.EBUSY
    assert raised.value.ifname == "tun0"


def test_exclusive_create_of_new_device_works(netns):
    with TunDevice.create(netns, exclusive=True) as device:
        assert device.link.name == "tun0"


def test_attach_without_multi_queue_raises_ebusy(netns, tun):
    for attempt in (lambda: TunDevice.create(netns), lambda: TunDevice.attach(netns, "tun0"), tun.add_queue):
        with pytest.raises(KernelError, match="another program is attached to tun0") as raised:
            attempt()
        assert raised.value.errno == errno.EBUSY


def test_attach_with_other_options_raises_einval(netns, tun):
    tun.close()
    for attempt in (
        lambda: TunDevice.create(netns, mode="tap"),
        lambda: TunDevice.attach(netns, "tun0", mode="tap"),
        lambda: TunDevice.attach(netns, "tun0", multi_queue=True),
        lambda: TunDevice.attach(netns, "lo"),
    ):
        with pytest.raises(KernelError, match="was created with other options") as raised:
            attempt()
        assert raised.value.errno == errno.EINVAL


def test_failed_create_leaves_no_device(netns):
    with pytest.raises(KernelError):
        TunDevice.create(netns, mode="nonsense")
    with Rtnl(netns) as rtnl:
        assert [link.name for link in rtnl.links()] == ["lo"]


def test_create_in_closed_namespace_raises():
    with Netns.create() as netns:
        pass
    with pytest.raises(KernelError, match="closed"):
        TunDevice.create(netns)


def test_error_of_create_without_capability_names_the_capability(run_python):
    source = """
        import os
        from tunlab.errors import PrivilegeError
        from tunlab.kernel import libc
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.tun import TunDevice
        with Netns.create() as netns:
            def drop_and_create():
                mask = effective_capabilities() & ~(1 << 12)
                libc.capset(effective=mask, permitted=mask, inheritable=0)
                with Netns.current() as inside:
                    TunDevice.create(inside)
            from tunlab.kernel.os_errors import effective_capabilities
            try:
                netns.call(drop_and_create)
            except PrivilegeError as error:
                print(error.missing, error.ifname, error)
    """
    output = run_python(source)
    assert output.startswith(
        "CAP_NET_ADMIN tun0 create the TUN tun0: you are root, but CAP_NET_ADMIN is missing (EPERM). Run in"
    )


def test_fd_of_device_is_nonblocking_and_close_on_exec(tun):
    assert fcntl.fcntl(tun.fd, fcntl.F_GETFL) & os.O_NONBLOCK
    assert not os.get_inheritable(tun.fd)
    assert tun.fileno() == tun.fd


# ---- persistence, attach and close of devices


def test_attach_to_persistent_device_works(netns, datagram):
    with TunDevice.create(netns) as first:
        first.configure(["10.1.2.1/24"])
        index = first.ifindex
    with TunDevice.attach(netns, "tun0") as again:
        assert (again.ifindex, again.link.up) == (index, True)
        assert wait_until_running(again.rtnl, index)
        send(netns, b"still here")
        assert again.read().endswith(b"still here")


def test_create_of_existing_persistent_device_attaches_to_it(netns, tun):
    tun.close()
    with TunDevice.create(netns) as again:
        assert again.ifindex == tun.ifindex


def test_persistent_device_without_reader_has_no_carrier(netns, tun):
    tun.close()
    with Rtnl(netns) as rtnl:
        assert wait_for_link(rtnl, tun.ifindex, lambda link: not link.running, timeout=5)
        assert (rtnl.link("tun0").up, rtnl.link("tun0").carrier) == (True, False)


def test_close_deletes_a_device_that_is_not_persistent(netns):
    TunDevice.create(netns, persist=False).close()
    with pytest.raises(KernelError, match="the namespace has no device tun0") as raised:
        TunDevice.attach(netns, "tun0")
    assert raised.value.errno == errno.ENODEV
    with Rtnl(netns) as rtnl:
        assert [link.name for link in rtnl.links()] == ["lo"]


def test_close_after_set_persist_false_deletes_the_device(netns, tun):
    tun.set_persist(False)
    tun.close()
    with Rtnl(netns) as rtnl:
        assert [link.name for link in rtnl.links()] == ["lo"]


def test_device_may_be_closed_twice(tun):
    tun.close()
    tun.close()
    assert tun.closed
    assert repr(tun).endswith("closed>")
    for attempt in (tun.read, tun.read_all, tun.discard_all, tun.wait, lambda: tun.write(b"E"), lambda: tun.fd):
        with pytest.raises(ValueError, match="closed"):
            attempt()


def test_device_works_after_namespace_is_closed(echo_request):
    with Netns.create() as netns:
        tun = TunDevice.create(netns)
    with tun:
        tun.configure(["10.1.2.1/24"])
        tun.write(echo_request())
        assert tun.wait(5)
        assert len(tun.read()) == 36


@pytest.mark.parametrize("order", [("tun", "rtnl", "netns"), ("netns", "rtnl", "tun"), ("rtnl", "netns", "tun")])
def test_device_namespace_and_rtnl_may_be_closed_in_any_order(order):
    netns = Netns.create()
    held = {"netns": netns, "tun": TunDevice.create(netns), "rtnl": Rtnl(netns)}
    for name in order:
        held[name].close()


def test_methods_of_deleted_device_raise_ebadfd(netns, tun):
    tun.rtnl.delete_link(tun.ifindex)
    for attempt in (tun.read, tun.read_all, tun.discard_all, lambda: tun.wait(5), lambda: tun.write(b"E" * 20)):
        with pytest.raises(KernelError, match="the device or its namespace was deleted") as raised:
            attempt()
        assert raised.value.errno == errno.EBADFD
    for attempt in (lambda: tun.link, tun.up, lambda: tun.mtu):
        with pytest.raises(KernelError) as raised:
            attempt()
        assert raised.value.errno == errno.ENODEV
    with pytest.raises(KernelError, match="the device or its namespace was deleted"):
        tun.set_persist(False)


def test_wait_raises_when_the_device_is_deleted(netns, tun):
    with Rtnl(netns) as rtnl:
        failed = []

        def wait():
            try:
                tun.wait(30)
            except KernelError as error:
                failed.append(error.errno)

        waiter = threading.Thread(target=wait)
        waiter.start()
        rtnl.delete_link(tun.ifindex)
        waiter.join()
        assert failed == [errno.EBADFD]


# ---- configuration of devices


def test_mtu_returns_the_value_that_was_set(tun):
    assert tun.mtu == 1500
    tun.mtu = 1280
    assert tun.mtu == 1280
    with pytest.raises(KernelError, match="set the MTU of tun0: the MTU 20 is not valid"):
        tun.mtu = 20


def test_add_address_adds_and_set_address_replaces(tun):
    tun.add_address("10.1.3.1/24")
    assert [address.cidr for address in tun.addresses] == ["10.1.2.1/24", "10.1.3.1/24"]
    tun.set_address("10.9.9.1/30")
    assert [address.cidr for address in tun.addresses] == ["10.9.9.1/30"]


def test_add_address_with_peer_routes_to_peer(tun):
    tun.add_address("10.5.0.1/32", peer="10.5.0.2")
    send(tun.netns, b"peer", dst=("10.5.0.2", 9))
    assert tun.read().endswith(b"peer")


def test_up_and_down_change_link_state(tun):
    tun.down()
    assert not tun.link.up
    tun.up()
    assert tun.link.up


def test_read_works_after_down_and_up(tun):
    tun.down()
    assert tun.read() is None
    tun.up()
    send(tun.netns, b"again")
    assert tun.wait(5)
    assert tun.read().endswith(b"again")


def test_device_after_set_carrier_false_is_up_without_carrier(tun):
    tun.set_carrier(False)
    assert wait_for_link(tun.rtnl, tun.ifindex, lambda link: not link.running, timeout=5)
    assert (tun.link.up, tun.link.carrier) == (True, False)
    tun.set_carrier(True)
    assert wait_until_running(tun.rtnl, tun.ifindex)


def test_set_offload_without_vnet_hdr_option_raises(tun):
    with pytest.raises(KernelError, match="offloading needs a virtio header") as raised:
        tun.set_offload(TUN_F_CSUM)
    assert raised.value.errno == errno.EINVAL
    assert "vnet_hdr=True" in raised.value.remedy
    tun.set_offload(0)


def test_set_offload_with_invalid_combination_raises(netns):
    with TunDevice.create(netns, vnet_hdr=True) as device:
        with pytest.raises(KernelError) as raised:
            device.set_offload(TUN_F_TSO4)
        assert raised.value.errno == errno.EINVAL


def test_read_with_offload_returns_whole_unsegmented_packet(netns):
    with TunDevice.create(netns, vnet_hdr=True) as device:
        device.configure(["10.1.2.1/24"])
        device.set_offload(TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6)
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_UDP, 103, 1400)  # option UDP_SEGMENT
            sender.sendto(b"x" * 1400 * 40, ("10.1.2.2", 9))
        data = device.read()
        flags, gso_type, _, gso_size, _, _ = struct.unpack_from("<BBHHHH", data)
        assert (flags & 1, gso_type, gso_size) == (1, 5, 1400)
        assert len(data) == 10 + 28 + 1400 * 40


# ---- owner and group of devices


OWNED = """
    import os, sys
    from tunlab.errors import KernelError
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.kernel.network.rtnl import Rtnl
    from tunlab.kernel.device.tun import TunDevice
    import tunlab.kernel.device.tun_ioctl, ctypes, encodings.idna
    with Netns.create() as netns, Rtnl(netns) as rtnl:
        TunDevice.create(netns, {arguments}).close()
        rtnl.links()
        def attach(ifname):
            os.setresgid({gid}, {gid}, {gid}) if {gid} else None
            from tunlab.kernel import libc
            libc._call("syscall", {setresuid}, 65534, 65534, 65534)
            with Netns.current() as inside:
                file = tunlab.kernel.device.tun_ioctl.open_tun_node()
                try:
                    return tunlab.kernel.device.tun_ioctl.attach_interface(file, ifname, 0x1001)
                finally:
                    file.close()
        for ifname in ("tun0", "tun7"):
            try:
                print(netns.call(attach, ifname))
            except OSError as error:
                print(error.errno)
"""


OPEN_NODE = 'mount -t tmpfs none /mnt; mknod -m 666 /mnt/tun c 10 200; mount --bind /mnt/tun /dev/net/tun; exec "$@"'

# The raw system call changes only one thread, but setresuid() of the C library changes all threads.
SETRESUID = {"x86_64": 117, "aarch64": 147}.get(os.uname().machine, 117)


def test_owner_without_privileges_may_attach_to_device_but_not_create_one(run_python):
    source = OWNED.format(arguments="owner=65534", gid=0, setresuid=SETRESUID)
    output = run_python(source, prefix=["unshare", "--mount", "sh", "-ec", OPEN_NODE, "sh"])
    assert output.split() == ["tun0", str(errno.EPERM)]


def test_attach_by_other_user_raises(run_python):
    source = OWNED.format(arguments="owner=1234", gid=0, setresuid=SETRESUID)
    output = run_python(source, prefix=["unshare", "--mount", "sh", "-ec", OPEN_NODE, "sh"])
    assert output.split() == [str(errno.EPERM), str(errno.EPERM)]


def test_error_of_create_without_device_node_names_dev_net_tun(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.tun import TunDevice
        with Netns.create() as netns:
            try:
                TunDevice.create(netns)
            except PrivilegeError as error:
                print(error.missing)
    """
    hide = 'mount -t tmpfs none /dev/net; exec "$@"'
    assert run_python(source, prefix=["unshare", "--mount", "sh", "-ec", hide, "sh"]).strip() == "/dev/net/tun"


@pytest.mark.parametrize("kind", ["owner", "group"])
@pytest.mark.parametrize("account", ["", "0", "nosuch", "a\0b", b"root", -1, -5, 2**32 - 1, 2**70, True, 1.0])
def test_create_with_invalid_owner_or_group_raises_and_leaves_no_device(netns, rtnl, kind, account):
    with pytest.raises(KernelError) as raised:
        TunDevice.create(netns, "tun7", **{kind: account})
    assert raised.value.errno == errno.EINVAL
    assert f"set the {kind} of tun7: " in str(raised.value)
    assert repr(account) in str(raised.value)
    assert f"Give the name of a {'user' if kind == 'owner' else 'group'}, or a number" in str(raised.value)
    assert "tun7" not in [link.name for link in rtnl.links()]


@pytest.mark.parametrize(("account", "shown"), [("root", "root"), (0, "root"), (2**32 - 2, str(2**32 - 2))])
def test_create_with_owner_and_group_sets_both(netns, need, account, shown):
    with TunDevice.create(netns, "tun7", owner=account, group=account):
        output = netns.run([need("ip"), "-d", "link", "show", "tun7"], capture_output=True, text=True).stdout
    assert f" user {shown} group {shown} " in output
