"""Links, addresses and qdiscs, changed and listed with rtnetlink."""

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


# ---- requests for links


def test_links_of_new_namespace_are_only_lo(rtnl):
    assert [link.name for link in rtnl.links()] == ["lo"]


def test_link_is_found_by_name_and_index(rtnl, bridge):
    assert rtnl.link("br0") == rtnl.link(bridge)
    assert rtnl.link_index("br0") == bridge
    assert [link.index for link in rtnl.links()] == [1, bridge]


@pytest.mark.parametrize("which", ["nothing", 99])
def test_link_with_unknown_name_or_index_raises_enodev(rtnl, which):
    with pytest.raises(KernelError) as raised:
        rtnl.link(which)
    assert raised.value.errno == errno.ENODEV
    assert str(raised.value) == f"get the link {which}: No such device (ENODEV)"


def test_bridge_from_add_link_has_given_properties(rtnl):
    index = rtnl.add_link("br7", "bridge", ifindex=77, mtu=1400, hardware_address="02:00:00:00:00:07", up=True)
    link = rtnl.link("br7")
    assert index == link.index == 77
    assert (link.kind, link.mtu, link.hardware_address, link.up) == ("bridge", 1400, "02:00:00:00:00:07", True)


def test_add_link_with_existing_name_raises_eexist(rtnl, bridge):
    with pytest.raises(KernelError) as raised:
        rtnl.add_link("br0", "bridge")
    assert raised.value.errno == errno.EEXIST
    assert raised.value.ifname == "br0"


def test_error_of_add_link_with_unknown_kind_has_kernel_message(rtnl):
    with pytest.raises(KernelError, match="Unknown device type") as raised:
        rtnl.add_link("x0", "nonsense")
    assert raised.value.errno == errno.EOPNOTSUPP


def test_add_link_of_kind_tun_raises(rtnl):
    with pytest.raises(KernelError, match="tun/tap creation via rtnetlink is not supported"):
        rtnl.add_link("tun0", "tun")


def test_add_link_checks_name_before_it_sends_a_request(rtnl):
    for attempt in (lambda: rtnl.add_link("x" * 16, "bridge"), lambda: rtnl.link("x" * 16)):
        with pytest.raises(KernelError, match="the maximum is 15"):
            attempt()


def test_add_link_accepts_15_byte_name(rtnl):
    rtnl.add_link("x" * 15, "bridge")
    assert rtnl.link("x" * 15).name == "x" * 15


def test_add_veth_creates_one_end_in_each_of_two_namespaces(rtnl, netns, other_rtnl, other_netns):
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


def test_veth_between_other_namespaces_is_not_listed_in_this_namespace(rtnl, netns, other_netns, other_rtnl):
    with Netns.create() as third, Rtnl(third) as hub:
        hub.add_veth("a", "b", netns=netns, peer_netns=other_netns)
        assert [link.name for link in hub.links()] == ["lo"]
    assert rtnl.link("a").kind == other_rtnl.link("b").kind == "veth"


def test_add_veth_with_both_ends_in_one_namespace_works(rtnl):
    rtnl.add_veth("a", "b")
    assert rtnl.link("a").peer_index == rtnl.link_index("b")


def test_veth_carrier_needs_both_ends_up(rtnl):
    rtnl.add_veth("a", "b")
    rtnl.set_link(rtnl.link_index("a"), up=True)
    assert (rtnl.link("a").up, rtnl.link("a").running, rtnl.link("a").carrier) == (True, False, False)
    rtnl.set_link(rtnl.link_index("b"), up=True)
    assert rtnl.link("a").carrier
    assert wait_until_running(rtnl, rtnl.link_index("a"))


def test_delete_link_of_one_veth_end_deletes_both_ends(rtnl, other_rtnl, other_netns):
    rtnl.add_veth("near", "far", peer_netns=other_netns)
    rtnl.delete_link(rtnl.link_index("near"))
    assert [link.name for link in other_rtnl.links()] == ["lo"]


def test_set_link_sends_one_message(rtnl, bridge):
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


def test_set_link_without_arguments_changes_nothing(rtnl, bridge):
    before = rtnl.link(bridge)
    rtnl.set_link(bridge)
    assert rtnl.link(bridge) == before


def test_set_link_with_netns_moves_link(rtnl, other_rtnl, other_netns):
    rtnl.add_veth("a", "b")
    rtnl.set_link(rtnl.link_index("b"), netns=other_netns)
    assert other_rtnl.link("b").kind == "veth"
    assert "b" not in [link.name for link in rtnl.links()]


def test_error_of_set_link_with_invalid_mtu_gives_range_and_name(rtnl, bridge):
    with pytest.raises(KernelError) as raised:
        rtnl.set_link(bridge, up=True, mtu=1)
    assert str(raised.value) == ("set br0 up=True mtu=1: the MTU 1 is not valid (EINVAL). Give 68 to 65535 bytes.")
    assert raised.value.ifname == "br0"
    assert not rtnl.link(bridge).up
    rtnl.set_link(1, mtu=65_536)  # lo accepts a larger MTU than a TUN does.
    assert rtnl.link(1).mtu == 65_536


def test_error_of_set_link_has_interface_name_and_kernel_message(rtnl, bridge):
    with pytest.raises(KernelError, match=r"^set br0 master=1: .+ \(E[A-Z]+\)$") as raised:
        rtnl.set_link(bridge, master=1)
    assert raised.value.ifname == "br0"
    with pytest.raises(KernelError, match=r"^set the link 99 up=True: "):
        rtnl.set_link(99, up=True)


def test_delete_link_removes_link(rtnl, bridge):
    rtnl.delete_link(bridge)
    for attempt in (rtnl.link, rtnl.delete_link, lambda index: rtnl.set_link(index, up=True)):
        with pytest.raises(KernelError) as raised:
            attempt(bridge)
        assert raised.value.errno == errno.ENODEV


def test_delete_link_of_lo_raises(rtnl):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_link(1)
    assert raised.value.errno == errno.EOPNOTSUPP


def test_links_returns_51_links_ordered_by_index(rtnl):
    for number in range(25):
        rtnl.add_veth(f"a{number}", f"b{number}", ifindex=1000 + number, peer_ifindex=2000 + number)
    assert [link.index for link in rtnl.links()] == [1, *range(1000, 1025), *range(2000, 2025)]


def test_counters_of_link_count_packets(rtnl):
    before = rtnl.link("lo")
    with rtnl.netns.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x" * 100, ("127.0.0.1", 9))
    after = rtnl.link("lo")
    assert (after.tx_packets - before.tx_packets, after.tx_bytes - before.tx_bytes) == (
        2,
        128 + 156,
    )  # lo sent the datagram and the ICMP error that answers it.


def test_add_qdisc_with_unknown_kind_raises(rtnl):
    with pytest.raises(KernelError) as raised:
        rtnl.add_qdisc(1, "nonsense")
    assert raised.value.errno == errno.ENOENT


# ---- requests for addresses


def test_address_is_listed_until_deleted(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    (address,) = rtnl.addresses(bridge)
    assert (address.cidr, address.ifindex, address.family, address.peer) == ("10.1.2.1/24", bridge, socket.AF_INET, "")
    rtnl.delete_address(bridge, "10.1.2.1/24")
    assert rtnl.addresses(bridge) == []


def test_addresses_without_index_returns_those_of_all_links(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    assert {address.cidr for address in rtnl.addresses()} == {"127.0.0.1/8", "10.1.2.1/24"}


def test_added_ipv6_address_is_usable_at_once():
    with Netns.create(ipv6=True) as netns, Rtnl(netns) as rtnl:
        index = rtnl.add_link("br0", "bridge", up=True)
        rtnl.add_address(index, "fd00::1/64")
        (address,) = [address for address in rtnl.addresses(index) if address.address == "fd00::1"]
        assert address.family == socket.AF_INET6
        assert not address.flags & 0x40  # flag IFA_F_TENTATIVE
        with netns.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
            bound.bind(("fd00::1", 0))


def test_error_of_add_address_with_ipv6_disabled_gives_reason(rtnl, bridge):
    with pytest.raises(
        KernelError, match=r"IPv6 is disabled on this interface .EACCES.\. Create the namespace with"
    ) as raised:
        rtnl.add_address(bridge, "fd00::1/64")
    assert not isinstance(raised.value, PrivilegeError)


def test_add_address_without_prefix_route_adds_no_route(rtnl, bridge):
    rtnl.set_link(bridge, up=True)
    rtnl.add_address(bridge, "10.1.2.1/24", prefix_route=False)
    assert rtnl.routes() == []


def test_second_add_of_an_address_raises_eexist(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    with pytest.raises(KernelError) as raised:
        rtnl.add_address(bridge, "10.1.2.1/24")
    assert raised.value.errno == errno.EEXIST


def test_delete_of_missing_address_raises(rtnl, bridge):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_address(bridge, "10.1.2.1/24")
    assert raised.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("text", ["10.1.2.1", "10.1.2.300/24", "nonsense"])
def test_add_invalid_address_raises_before_it_sends_a_request(rtnl, bridge, text):
    for attempt in (rtnl.add_address, rtnl.delete_address, rtnl.set_address):
        with pytest.raises(KernelError, match=r'as "10.1.2.1/24"'):
            attempt(bridge, text)


def test_set_address_replaces_addresses_of_family(rtnl, bridge):
    for cidr in ("10.1.2.1/24", "10.1.3.1/24"):
        rtnl.add_address(bridge, cidr)
    rtnl.set_address(bridge, "10.9.9.9/8")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.9/8"]
    rtnl.set_address(bridge, "10.9.9.9/8")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.9/8"]
    rtnl.set_address(bridge, "10.9.9.9/16")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.9/16"]
    # The kernel makes the second address secondary and deletes it with the primary one.
    rtnl.set_address(bridge, "10.9.9.10/16")
    assert [address.cidr for address in rtnl.addresses(bridge)] == ["10.9.9.10/16"]


# ---- the netlink socket of Rtnl


def test_rtnl_may_be_closed_twice(netns):
    rtnl = Rtnl(netns)
    assert not rtnl.closed
    rtnl.close()
    rtnl.close()
    assert rtnl.closed
    assert repr(rtnl) == f"<Rtnl of {netns} closed>"


def test_rtnl_works_from_any_thread(rtnl, other_netns):
    assert [link.name for link in other_netns.call(rtnl.links)] == ["lo"]
    assert rtnl.netns.identity != other_netns.identity


def test_rtnl_works_after_namespace_is_closed():
    netns = Netns.create()
    with Rtnl(netns) as rtnl:
        netns.close()
        assert rtnl.link(1).name == "lo"


def test_rtnl_without_capability_reads_but_changes_nothing(run_python):
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


def test_error_of_deleting_lo_is_not_a_privilege_error(rtnl):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_link(1)
    assert not isinstance(raised.value, PrivilegeError)
