"""Fixtures that make network namespaces and TUN devices, and send traffic through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_or_skip, make_or_fail
from tunlab.pytest_plugin.packet_recorder import recorder_for
from tunlab.pytest_plugin.settings import has_ipv6, settings_of
from tunlab.pytest_plugin.strict import enable_strict
from tunlab.pytest_plugin.worker_process import die_with_controller

if TYPE_CHECKING:
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.packet import Packet, PacketPart
    from tunlab.traffic import Ping, Tap, Tun

_closing_namespaces = pytest.StashKey[set[tuple[int, int]]]()
"""Identities of the namespaces that are closed when the test ends."""


@pytest.fixture
def make_netns(request: pytest.FixtureRequest) -> Iterator[Callable[..., Netns]]:
    """Function that makes a network namespace: `make_netns(ipv6=False, sysctls={…})`.

    The namespaces are removed when the test ends.
    """
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError

    settings = settings_of(request)
    die_with_controller(request.config)
    recorder = recorder_for(request.node)
    enable_ipv6 = settings["ipv6"] or has_ipv6(settings["address"])
    with ExitStack() as resources:

        def make(*, ipv6: bool = enable_ipv6, sysctls: Mapping[str, str] | None = None) -> Netns:
            try:
                made = recorder.create(ipv6=ipv6, sysctls={**settings["sysctls"], **(sysctls or {})})
                netns = resources.enter_context(made)
                request.node.stash.setdefault(_closing_namespaces, set()).add(netns.identity)
            except PrivilegeError as error:
                fail_or_skip(request.config, error)
            resources.callback(netns.kill_programs)
            return netns

        yield make


@pytest.fixture
def netns(make_netns: Callable[..., Netns]) -> Netns:
    """A new network namespace for this test; its only device is lo. Methods: `run`, `popen`, `socket`, `set_sysctl`."""
    return make_or_fail(make_netns)


@pytest.fixture
def make_tun(request: pytest.FixtureRequest, make_netns: Callable[..., Netns]) -> Iterator[Callable[..., Tun]]:
    """Function that makes a TUN or TAP: `make_tun("fd00::1/64", mode="tap", mtu=…, strict=…, netns=…, owner=…)`.

    Without `netns` each device gets a namespace of its own. The other arguments are those of `Tun.create`, with
    `packet_information`, `multi_queue`, `owner` and `group`; for a TAP also `address_resolution`. The devices are
    removed when the test ends.
    """
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError
    from tunlab.traffic import Tap, Tun

    defaults = settings_of(request)
    with ExitStack() as resources:

        def make(
            address: str | Sequence[str] = defaults["address"],
            *,
            mode: str = "tun",
            netns: Netns | None = None,
            **settings: Any,
        ) -> Tun:
            if mode not in ("tun", "tap"):
                raise ValueError(f'mode={mode!r} does not exist. Give "tun" or "tap".')
            if netns is None:
                netns_settings = {name: settings.pop(name) for name in ("ipv6", "sysctls") if name in settings}
                netns = make_netns(**{"ipv6": defaults["ipv6"] or has_ipv6(address), **netns_settings})
            strict = settings.pop("strict", defaults["strict"])
            settings = {name: defaults[name] for name in ("ifname", "mtu", "timeout")} | settings
            if mode == "tap" and settings["ifname"] == "tun0":
                settings["ifname"] = "tap0"
            try:
                tun = (Tap if mode == "tap" else Tun).create(address, **settings, netns=netns)
                recorder_for(request.node).add_endpoint(tun)
                closing = request.node.stash.get(_closing_namespaces, set())
                # A namespace that is closed at the end of the test takes its devices with it.
                resources.callback(tun.close, keep_device=netns.identity in closing)
                if strict:
                    enable_strict(request.node, tun)
                return tun
            except PrivilegeError as error:
                fail_or_skip(request.config, error)

        yield make


@pytest.fixture
def tun(make_tun: Callable[..., Tun], netns: Netns) -> Tun:
    """A TUN device in the test's network namespace, up and with an address. The test is the other end of the link."""
    return make_or_fail(make_tun, netns=netns)


@pytest.fixture
def tap(make_tun: Callable[..., Tap], netns: Netns) -> Tap:
    """A TAP device in this test's namespace, up and with an address: like `tun`, but with Ethernet frames."""
    return make_or_fail(make_tun, netns=netns, mode="tap")


@pytest.fixture
def ping(tun: Tun) -> Callable[..., Ping]:
    """Function that sends echo requests from the kernel: `ping(address, count=1, payload=…, identifier=0)`."""
    return tun.ping


@pytest.fixture
def inject(tun: Tun) -> Callable[[PacketPart | Packet], bytes]:
    """Function that sends a packet to the kernel through the TUN device: `inject(IPv4(…), TCP(…), b"payload")`."""
    return tun.inject
