"""Read a table below [nodes] of a lab file into a NodeSpec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, get_args

from tunlab.topology.lab_file.command_table import boolean, read_commands, read_env
from tunlab.topology.lab_file.file_table import absolute_path, private_directory, read_files, read_owner, read_run_dirs
from tunlab.topology.plan import NodeKind, RoutePlan
from tunlab.topology.spec import Ip, NodeSpec
from tunlab.topology.values import names, units
from tunlab.topology.values.problems import InvalidValueError, Problems, suggest

T = TypeVar("T")

KINDS: tuple[NodeKind, ...] = get_args(NodeKind)
NODE_KEYS = tuple(key for key in NodeSpec.__struct_fields__ if key not in ("texts", "owners"))
"""The keys of a node's table; texts and owners are given in `files`."""

_SYSCTL = re.compile(r"net[./][\w%+@:-]+(?:[./][\w%+@:-]+)+", re.ASCII)
_SWITCH_KEYS = ("kind",)
_ROUTE_KEYS = ("to", "via")
_NAMESPACE_KEYS = ("setup", "after", "private", "run_dirs", "share", "user", "cwd")


def read_node(problems: Problems, table: str, values: Mapping[str, Any], ip: Ip) -> NodeSpec:
    """Read a table below [nodes] and add its errors to `problems`."""
    problems.check_keys(table, values, NODE_KEYS)

    def read(key: str, parser: Callable[[Any], T], default: T) -> T:
        return problems.read(table, key, parser, values[key], default) if key in values else default

    kind = _kind(problems, table, values)
    if kind == "switch":
        for key in values:
            if key in NODE_KEYS and key not in _SWITCH_KEYS:
                problems.add(table, key, "does not apply to a switch", "Remove it, or make the node a router.")
        return NodeSpec(kind="switch")
    forward = read("forward", boolean, kind in ("router", "nat"))
    if kind in ("router", "nat") and not forward:
        problems.add(
            table, "forward", f"is false for a {'NAT ' * (kind == 'nat')}router", "Remove it, or make the node a host."
        )
    node = NodeSpec(
        kind=kind,
        forward=forward,
        tun=_read_strings(problems, table, "tun", values, lambda value: _any_address(value, ip)),
        tuns=_tuns(problems, table, values, ip),
        ifname=read("ifname", names.ifname, "tun0"),
        mtu=read("mtu", partial(units.mtu, ipv6=ip != "ipv4"), 1500),
        loopback=_read_strings(problems, table, "loopback", values, lambda value: _loopback(value, ip)),
        routes=_routes(problems, table, values, ip) if "routes" in values else None,
        outside=read("outside", names.text, ""),
        run=read_commands(problems, table, "run", values.get("run", ())),
        setup=read_commands(problems, table, "setup", values.get("setup", ())),
        after=_read_strings(problems, table, "after", values, names.text),
        sysctls=_sysctls(problems, table, values.get("sysctls", {})),
        files=(files := read_files(problems, table, values.get("files", {}))).sources,
        texts=files.texts,
        owners=files.owners,
        private=_read_strings(problems, table, "private", values, private_directory),
        run_dirs=read_run_dirs(problems, table, values.get("run_dirs", [])),
        share=_read_strings(problems, table, "share", values, absolute_path),
        image=read("image", names.text, ""),
        container=read("container", names.text, ""),
        env=read_env(problems, table, values.get("env", {})),
        user=read("user", read_owner, ""),
        cwd=read("cwd", absolute_path, ""),
    )
    _check_container(problems, table, values, node)
    if node.ifname in node.tuns and node.tun:
        problems.add(f"{table}.tuns", node.ifname, "is already the name of tun", "Choose another name, or set ifname.")
    if values.get("tun") == []:
        problems.add(table, "tun", "has no address", 'Write ["10.1.2.1/24", "fd00::1/64"], or remove it.')
    return node


def _kind(problems: Problems, table: str, values: Mapping[str, Any]) -> NodeKind:
    """Return the node's kind, given by `kind` or derived from its other keys."""
    container_keys = [key for key in ("image", "container") if key in values]
    if len(container_keys) == 2:
        problem = "conflicts with image: it names a running container, and image starts one"
        problems.add(table, "container", problem, "Give one of the two.")
    if "kind" not in values:
        if container_keys:
            return "container"
        if "outside" in values:
            return "nat"
        return "router" if values.get("forward") is True else "host"
    host: NodeKind = "host"
    kind = problems.read(table, "kind", read_kind, values["kind"], host)
    if kind == "container" and not container_keys:
        problems.add(table, "kind", "is 'container' without image or container", 'Add image = "…" or container = "…".')
    if kind != "container" and container_keys and kind != "switch":
        problems.add(table, container_keys[0], f"does not apply to a {kind}", 'Remove kind, or set it to "container".')
    if kind not in ("nat", "switch") and "outside" in values:
        problems.add(table, "outside", f"does not apply to a {kind}", 'Set kind = "nat".')
    return "router" if kind == "host" and values.get("forward") is True else kind


def read_kind(value: Any) -> NodeKind:
    """Check the value of a node's key `kind`. Raises InvalidValueError."""
    if value not in KINDS:
        hint = suggest(value, KINDS) if isinstance(value, str) else f"Choose from {', '.join(KINDS)}."
        raise InvalidValueError(f"is {value!r}, which is not a kind of node", hint)
    kind: NodeKind = value
    return kind


def check_family(version: int, ip: Ip) -> None:
    """Raise InvalidValueError if the lab does not use this IP version."""
    if ip != "both" and ip != f"ipv{version}":
        used = "IPv4" if ip == "ipv4" else "IPv6"
        raise InvalidValueError(
            f"is IPv{version}; the lab uses {used} only",
            f'Set ip = "both" at the top, or remove the IPv{version} value.',
        )


def _any_address(value: object, ip: Ip) -> str:
    interface = names.any_interface(value)
    check_family(interface.version, ip)
    return str(interface)


def _loopback(value: object, ip: Ip) -> str:
    if isinstance(value, str) and "/" not in value:
        value = f"{value}/{128 if ':' in value else 32}"
    interface = names.any_interface(value)
    if interface.network.prefixlen != interface.max_prefixlen:
        raise InvalidValueError(
            f"is {value!r}, a network instead of an address", f'Write "{interface.ip}/{interface.max_prefixlen}".'
        )
    check_family(interface.version, ip)
    return str(interface)


def _read_strings(
    problems: Problems, table: str, key: str, values: Mapping[str, Any], parser: Callable[[Any], str]
) -> tuple[str, ...]:
    """Read a list of strings, or a single string; return the valid ones."""
    given = values.get(key, [])
    if isinstance(given, list):
        parsed = [problems.read(table, f"{key}[{index}]", parser, value, "") for index, value in enumerate(given)]
    else:
        parsed = [problems.read(table, key, parser, given, "")]
    return tuple(each for each in parsed if each)


def _tuns(problems: Problems, table: str, values: Mapping[str, Any], ip: Ip) -> dict[str, tuple[str, ...]]:
    hint = 'Write { tun0 = "10.1.2.1/24", tun1 = "10.1.3.1/24" }.'
    given = problems.table(table, "tuns", values.get("tuns", {}), hint)
    tuns = {}
    for name in given:
        problems.read(f"{table}.tuns", name, names.ifname, name, "")
        tuns[name] = _read_strings(problems, f"{table}.tuns", name, given, lambda value: _any_address(value, ip))
        if given[name] == []:
            problems.add(f"{table}.tuns", name, "has no address", hint)
    return tuns


def _routes(problems: Problems, table: str, values: Mapping[str, Any], ip: Ip) -> tuple[RoutePlan, ...]:
    hint = '{ to = "10.0.2.0/24", via = "10.0.1.1" }'
    given = values["routes"]
    if not isinstance(given, list):
        problems.add(table, "routes", f"is {given!r}, which is not a list", f"Write [{hint}].")
        return ()
    routes: list[RoutePlan] = []
    for index, route in enumerate(given):
        route_table = f"{table}.routes[{index}]"
        if not isinstance(route, dict):
            problems.add(route_table, "", f"is {route!r}, which is not a table", f"Write {hint}.")
            continue
        problems.check_keys(route_table, route, _ROUTE_KEYS)
        missing = [key for key in _ROUTE_KEYS if key not in route]
        for key in missing:
            problems.add(route_table, key, "is missing", f"Write {hint}.")
        if missing:
            continue
        via = problems.read(route_table, "via", names.host_address, route["via"], None)
        if via is None:
            continue
        problems.read(route_table, "via", partial(check_family, ip=ip), via.version, None)
        to = problems.read(route_table, "to", partial(_destination, version=via.version), route["to"], "")
        if to and any(each.to == to for each in routes):
            problems.add(route_table, "to", f"is {route['to']!r}, which already has a route", "Remove one of them.")
        elif to:
            routes.append(RoutePlan(to=to, via=str(via)))
    return tuple(routes)


def _destination(value: object, version: names.Version) -> str:
    if value in ("default", "default6"):
        if value == "default6" and version == 4:
            problem = "is 'default6', but via is an IPv4 address"
            raise InvalidValueError(problem, 'Write "default", or an IPv6 address in via.')
        return "default" if version == 4 else "default6"
    if isinstance(value, str) and (":" in value) != (version == 6):
        raise InvalidValueError(
            f"is {value!r}, but via is an IPv{version} address", "Use the same IP version for both."
        )
    network = names.subnet(value, version)
    if not network.prefixlen:
        return "default" if version == 4 else "default6"
    return str(network)


def _sysctls(problems: Problems, table: str, given: object) -> dict[str, str]:
    sysctls = {}
    hint = 'Write { "net.ipv4.tcp_sack" = 0 }.'
    for name, value in problems.table(table, "sysctls", given, hint).items():
        if isinstance(value, dict):
            problems.add(f"{table}.sysctls", name, "is a table: quote a sysctl's name", hint)
        elif not _SYSCTL.fullmatch(name):
            name_hint = "Use names that begin with net.; all others belong to the whole machine."
            problems.add(f"{table}.sysctls", name, "is not a sysctl of a network namespace", name_hint)
        elif type(value) is int or (isinstance(value, str) and value.strip() and "\0" not in value):
            sysctls[name] = str(value)
        else:
            problems.add(
                f"{table}.sysctls",
                name,
                f"is {value!r}, which is not a value",
                'Write a number or a string such as "4096 87380".',
            )
    return sysctls


def _check_container(problems: Problems, table: str, values: Mapping[str, Any], node: NodeSpec) -> None:
    """Add errors for keys that a node with a container may not have."""
    if not node.image and not node.container:
        return
    if "env" in values and not node.image:
        problems.add(table, "env", "does not apply to a running container", 'Remove it, or use image = "…".')
    for key in _NAMESPACE_KEYS:
        if key in values:
            problems.add(table, key, "does not apply to a container", "Remove it, or remove image and container.")
    for path in {**node.texts, **node.owners}:
        hint = "Name a file beside the lab file."
        problems.add(f"{table}.files", path, "is a table, which does not apply to a container", hint)
    for index, command in enumerate(node.run):
        if command.ready_udp or command.ready_path or command.ready_command or command.ready_exit >= 0:
            problem = "of a container takes port and line only"
            problems.add(f"{table}.run[{index}]", "ready", problem, "Give one of them.")
    if node.image and len(node.run) > 1:
        problems.add(
            table,
            "run",
            "has several commands; a container runs one",
            "Keep one, or none for the image's own.",
        )
    if node.container and not node.image:
        for key in ("run", "files"):
            if key in values:
                problems.add(table, key, "does not apply to a running container", 'Remove it, or use image = "…".')
