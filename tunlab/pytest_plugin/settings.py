"""Settings of the fixtures `tun` and `netns`, read from ini options and markers and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import pytest

from tunlab.pytest_plugin.fixture_errors import usage_error
from tunlab.pytest_plugin.options import MARKER


def settings_of(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings for a test: the ini options, overridden by its `tun` markers, of which the closest wins."""
    config = request.config
    settings: dict[str, Any] = {
        "address": config.getini("tunlab_address").split(),
        "ifname": config.getini("tunlab_ifname"),
        "mtu": _number(config, "tunlab_mtu", int),
        "timeout": _number(config, "tunlab_timeout", float),
        "strict": _boolean(config, "tunlab_strict"),
        "ipv6": _boolean(config, "tunlab_ipv6"),
        "sysctls": dict(_sysctl(line) for line in config.getini("tunlab_sysctls")),
    }
    for marker in reversed(list(request.node.iter_markers("tun"))):
        if marker.args:
            usage_error(f"@pytest.mark.tun takes keyword arguments only: {MARKER}")
        for name, value in marker.kwargs.items():
            if name not in settings:
                close = get_close_matches(name, settings, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"Its settings are {', '.join(settings)}."
                usage_error(f"@pytest.mark.tun has no setting {name!r}. {hint}")
            check_setting("@pytest.mark.tun", name, value)
            settings[name] = {**settings[name], **value} if name == "sysctls" else value
    return settings


def has_ipv6(address: str | Sequence[str]) -> bool:
    """Return True if one of the addresses is IPv6."""
    return any(":" in each for each in ([address] if isinstance(address, str) else address) if isinstance(each, str))


_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "address": ((str, list, tuple), "text, for example '10.1.2.1/24', or a list of texts"),
    "ifname": (str, "text, for example 'tun0'"),
    "mtu": (int, "a number of bytes, for example 1500"),
    "timeout": ((int, float), "a number of seconds, for example 2.0"),
    "strict": (bool, "True or False"),
    "ipv6": (bool, "True or False"),
    "sysctls": (dict, "a dictionary, for example {'net.ipv4.tcp_sack': '0'}"),
}


def check_setting(source: str, name: str, value: object) -> None:
    expected, form = _TYPES[name]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        usage_error(f"{source}: {name}={value!r} is invalid. Give {form}.")
    if name == "timeout" and isinstance(value, (int, float)) and not 0 <= value < float("inf"):
        usage_error(f"{source}: {name}={value!r} is invalid. Give 0 or more seconds.")


def _number(config: pytest.Config, name: str, convert: Callable[[str], Any]) -> Any:
    text = config.getini(name)
    try:
        value = convert(text)
    except ValueError:
        usage_error(f"{name} is {text!r} in the pytest configuration. Give a number.")
    check_setting("the pytest configuration", name.removeprefix("tunlab_"), value)
    return value


def _boolean(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(name)
    except (ValueError, TypeError, pytest.UsageError):  # The type of the error depends on pytest's version.
        usage_error(f"{name} in the pytest configuration is invalid. Give true or false.")


def _sysctl(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        usage_error(f"tunlab_sysctls: {line!r} has no value. Write it as net.ipv4.tcp_sack = 0.")
    return name.strip(), value.strip()
