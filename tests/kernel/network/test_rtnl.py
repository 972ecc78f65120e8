import errno
import socket

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def other_rtnl(other_netns):
    with Rtnl(other_netns) as rtnl:
        yield rtnl


@pytest.fixture
def bridge(rtnl):
    return rtnl.add_link("br0", "bridge")


# ---- links


def test_a_new_namespace_has_one_link(rtnl):
    assert [link.name for link in rtnl.links()] == ["lo"]


def test_a_link_is_found_by_name_and_by_index(rtnl, bridge):
    assert rtnl.link("br0") == rtnl.link(bridge)
    assert rtnl.link_index("br0") == bridge
    assert [link.index for link in rtnl.links()] == [1, bridge]


@pytest.mark.parametrize("which", ["nothing", 99])
def test_a_link_that_is_not_there_is_refused(rtnl, which):
    with pytest.raises(KernelError) as raised:
        rtnl.link(which)
    assert raised.value.errno == errno.ENODEV
    assert str(raised.value) == f"get the link {which}: No such device (ENODEV)"


def test_a_bridge_is_made_with_what_is_given(rtnl):
    index = rtnl.add_link("br7", "bridge", ifindex=77, mtu=1400, hardware_address="02:00:00:00:00:07", up=True)
    link = rtnl.link("br7")
    assert index == link.index == 77
    assert (link.kind, link.mtu, link.hardware_address, link.up) == ("bridge", 1400, "02:00:00:00:00:07", True)


def test_a_second_link_of_one_name_is_refused(rtnl, bridge):
    with pytest.raises(KernelError) as raised:
        rtnl.add_link("br0", "bridge")
    assert raised.value.errno == errno.EEXIST
    assert raised.value.ifname == "br0"


def test_a_kind_that_is_none_is_refused_in_the_kernels_words(rtnl):
    with pytest.raises(KernelError, match="Unknown device type") as raised:
        rtnl.add_link("x0", "nonsense")
    assert raised.value.errno == errno.EOPNOTSUPP


def test_a_tun_cannot_be_made_over_rtnetlink(rtnl):
    with pytest.raises(KernelError, match="tun/tap creation via rtnetlink is not supported"):
        rtnl.add_link("tun0", "tun")


def test_a_name_is_checked_before_the_kernel_is_asked(rtnl):
    for attempt in (lambda: rtnl.add_link("x" * 16, "bridge"), lambda: rtnl.link("x" * 16)):
        with pytest.raises(KernelError, match="the kernel takes 15 at most"):
            attempt()


def test_a_name_of_15_octets_is_whole(rtnl):
    rtnl.add_link("x" * 15, "bridge")
    assert rtnl.link("x" * 15).name == "x" * 15


def test_a_veth_is_born_in_two_namespaces(rtnl, netns, other_rtnl, other_netns):
    rtnl.add_veth(
        "near", "far", peer_netns=other_netns, ifindex=10, peer_ifindex=20, mtu=1400,
        hardware_address="02:00:00:00:00:01", peer_hardware_address="02:00:00:00:00:02",
    )  # fmt: skip
    near, far = rtnl.link("near"), other_rtnl.link("far")
    assert (near.index, near.peer_index, far.index, far.peer_index) == (10, 20, 20, 10)
    assert (near.hardware_address, far.hardware_address) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert (near.mtu, far.mtu, near.kind, near.up, far.up) == (1400, 1400, "veth", False, False)
    assert [link.name for link in rtnl.links()] == ["lo", "near"]
    assert [link.name for link in other_rtnl.links()] == ["lo", "far"]


def test_a_veth_between_two_others_is_not_seen_here(rtnl, netns, other_netns, other_rtnl):
    with Netns.create() as third, Rtnl(third) as hub:
        hub.add_veth("a", "b", netns=netns, peer_netns=other_netns)
        assert [link.name for link in hub.links()] == ["lo"]
    assert rtnl.link("a").kind == other_rtnl.link("b").kind == "veth"


def test_a_veth_within_one_namespace_works(rtnl):
    rtnl.add_veth("a", "b")
    assert rtnl.link("a").peer_index == rtnl.link_index("b")


def test_a_carrier_needs_both_ends(rtnl):
    rtnl.add_veth("a", "b")
    rtnl.set_link(rtnl.link_index("a"), up=True)
    assert (rtnl.link("a").up, rtnl.link("a").running, rtnl.link("a").carrier) == (True, False, False)
    rtnl.set_link(rtnl.link_index("b"), up=True)
    assert rtnl.link("a").carrier
    assert wait_until_running(rtnl, rtnl.link_index("a"))


def test_deleting_one_end_deletes_the_other(rtnl, other_rtnl, other_netns):
    rtnl.add_veth("near", "far", peer_netns=other_netns)
    rtnl.delete_link(rtnl.link_index("near"))
    assert [link.name for link in other_rtnl.links()] == ["lo"]


def test_everything_of_a_link_is_set_in_one_message(rtnl, bridge):
    rtnl.add_veth("a", "b")
    index = rtnl.link_index("a")
    rtnl.set_link(
        index, up=True, mtu=1300, txqueuelen=77, ifname="c", hardware_address="02:00:00:00:00:03", master=bridge
    )
    link = rtnl.link("c")
    assert (link.index, link.up, link.mtu, link.txqueuelen) == (index, True, 1300, 77)
    assert (link.hardware_address, link.master) == ("02:00:00:00:00:03", bridge)
    rtnl.set_link(index, up=False, master=0)
    assert (rtnl.link(index).up, rtnl.link(index).master) == (False, 0)


def test_setting_nothing_changes_nothing(rtnl, bridge):
    before = rtnl.link(bridge)
    rtnl.set_link(bridge)
    assert rtnl.link(bridge) == before


def test_a_link_moves_to_another_namespace(rtnl, other_rtnl, other_netns):
    rtnl.add_veth("a", "b")
    rtnl.set_link(rtnl.link_index("b"), netns=other_netns)
    assert other_rtnl.link("b").kind == "veth"
    assert "b" not in [link.name for link in rtnl.links()]


def test_an_mtu_that_is_none_is_refused_with_the_range_and_the_links_name(rtnl, bridge):
    with pytest.raises(KernelError) as raised:
        rtnl.set_link(bridge, up=True, mtu=1)
    assert str(raised.value) == (
        "set br0 up=True mtu=1: 1 is no MTU (EINVAL); give a number of octets from 68 to 65535"
    )
    assert raised.value.ifname == "br0"
    assert not rtnl.link(bridge).up
    rtnl.set_link(1, mtu=65_536)  # lo takes more than a TUN
    assert rtnl.link(1).mtu == 65_536


def test_a_refusal_names_the_link_and_gives_the_kernels_words(rtnl, bridge):
    with pytest.raises(KernelError, match=r"^set br0 master=1: .+ \(E[A-Z]+\)$") as raised:
        rtnl.set_link(bridge, master=1)
    assert raised.value.ifname == "br0"
    with pytest.raises(KernelError, match=r"^set the link 99 up=True: "):
        rtnl.set_link(99, up=True)


def test_a_deleted_link_is_gone(rtnl, bridge):
    rtnl.delete_link(bridge)
    for attempt in (rtnl.link, rtnl.delete_link, lambda index: rtnl.set_link(index, up=True)):
        with pytest.raises(KernelError) as raised:
            attempt(bridge)
        assert raised.value.errno == errno.ENODEV


def test_lo_cannot_be_deleted(rtnl):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_link(1)
    assert raised.value.errno == errno.EOPNOTSUPP


def test_many_links_are_listed(rtnl):
    for number in range(25):
        rtnl.add_veth(f"a{number}", f"b{number}", ifindex=1000 + number, peer_ifindex=2000 + number)
    assert [link.index for link in rtnl.links()] == [1, *range(1000, 1025), *range(2000, 2025)]


def test_counters_count(rtnl):
    before = rtnl.link("lo")
    with rtnl.netns.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x" * 100, ("127.0.0.1", 9))
    after = rtnl.link("lo")
    assert (after.tx_packets - before.tx_packets, after.tx_bytes - before.tx_bytes) == (2, 128 + 156)  # and the error


def test_a_queueing_discipline_that_is_none_is_refused(rtnl):
    with pytest.raises(KernelError) as raised:
        rtnl.add_qdisc(1, "nonsense")
    assert raised.value.errno == errno.ENOENT


# ---- addresses


def test_an_address_is_added_and_deleted(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    (address,) = rtnl.addresses(bridge)
    assert (address.cidr, address.ifindex, address.family, address.peer) == ("10.1.2.1/24", bridge, socket.AF_INET, "")
    rtnl.delete_address(bridge, "10.1.2.1/24")
    assert rtnl.addresses(bridge) == []


def test_all_addresses_are_those_of_all_devices(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    assert {address.cidr for address in rtnl.addresses()} == {"127.0.0.1/8", "10.1.2.1/24"}


def test_an_ipv6_address_is_usable_at_once():
    with Netns.create(ipv6=True) as netns, Rtnl(netns) as rtnl:
        index = rtnl.add_link("br0", "bridge", up=True)
        rtnl.add_address(index, "fd00::1/64")
        (address,) = [address for address in rtnl.addresses(index) if address.address == "fd00::1"]
        assert address.family == socket.AF_INET6
        assert not address.flags & 0x40  # IFA_F_TENTATIVE
        with netns.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
            bound.bind(("fd00::1", 0))


def test_where_ipv6_is_off_that_is_said_and_no_right_is_missed(rtnl, bridge):
    with pytest.raises(KernelError, match=r"IPv6 is off on that link .EACCES.; make the namespace with") as raised:
        rtnl.add_address(bridge, "fd00::1/64")
    assert not isinstance(raised.value, PrivilegeError)


def test_an_address_without_its_route(rtnl, bridge):
    rtnl.set_link(bridge, up=True)
    rtnl.add_address(bridge, "10.1.2.1/24", prefix_route=False)
    assert rtnl.routes() == []


def test_an_address_twice_is_refused(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    with pytest.raises(KernelError) as raised:
        rtnl.add_address(bridge, "10.1.2.1/24")
    assert raised.value.errno == errno.EEXIST


def test_an_address_that_is_not_there_cannot_be_deleted(rtnl, bridge):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_address(bridge, "10.1.2.1/24")
    assert raised.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("text", ["10.1.2.1", "10.1.2.300/24", "nonsense"])
def test_an_address_that_is_none_never_reaches_the_kernel(rtnl, bridge, text):
    for attempt in (rtnl.add_address, rtnl.delete_address, rtnl.set_address):
        with pytest.raises(KernelError, match=r'as "10.1.2.1/24"'):
            attempt(bridge, text)


def test_set_address_leaves_one_of_its_family(rtnl, bridge):
    for cidr in ("10.1.2.1/24", "10.1.3.1/24"):
        rtnl.add_address(bridge, cidr)
    rtnl.set_address(bridge, "10.9.9.9/8")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.9/8"]
    rtnl.set_address(bridge, "10.9.9.9/8")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.9/8"]
    rtnl.set_address(bridge, "10.9.9.9/16")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.9/16"]
    # The kernel makes this one the other's secondary, and takes it away with that.
    rtnl.set_address(bridge, "10.9.9.10/16")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.10/16"]


# ---- the socket


def test_close_may_be_repeated(netns):
    rtnl = Rtnl(netns)
    assert not rtnl.closed
    rtnl.close()
    rtnl.close()
    assert rtnl.closed
    assert repr(rtnl) == f"<Rtnl of {netns} closed>"


def test_it_works_from_any_thread(rtnl, other_netns):
    assert [link.name for link in other_netns.call(rtnl.links)] == ["lo"]
    assert rtnl.netns.identity != other_netns.identity


def test_it_outlives_the_namespaces_descriptor():
    netns = Netns.create()
    with Rtnl(netns) as rtnl:
        netns.close()
        assert rtnl.link(1).name == "lo"


def test_without_the_capability_reading_goes_and_changing_is_refused(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.network.rtnl import Rtnl
        import socket
        with Netns.current() as netns:
            with Rtnl(netns, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as rtnl:
                print(rtnl.link(1).name)
                try:
                    rtnl.set_link(1, mtu=65536)
                except PrivilegeError as error:
                    print(error.missing)
    """
    assert run_python(source, nobody=True).split() == ["lo", "CAP_NET_ADMIN"]


def test_a_privilege_error_is_told_from_others(rtnl):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_link(1)
    assert not isinstance(raised.value, PrivilegeError)
