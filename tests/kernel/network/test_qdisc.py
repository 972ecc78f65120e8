"""Impairments: the kernel's qdiscs, and the bytes of netem's options for kernels without netem."""

import json
import socket
import struct

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.qdisc import has_netem, impair, netem_options, read_queue_drops
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def link():
    """Return a rtnetlink socket and the index of a veth end."""
    with Netns.create() as netns, Rtnl(netns) as rtnl:
        rtnl.add_veth("a", "b", ifindex=2, peer_ifindex=3)
        yield rtnl, 2


def list_qdiscs(rtnl, need):
    """Return the kind and options of each qdisc on the interface named a, as tc shows them."""
    done = rtnl.netns.run([need("tc"), "-j", "qdisc", "show", "dev", "a"], capture_output=True, check=True)
    return [(each["kind"], each.get("options", {})) for each in json.loads(done.stdout) if each["kind"] != "noqueue"]


class TestRate:
    @pytest.mark.parametrize("rate", [64_000, 1_000_000, 10_000_000_000, 400_000_000_000])
    def test_impair_with_rate_sets_rate_of_tbf_qdisc(self, link, need, rate):
        rtnl, ifindex = link
        impair(rtnl, ifindex, rate=rate)
        ((kind, options),) = list_qdiscs(rtnl, need)
        assert (kind, options["rate"]) == ("tbf", rate // 8)
        assert options["burst"] >= 3000

    def test_impair_with_rate_allows_burst_of_two_packets(self, link, need):
        rtnl, ifindex = link
        impair(rtnl, ifindex, rate=1_000_000, mtu=9000)
        ((_, options),) = list_qdiscs(rtnl, need)
        assert options["burst"] >= 18_000

    def test_second_impair_changes_or_removes_the_rate(self, link, need):
        rtnl, ifindex = link
        impair(rtnl, ifindex)
        for rate in (1_000_000, 2_000_000):
            impair(rtnl, ifindex, rate=rate)
        ((_, options),) = list_qdiscs(rtnl, need)
        assert options["rate"] == 250_000
        impair(rtnl, ifindex)
        assert list_qdiscs(rtnl, need) == []

    def test_impair_of_missing_link_raises(self, link):
        with pytest.raises(KernelError, match="99"):
            impair(link[0], 99, rate=1_000_000)


class TestDrops:
    def test_drops_of_full_queue_are_counted_by_qdisc_only(self, link, need):
        rtnl, ifindex = link
        assert ifindex not in read_queue_drops(rtnl)
        impair(rtnl, ifindex, rate=64_000)
        for index, address in ((ifindex, "10.0.0.1/24"), (3, "10.0.0.2/24")):
            rtnl.add_address(index, address)
            rtnl.set_link(index, up=True)
        # Wait for the carrier, because packets bypass the qdisc of an interface without one.
        assert rtnl.is_running(ifindex) or wait_until_running(rtnl, ifindex, 60)
        assert read_queue_drops(rtnl)[ifindex] == 0
        rtnl.add_neighbour(ifindex, "10.0.0.9", "02:00:00:00:00:09")
        with rtnl.netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(20):
                sender.sendto(bytes(1400), ("10.0.0.9", 9))
        output = rtnl.netns.run([need("tc"), "-j", "-s", "qdisc", "show", "dev", "a"], capture_output=True, check=True)
        (root,) = [each for each in json.loads(output.stdout) if each["kind"] == "tbf"]
        assert read_queue_drops(rtnl)[ifindex] == root["drops"] > 10
        assert rtnl.link(ifindex).tx_dropped == 0


class TestNetem:
    def test_error_of_impair_without_netem_gives_advice(self, link, need):
        rtnl, ifindex = link
        if has_netem(rtnl):
            impair(rtnl, ifindex, delay_us=20_000, loss=0.01, rate=1_000_000)
            assert [kind for kind, _ in list_qdiscs(rtnl, need)] == ["tbf", "netem"]
            return
        with pytest.raises(KernelError) as caught:
            impair(rtnl, ifindex, delay_us=20_000)
        assert "this kernel has no netem" in str(caught.value)
        assert "modprobe sch_netem" in str(caught.value)

    def test_netem_options_equal_expected_bytes(self):
        """The bytes are struct tc_netem_qopt, then TCA_NETEM_LATENCY64 and _JITTER64 in nanoseconds, then _REORDER."""
        options = netem_options(20_000, 1_000, 0.5, 0.25, 1.0)
        assert struct.unpack_from("=6I", options) == (0, 10_000, 0x80000000, 1, 0xFFFFFFFF, 0)
        assert struct.unpack_from("=HHq", options, 24) == (12, 10, 20_000_000)
        assert struct.unpack_from("=HHq", options, 36) == (12, 11, 1_000_000)
        assert struct.unpack_from("=HHII", options, 48) == (12, 3, 0x40000000, 0)
        assert len(options) == 60
        assert len(netem_options(20_000, 0, 0.0, 0.0, 0.0)) == 48
