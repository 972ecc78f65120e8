"""Fixtures and commands change no network configuration of the machine: links, addresses, routes, sysctls, firewall."""

import os
import subprocess
import sys

import pytest

EVERY_FIXTURE = """
    from tunlab.packet import ICMP, IPv4, reply

    def test_every_fixture(tun, make_tun, netns, make_netns, ping, inject):
        other = make_tun(netns=netns, ifname="tun1", address="10.1.3.1/24", mtu=1280)
        netns.set_sysctl("net.ipv4.ip_forward", 1)
        netns.run(["ping", "-c", "1", tun.address], check=True)
        tun.device.rtnl.add_veth("a", "b", peer_netns=make_netns(ipv6=True))
        request = ping("10.1.2.3") and tun.expect(ICMP)
        inject(*reply(request), request.payload)
        other.emit(b"payload")
"""
COMMANDS = [
    ["up", "--name", "a"],
    ["up", "--name", "b", "--address", "192.0.2.1/24", "--ifname", "wire", "--mtu", "1280"],
    ["inject", "--lab", "a", "4500001c00000000400162dd0a0102020a0102010800f7fd00010001"],
    ["exec", "b", "--", "true"],
    ["ping", "--lab", "a", "10.1.2.1"],
    ["up", "nat"],
    ["ping-all", "nat"],
    ["gc"],
    ["down", "--all"],
    ["demo"],
    ["doctor"],
]


@pytest.mark.slow
def test_fixtures_and_commands_do_not_change_the_network_of_the_machine(pytester, tmp_path, machine):
    before = machine()
    pytester.makepyfile(EVERY_FIXTURE)
    pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2").assert_outcomes(passed=1)
    for arguments in COMMANDS:
        command = [sys.executable, "-m", "tunlab", *arguments]
        done = subprocess.run(
            command, env={**os.environ, "TUNLAB_RUN": str(tmp_path)}, capture_output=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stderr)
    assert machine() == before


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("links", lambda tun: tun.device.rtnl.add_link("br0", "bridge")),
        ("links", lambda tun: setattr(tun.device, "mtu", 1400)),
        ("addresses", lambda tun: tun.device.add_address("10.1.9.1/24")),
        ("routes", lambda tun: tun.device.rtnl.add_route("192.0.2.0/24", ifindex=tun.device.ifindex)),
        ("sysctls", lambda tun: tun.netns.set_sysctl("net.ipv4.ip_forward", 1)),
    ],
)
def test_network_snapshot_of_the_machine_detects_each_kind_of_change(tun, machine, part, change):
    """Change links, addresses, routes and sysctls in a namespace of the test, and compare snapshots of it."""
    before = tun.netns.call(machine)
    assert tun.netns.call(machine) == before
    change(tun)
    after = tun.netns.call(machine)
    assert after[part] != before[part]
