"""A test's own namespace and TUN, and what makes more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_or_skip, make_or_fail
from tunlab.pytest_plugin.packet_recorder import recorder_for
from tunlab.pytest_plugin.settings import settings_of
from tunlab.pytest_plugin.strict import enable_strict
from tunlab.pytest_plugin.workers import end_with_the_controller

if TYPE_CHECKING:
    from tunlab.kernel.netns import Netns
    from tunlab.packet import Packet
    from tunlab.packet.packet import Layer
    from tunlab.traffic import Ping, Tun

_ending = pytest.StashKey[set[tuple[int, int]]]()  # the namespaces that end with the test


@pytest.fixture
def make_netns(request: pytest.FixtureRequest) -> Iterator[Callable[..., Netns]]:
    """Makes network namespaces: `make_netns(ipv6=False, sysctls={})`; they end with the test."""
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError

    settings = settings_of(request)
    end_with_the_controller(request.config)
    watch = recorder_for(request.node)
    with ExitStack() as resources:

        def make(*, ipv6: bool = settings["ipv6"], sysctls: Mapping[str, str] | None = None) -> Netns:
            try:
                made = watch.create(ipv6=ipv6, sysctls={**settings["sysctls"], **(sysctls or {})})
                netns = resources.enter_context(made)
                request.node.stash.setdefault(_ending, set()).add(netns.identity)
            except PrivilegeError as error:
                fail_or_skip(request.config, error)
            resources.callback(netns.end_programs)
            return netns

        yield make


@pytest.fixture
def netns(make_netns: Callable[..., Netns]) -> Netns:
    """A network namespace of the test's own, with only lo in it: `call`, `run`, `popen`, `socket`, `set_sysctl`."""
    return make_or_fail(make_netns)


@pytest.fixture
def make_tun(request: pytest.FixtureRequest, make_netns: Callable[..., Netns]) -> Iterator[Callable[..., Tun]]:
    """Makes TUN devices: `make_tun(address=…, mtu=…, strict=…, netns=…)`, in a namespace of its own unless given."""
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError
    from tunlab.traffic import Tun

    defaults = settings_of(request)
    with ExitStack() as resources:

        def make(*, netns: Netns | None = None, **settings: Any) -> Tun:
            if netns is None:
                own = {name: settings.pop(name) for name in ("ipv6", "sysctls") if name in settings}
                netns = make_netns(**own)
            strict = settings.pop("strict", defaults["strict"])
            wanted = {name: defaults[name] for name in ("address", "ifname", "mtu", "timeout")} | settings
            try:
                tun = Tun.create(**wanted, netns=netns)
                recorder_for(request.node).add_tun(tun)
                ending = request.node.stash.get(_ending, set())
                resources.callback(tun.close, keep_device=netns.identity in ending)
                if strict:
                    enable_strict(request.node, tun)
                return tun
            except PrivilegeError as error:
                fail_or_skip(request.config, error)

        yield make


@pytest.fixture
def tun(make_tun: Callable[..., Tun], netns: Netns) -> Tun:
    """A TUN device that is up and has an address, in the test's own namespace; the test is its other end."""
    return make_or_fail(make_tun, netns=netns)


@pytest.fixture
def ping(tun: Tun) -> Callable[..., Ping]:
    """`ping(address, count=1, payload=…, identifier=0)`: echo requests by the kernel behind this test's TUN."""
    return tun.ping


@pytest.fixture
def inject(tun: Tun) -> Callable[[Layer | Packet], bytes]:
    """`inject(IPv4(…), TCP(…), b"payload")`: a datagram that the kernel behind this test's TUN receives."""
    return tun.inject
