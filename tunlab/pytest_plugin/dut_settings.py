"""Which device is under test in a test, and its settings: `--dut`, ini options and the marker `dut`."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

from tunlab.pytest_plugin.fixture_errors import usage_error
from tunlab.pytest_plugin.settings import check_setting, settings_of

if TYPE_CHECKING:
    from tunlab.dut import DutSettings, Target

MARKER = (
    "dut('./my_stack {ifname} {address}', address='10.1.2.1/24', ifname='tun0', mode='tun', mtu=1500, timeout=2.0, "
    "start_timeout=10.0, ready='line PATTERN', services={'echo': 7}, strict=False): the device under test of the "
    "test's dut fixture, unless --dut names another, and its settings (tunlab)"
)
XFAIL_MARKER = (
    "dut_xfail('reason', dut='object'): the test fails with this device under test: a kind, or a pattern of targets as"
    " '*my_stack*'; without dut, with every device. If it passes, it is reported as failed (tunlab)"
)
_NAMES = ("address", "ifname", "mtu", "timeout", "strict")
"""Settings that the fixtures `dut` and `tun` have in common."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tunlab").addoption(
        "--dut",
        dest="tunlab_dut",
        action="append",
        default=[],
        metavar="TARGET",
        help="The device under test: kernel, fd:MODULE:CALLABLE, object:MODULE:CLASS or a command, as"
        " './my_stack {ifname} {address}'. Give it several times to run the tests against several.",
    )
    parser.addini("tunlab_dut", "Default of --dut.", default="")
    parser.addini("tunlab_dut_ready", "When a program is ready: device, packet or line PATTERN.", default="")
    parser.addini("tunlab_dut_start_timeout", "Seconds that a program has to become ready.", default="10.0")
    parser.addini(
        "tunlab_dut_services",
        "Ports of the services of the device under test, one per line: echo = 7, discard = 9 or chargen = 19",
        type="linelist",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", XFAIL_MARKER)


def dut_settings(request: pytest.FixtureRequest, target: str, given: dict[str, Any]) -> tuple[str, DutSettings, bool]:
    """Return the target of a test, its settings, and True if the test is strict.

    `target` (if it is not "") and `given` override those of options and markers.
    """
    from tunlab.dut import DutSettings, Services
    from tunlab.errors import KernelError
    from tunlab.traffic.addresses import parse_addresses

    config = request.config
    common = settings_of(request)
    settings: dict[str, Any] = {name: common[name] for name in _NAMES} | {
        "mode": "tun",
        "ready": config.getini("tunlab_dut_ready") or None,
        "start_timeout": _seconds(config.getini("tunlab_dut_start_timeout")),
        "services": dict(_service(line) for line in config.getini("tunlab_dut_services")),
    }
    configured = config.getini("tunlab_dut")
    for marker in reversed(list(request.node.iter_markers("dut"))):
        if len(marker.args) > 1:
            usage_error(f"@pytest.mark.dut takes one device under test: {MARKER}")
        configured = marker.args[0] if marker.args else configured
        _update(settings, "@pytest.mark.dut", marker.kwargs)
    _update(settings, "make_dut", given)
    target = target or next(iter(config.getoption("tunlab_dut")), configured)
    if not target:
        usage_error("the dut fixture needs a device under test. Give --dut=TARGET, or set tunlab_dut.")
    strict = settings.pop("strict")
    message = ""
    try:
        addresses = tuple(parse_addresses(settings.pop("address"), settings["ifname"]))
        services = Services(**settings.pop("services"))
    except (KernelError, TypeError) as error:
        message = str(error)
    if message:
        usage_error(message)
    return target, DutSettings(addresses, services=services, **settings), strict


_CHOICES = {"mode": ("tun", "tap")}
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "mode": (str, "'tun' or 'tap'"),
    "ready": (str, "'device', 'packet' or 'line PATTERN'"),
    "start_timeout": ((int, float), "a number of seconds, for example 10.0"),
    "services": (dict, "a dictionary, for example {'echo': 7}"),
}


def _update(settings: dict[str, Any], source: str, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in settings:
            close = get_close_matches(name, settings, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(settings)}."
            usage_error(f"{source} has no setting {name!r}. {hint}")
        if name in _TYPES:
            expected, form = _TYPES[name]
            if not isinstance(value, expected) or value not in _CHOICES.get(name, (value,)):
                usage_error(f"{source}: {name}={value!r} is invalid. Give {form}.")
        else:
            check_setting(source, name, value)
        settings[name] = {**settings[name], **value} if name == "services" else value


def expect_failure(item: pytest.Item, target: Target) -> None:
    """Mark the test as failing, strictly, if a marker `dut_xfail` says so for this device under test."""
    for marker in item.iter_markers("dut_xfail"):
        pattern = marker.kwargs.get("dut", "*")
        if len(marker.args) != 1 or not isinstance(pattern, str) or marker.kwargs.keys() - {"dut"}:
            usage_error(f"@pytest.mark.dut_xfail takes a reason and a device under test: {XFAIL_MARKER}")
        if pattern == target.kind or fnmatchcase(target.text, pattern):
            item.add_marker(pytest.mark.xfail(reason=f"{marker.args[0]} ({target.text})", strict=True))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        usage_error(f"tunlab_dut_start_timeout is {text!r} in the pytest configuration. Give a number.")


def _service(line: str) -> tuple[str, int]:
    name, _, port = line.partition("=")
    if name.strip() not in ("echo", "discard", "chargen") or not port.strip().isdigit():
        usage_error(f"tunlab_dut_services: {line!r} is not a service. Write it as echo = 7.")
    return name.strip(), int(port)
