"""What `tun` and `netns` are made with: ini options, and markers over them, each checked."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import pytest

from tunlab.pytest_plugin.fixture_errors import usage_error
from tunlab.pytest_plugin.options import MARKER


def settings_of(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `tun` and `netns` are made with: the ini options, overridden by the markers, the nearest last."""
    config = request.config
    settings: dict[str, Any] = {
        "address": config.getini("tunlab_address"),
        "ifname": config.getini("tunlab_ifname"),
        "mtu": _number(config, "tunlab_mtu", int),
        "timeout": _number(config, "tunlab_timeout", float),
        "strict": _flag(config, "tunlab_strict"),
        "ipv6": _flag(config, "tunlab_ipv6"),
        "sysctls": dict(_sysctl(line) for line in config.getini("tunlab_sysctls")),
    }
    for marker in reversed(list(request.node.iter_markers("tun"))):
        if marker.args:
            usage_error(f"@pytest.mark.tun takes keywords: {MARKER}")
        for name, value in marker.kwargs.items():
            if name not in settings:
                close = get_close_matches(name, settings, n=1)
                hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(settings)}"
                usage_error(f"@pytest.mark.tun has no setting {name!r}; {hint}")
            _check("@pytest.mark.tun", name, value)
            settings[name] = {**settings[name], **value} if name == "sysctls" else value
    return settings


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "address": (str, "text, as '10.1.2.1/24'"),
    "ifname": (str, "text, as 'tun0'"),
    "mtu": (int, "a number of octets, as 1500"),
    "timeout": ((int, float), "a number of seconds, as 2.0"),
    "strict": (bool, "True or False"),
    "ipv6": (bool, "True or False"),
    "sysctls": (dict, "a dictionary, as {'net.ipv4.tcp_sack': '0'}"),
}


def _check(place: str, name: str, value: object) -> None:
    kind, form = _KINDS[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        usage_error(f"{place}: {name}={value!r} cannot be; it is {form}")
    if name == "timeout" and isinstance(value, (int, float)) and not 0 <= value < float("inf"):
        usage_error(f"{place}: {name}={value!r} cannot be; give seconds, from 0 on")


def _number(config: pytest.Config, name: str, kind: Callable[[str], Any]) -> Any:
    text = config.getini(name)
    try:
        value = kind(text)
    except ValueError:
        usage_error(f"{name} = {text!r} in the configuration: give a number")
    _check("the configuration", name.removeprefix("tunlab_"), value)
    return value


def _flag(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(name)
    except (ValueError, TypeError, pytest.UsageError):  # as pytest grew older, it raised one after the other
        usage_error(f"{name} in the configuration is neither true nor false")


def _sysctl(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        usage_error(f"tunlab_sysctls: {line!r} is no line of the form net.ipv4.tcp_sack = 0")
    return name.strip(), value.strip()
