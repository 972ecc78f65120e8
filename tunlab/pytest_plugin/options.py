"""What a run is set by: command line options, ini options and the two markers."""

from __future__ import annotations

import pytest

MARKER = (
    "tun(address='10.1.2.1/24', ifname='tun0', mtu=1500, ipv6=False, sysctls={…}, timeout=2.0, strict=False): "
    "settings of this test's tun and netns fixtures (tunlab)"
)
LAB_MARKER = (
    "lab('router.toml'): the lab of this test's lab fixture: a lab file beside the test or in the root directory,"
    " a ready lab's name, TOML text, or nodes={…}, links=[…] as a lab file has them (tunlab)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab", "tunlab: network namespaces and TUN devices")
    group.addoption(
        "--tunlab-skip-unprivileged",
        action="store_true",
        help="Skip tests that need rights this machine does not give, instead of failing them.",
    )
    group.addoption(
        "--tunlab-rootless",
        action="store_true",
        help="Run pytest-xdist's workers in user namespaces where root is missing (without -n that is automatic).",
    )
    parser.addini("tunlab_address", "Address of the tun fixture, with its prefix length.", default="10.1.2.1/24")
    parser.addini("tunlab_ifname", "Device name of the tun fixture.", default="tun0")
    parser.addini("tunlab_mtu", "MTU of the tun fixture in octets.", default="1500")
    parser.addini("tunlab_timeout", "Seconds that expect() waits.", default="2.0")
    parser.addini(
        "tunlab_strict",
        "Whether a packet that nobody expected, captured or read fails the test.",
        type="bool",
        default=False,
    )
    parser.addini("tunlab_ipv6", "Whether namespaces speak IPv6.", type="bool", default=False)
    parser.addini("tunlab_sysctls", "Sysctls of every namespace, a line each: net.ipv4.tcp_sack = 0", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", LAB_MARKER)
