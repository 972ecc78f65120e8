"""Read a table below [nodes] of a lab file into a NodeSpec."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, get_args

from tunlab.topology.plan import CommandPlan, NodeKind, RoutePlan
from tunlab.topology.spec import Ip, NodeSpec
from tunlab.topology.values import names, units
from tunlab.topology.values.problems import InvalidValueError, Problems, suggest

T = TypeVar("T")

KINDS: tuple[NodeKind, ...] = get_args(NodeKind)
_SHELL = ("|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1")
_SYSCTL = re.compile(r"net[./][\w%+@:-]+(?:[./][\w%+@:-]+)+", re.ASCII)
_SWITCH_KEYS = ("kind",)
_COMMAND_KEYS, _READY_KEYS, _ROUTE_KEYS = ("command", "ready", "timeout"), ("port", "line"), ("to", "via")


def read_node(problems: Problems, table: str, values: Mapping[str, Any], ip: Ip) -> NodeSpec:
    """Read a table below [nodes] and add its errors to `problems`."""
    problems.check_keys(table, values, NodeSpec.__struct_fields__)

    def read(key: str, parser: Callable[[Any], T], default: T) -> T:
        return problems.read(table, key, parser, values[key], default) if key in values else default

    kind = _kind(problems, table, values)
    if kind == "switch":
        for key in values:
            if key in NodeSpec.__struct_fields__ and key not in _SWITCH_KEYS:
                problems.add(table, key, "does not apply to a switch", "Remove it, or make the node a router.")
        return NodeSpec(kind="switch")
    forward = read("forward", _boolean, kind in ("router", "nat"))
    if kind in ("router", "nat") and not forward:
        problems.add(
            table, "forward", f"is false for a {'NAT ' * (kind == 'nat')}router", "Remove it, or make the node a host."
        )
    node = NodeSpec(
        kind=kind,
        forward=forward,
        tun=read("tun", lambda value: _tun_address(value, 4, ip), ""),
        tun6=read("tun6", lambda value: _tun_address(value, 6, ip), ""),
        tuns=_tuns(problems, table, values, ip),
        ifname=read("ifname", names.ifname, "tun0"),
        mtu=read("mtu", units.mtu, 1500),
        loopback=_read_strings(problems, table, "loopback", values, lambda value: _loopback(value, ip)),
        routes=_routes(problems, table, values, ip) if "routes" in values else None,
        outside=read("outside", names.text, ""),
        run=_run(problems, table, values.get("run", ())),
        sysctls=_sysctls(problems, table, values.get("sysctls", {})),
        files=_files(problems, table, values.get("files", {})),
        image=read("image", names.text, ""),
        container=read("container", names.text, ""),
        env=_env(problems, table, values.get("env", {})),
    )
    _check_container(problems, table, values, node)
    if node.ifname in node.tuns and (node.tun or node.tun6):
        problems.add(f"{table}.tuns", node.ifname, "is already the name of tun", "Choose another name, or set ifname.")
    if ip != "ipv4" and node.mtu < units.LEAST_MTU_IPV6:
        problem = f"is {node.mtu}; the minimum for IPv6 is {units.LEAST_MTU_IPV6} (RFC 8200 section 5)"
        problems.add(table, "mtu", problem, f"Set {units.LEAST_MTU_IPV6} or more.")
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


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError(f"is {value!r}, which is not a boolean", "Write true or false, without quotes.")
    return value


def check_family(version: int, ip: Ip) -> None:
    """Raise InvalidValueError if the lab does not use this IP version."""
    if ip != "both" and ip != f"ipv{version}":
        used = "IPv4" if ip == "ipv4" else "IPv6"
        raise InvalidValueError(
            f"is IPv{version}; the lab uses {used} only",
            f'Set ip = "both" at the top, or remove the IPv{version} value.',
        )


def _tun_address(value: object, version: names.Version, ip: Ip) -> str:
    interface = names.interface(value, version)
    check_family(version, ip)
    return str(interface)


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
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        problems.add(table, key, f"is {given!r}, which is not a list", 'Write a list such as ["…"].')
        return ()
    parsed = [problems.read(table, f"{key}[{index}]", parser, value, "") for index, value in enumerate(given)]
    return tuple(each for each in parsed if each)


def _table(problems: Problems, table: str, key: str, values: object, hint: str) -> Mapping[str, Any]:
    if isinstance(values, dict):
        return values
    problems.add(table, key, f"is {values!r}, which is not a table", hint)
    return {}


def _tuns(problems: Problems, table: str, values: Mapping[str, Any], ip: Ip) -> dict[str, tuple[str, ...]]:
    hint = 'Write { tun0 = "10.1.2.1/24", tun1 = "10.1.3.1/24" }.'
    given = _table(problems, table, "tuns", values.get("tuns", {}), hint)
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


def _run(problems: Problems, table: str, given: object) -> tuple[CommandPlan, ...]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple):
        problems.add(table, "run", f"is {given!r}, which is not a list", 'Write ["python3 -m http.server 80"].')
        return ()
    commands = [_command(problems, f"{table}.run[{index}]", each) for index, each in enumerate(given)]
    return tuple(command for command in commands if command is not None)


def _command(problems: Problems, table: str, given: object) -> CommandPlan | None:
    arguments: tuple[str, ...] = ()
    if not isinstance(given, dict):
        arguments = problems.read(table, "", _arguments, given, arguments)
        return CommandPlan(arguments=arguments) if arguments else None
    problems.check_keys(table, given, _COMMAND_KEYS)
    arguments = problems.read(table, "command", _arguments, given.get("command", ""), arguments)
    timeout = problems.read(table, "timeout", units.seconds, given.get("timeout", "10s"), 10.0)
    port, line = 0, ""
    if "ready" in given:
        ready = _table(problems, table, "ready", given["ready"], 'Write { port = 80 } or { line = "listening" }.')
        problems.check_keys(f"{table}.ready", ready, _READY_KEYS)
        if isinstance(given["ready"], dict) and not set(_READY_KEYS) & set(ready):
            hint = 'Give port = 80 or line = "listening".'
            problems.add(table, "ready", "is empty", hint)
        if "port" in ready:
            port = problems.read(f"{table}.ready", "port", _port, ready["port"], 0)
        if "line" in ready:
            line = problems.read(f"{table}.ready", "line", _pattern, ready["line"], "")
    if not arguments:
        return None
    return CommandPlan(arguments=arguments, ready_port=port, ready_line=line, timeout=timeout)


def _arguments(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        try:
            arguments = shlex.split(given)
        except ValueError as error:
            raise InvalidValueError(
                f"is {given!r}, which cannot be split into words: {error}", "Close the quotes, or write a list."
            ) from None
        if shell := [word for word in arguments if word in _SHELL]:
            hint = f"Write {['sh', '-c', given]}.".replace("'", '"')
            raise InvalidValueError(f"contains {shell[0]!r}, but there is no shell", hint)
    elif isinstance(given, list) and all(isinstance(each, str) for each in given):
        arguments = given
    else:
        raise InvalidValueError(
            f"is {given!r}, which is not a command", 'Write "python3 -m http.server 80", or a list of words.'
        )
    if not arguments or not arguments[0].strip():
        raise InvalidValueError("is empty", 'Write a command such as "python3 -m http.server 80".')
    if any("\0" in each for each in arguments):
        raise InvalidValueError(f"is {given!r}, which contains a NUL", "Remove the NUL.")
    return tuple(arguments)


def _port(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 65_535:
        raise InvalidValueError(f"is {value!r}, which is not a TCP port", "Set 1 to 65535.")
    return value


def _pattern(value: object) -> str:
    pattern = names.text(value, 'Write a regular expression such as "listening".')
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidValueError(
            f"is {value!r}, which is not a regular expression: {error}", "Escape special characters with \\."
        ) from None
    return pattern


def _sysctls(problems: Problems, table: str, given: object) -> dict[str, str]:
    sysctls = {}
    hint = 'Write { "net.ipv4.tcp_sack" = 0 }.'
    for name, value in _table(problems, table, "sysctls", given, hint).items():
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


def _files(problems: Problems, table: str, given: object) -> dict[str, str]:
    files = {}
    for path, source in _table(problems, table, "files", given, 'Write { "/etc/motd" = "motd.txt" }.').items():
        files_table = f"{table}.files"
        if not path.startswith("/") or path.endswith("/") or {".", "..", ""} & set(path.split("/")[1:]) or "\0" in path:
            problems.add(files_table, path, "is not an absolute path of a file", 'Write a path such as "/etc/motd".')
        elif problems.read(files_table, path, names.text, source, ""):
            files[path] = source
    return files


def _env(problems: Problems, table: str, given: object) -> dict[str, str]:
    env = {}
    for name, value in _table(problems, table, "env", given, 'Write { "MODE" = "test" }.').items():
        if not name or "=" in name or "\0" in name:
            problems.add(f"{table}.env", name, "is not a variable name", "Remove = and NUL.")
        elif type(value) is int or (isinstance(value, str) and "\0" not in value):
            env[name] = str(value)
        else:
            problems.add(f"{table}.env", name, f"is {value!r}, which is not a value", "Write a string or a number.")
    return env


def _check_container(problems: Problems, table: str, values: Mapping[str, Any], node: NodeSpec) -> None:
    """Add errors for keys that a node with a container may not have."""
    if "env" in values and not node.image:
        problems.add(table, "env", "applies only to a container with an image", 'Add image = "…".')
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
