"""Command-line options, ini options and markers of the fixtures `tun`, `netns` and `lab`."""

from __future__ import annotations

import pytest

MARKER = (
    "tun(address='10.1.2.1/24', ifname='tun0', mtu=1500, ipv6=False, sysctls={…}, timeout=2.0, strict=False): "
    "settings of the test's tun and netns fixtures (tunlab)"
)
LAB_MARKER = (
    "lab('router.toml'): the lab that the test's lab fixture starts: a lab file in the test's or the root directory,"
    " the name of a ready lab, TOML text, or tables as in a lab file: nodes={…}, links=[…] (tunlab)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab", "tunlab: network namespaces and TUN devices")
    group.addoption(
        "--tunlab-skip-unprivileged",
        action="store_true",
        help="Skip tests that need privileges which this process does not have, instead of failing them.",
    )
    group.addoption(
        "--tunlab-rootless",
        action="store_true",
        help="Without root, run pytest-xdist's workers in user namespaces. Without -n this is automatic.",
    )
    parser.addini("tunlab_address", "Addresses of the tun fixture with prefix lengths.", default="10.1.2.1/24")
    parser.addini("tunlab_ifname", "Interface name of the tun fixture.", default="tun0")
    parser.addini("tunlab_mtu", "MTU of the tun fixture in bytes.", default="1500")
    parser.addini("tunlab_timeout", "Seconds that expect() waits for a packet.", default="2.0")
    parser.addini(
        "tunlab_strict",
        "Fail a test if a packet arrives that the test neither expects nor reads.",
        type="bool",
        default=False,
    )
    parser.addini("tunlab_ipv6", "Enable IPv6 in the namespaces.", type="bool", default=False)
    parser.addini(
        "tunlab_sysctls",
        "Sysctls to set in every namespace, one per line, for example net.ipv4.tcp_sack = 0",
        type="linelist",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", LAB_MARKER)
