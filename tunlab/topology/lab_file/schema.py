"""The JSON schema of lab files, for completion in editors; `tunlab check --schema` prints it.

The schema checks each value by itself; tunlab.topology.lab_file.reader checks rules that involve several values.
Source: json-schema.org/draft-07, which TOML editors support.
"""

from __future__ import annotations

import json
from typing import Any

from tunlab.topology.lab_file.node_table import KINDS
from tunlab.topology.spec import DEFAULT_NAME, DEFAULT_SUBNETS, DEFAULT_SUBNETS6, DEFAULT_TUN
from tunlab.topology.values.names import LONGEST_NAME, LONGEST_NODE_NAME
from tunlab.topology.values.units import LARGEST_MTU, LEAST_MTU

Schema = dict[str, Any]

_NUMBER = r"\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*"
_NODE_NAME = "[a-z]([a-z0-9-]*[a-z0-9])?"
_IFNAME = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
_IPV4_CIDR = r"[0-9]+(\.[0-9]+){3}/[0-9]{1,2}"
_IPV6_CIDR = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/[0-9]{1,3}"


def _text(description: str, pattern: str = "", **more: object) -> Schema:
    shape: Schema = {"pattern": f"^({pattern})$"} if pattern else {"minLength": 1}
    return {"description": description, "type": "string", **shape, **more}


def _table(description: str, properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    shape: Schema = {"required": list(required)} if required else {}
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **shape,
    }


def _either(description: str, *shapes: Schema) -> Schema:
    return {"description": description, "anyOf": list(shapes)}


def _list(items: Schema, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


def _time(description: str) -> Schema:
    return _text(
        description, rf"{_NUMBER}([uµm]?[sS]|[Uuµ][Ss]|[Mm][Ss]|[Mm][Ii][Nn])\s*", examples=["20ms", "1.5s", "100us"]
    )


def _share(description: str) -> Schema:
    number = {"type": "number", "minimum": 0, "maximum": 1}
    return {**_either(description, _text("A percentage.", rf"{_NUMBER}%\s*"), number), "examples": ["1%", 0.01]}


def _mtu(description: str) -> Schema:
    return {
        "description": description,
        "type": "integer",
        "minimum": LEAST_MTU,
        "maximum": LARGEST_MTU,
        "default": 1500,
    }


def _impairments(direction: str) -> Schema:
    rate = rf"{_NUMBER}[KkMmGg]?[Bb][Ii][Tt]\s*"
    return {
        "rate": _text(f"Bandwidth {direction}, in bits per second.", rate, examples=["500kbit", "10mbit", "1gbit"]),
        "delay": _time(f"Delay of packets {direction}."),
        "jitter": _time("Maximum deviation from the delay: a packet takes the delay plus or minus up to this time."),
        "loss": _share(f"Share of dropped packets {direction}."),
        "reorder": _share("Share of packets that skip the delay and so overtake earlier packets."),
        "duplicate": _share(f"Share of duplicated packets {direction}."),
    }


def _node() -> Schema:
    cidr = _text("An address with prefix length.", f"{_IPV4_CIDR}|{_IPV6_CIDR}")
    arguments = {**_list({"type": "string"}, minItems=1), "description": "As a list of arguments."}
    program = _either(
        "A program and its arguments; no shell interprets them.",
        _text("As one string, split like a shell command line.", examples=["python3 -m http.server 80"]),
        arguments,
    )
    ready = _table(
        "The condition under which the program is ready; `tunlab up` waits for it.",
        {
            "port": {
                "description": "A TCP port on which the program listens.",
                "type": "integer",
                "minimum": 1,
                "maximum": 65535,
            },
            "line": _text("A regular expression that matches a line of its output.", format="regex"),
        },
    )
    command = _table(
        "A program and its ready condition.",
        {
            "command": program,
            "ready": {**ready, "minProperties": 1},
            "timeout": _time("Maximum time until the program is ready."),
        },
        ("command",),
    )
    route = _table(
        "A route.",
        {
            "to": _either("The destination network, or default.", {"enum": ["default", "default6"]}, cidr),
            "via": _text("The address of the next hop, a neighbour.", r"[0-9A-Fa-f:.]+"),
        },
        ("to", "via"),
    )
    ifname = {"pattern": f"^({_IFNAME})$", "maxLength": LONGEST_NAME}
    tuns = {
        "description": "TUN devices: each interface name with its addresses.",
        "type": "object",
        "propertyNames": ifname,
        "additionalProperties": {"anyOf": [cidr, _list(cidr, minItems=1)]},
        "examples": [{"tun0": "10.1.2.1/24", "tun1": "10.1.3.1/24"}],
    }
    properties = {
        "kind": {"description": "The kind of node; by default derived from its other keys.", "enum": list(KINDS)},
        "forward": {
            "description": "True if the node forwards packets.",
            "type": "boolean",
            "default": False,
        },
        "tun": _text("IPv4 address and prefix length of the node's TUN device.", _IPV4_CIDR, examples=[DEFAULT_TUN]),
        "tun6": _text("IPv6 address and prefix length of the TUN of `tun`.", _IPV6_CIDR, examples=["fd00:1:2::1/64"]),
        "tuns": tuns,
        "ifname": _text(
            "Interface name of the TUN of `tun` and `tun6`.", _IFNAME, maxLength=LONGEST_NAME, default="tun0"
        ),
        "mtu": _mtu("MTU of the node's TUN devices in bytes."),
        "loopback": _either(
            "Additional addresses of the loopback interface.",
            _list({"type": "string", "minLength": 1}),
            _text("One address."),
        ),
        "routes": {**_list(route), "description": "The node's routes, instead of the computed ones."},
        "outside": _text("The outside of a NAT router: an interface, or the node at its other end."),
        "run": _either(
            "Programs to start with the node.",
            _list({"anyOf": [program, command]}),
            _text("One program."),
        ),
        "sysctls": {
            "description": "Sysctls of the network namespace, set last: they override those that tunlab sets.",
            "type": "object",
            "propertyNames": {"pattern": r"^net[./]"},
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}]},
            "examples": [{"net.ipv4.tcp_sack": 0}],
        },
        "files": {
            "description": "Files to mount: the path in the node, and the source file relative to the lab file.",
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {"type": "string", "minLength": 1},
            "examples": [{"/etc/motd": "motd.txt"}],
        },
        "image": _text("The image of a container to start as this node.", examples=["nginx:alpine"]),
        "container": _text("The name of a running container to use as this node."),
        "env": {
            "description": "Environment variables of the container that is started.",
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "examples": [{"MODE": "test"}],
        },
    }
    node = _table("A node: a network namespace with its interfaces and programs.", properties)
    return {**node, "not": {"required": ["image", "container"]}}


def _link() -> Schema:
    end = _table(
        "An end with its settings.",
        {
            "node": _text("The node's name.", _NODE_NAME, maxLength=LONGEST_NODE_NAME),
            "ifname": _text("The interface name.", _IFNAME, maxLength=LONGEST_NAME),
            "address": _text("The interface's IPv4 address.", r"[0-9.]+(/[0-9]{1,2})?"),
            "address6": _text("The interface's IPv6 address.", r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?"),
            "mac": _text("The interface's MAC address.", "[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}"),
            **_impairments("from this end"),
        },
        ("node",),
    )
    short_end = _text(
        "A node, or a node and an interface name.", f"{_NODE_NAME}(:{_IFNAME})?", examples=["router:lan0"]
    )
    properties = {
        "ends": {
            **_list({"anyOf": [short_end, end]}, minItems=2),
            "description": "The ends of the link; three or more make a bridge.",
        },
        "subnet": _text("The link's IPv4 network.", _IPV4_CIDR, examples=["10.0.2.0/24"]),
        "subnet6": _text("The link's IPv6 network.", _IPV6_CIDR, examples=["fd00:0:0:2::/64"]),
        "mtu": _mtu("MTU in bytes."),
        **_impairments("in each direction"),
    }
    return _table("A link between two or more nodes.", properties, ("ends",))


def schema() -> Schema:
    """Return the schema as a JSON document."""
    nodes = {
        "description": "The nodes by name. A name is also a host name in the lab.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{_NODE_NAME}$", "maxLength": LONGEST_NODE_NAME},
        "additionalProperties": {"$ref": "#/definitions/node"},
    }
    properties = {
        "name": _text("The lab's name.", "[a-z0-9][a-z0-9-]*", maxLength=LONGEST_NAME, default=DEFAULT_NAME),
        "ip": {"description": "The IP versions of the lab.", "enum": ["ipv4", "ipv6", "both"], "default": "ipv4"},
        "subnets": _text("The network from which links get a /24 each.", _IPV4_CIDR, default=DEFAULT_SUBNETS),
        "subnets6": _text("The network from which links get a /64 each.", _IPV6_CIDR, default=DEFAULT_SUBNETS6),
        "nodes": nodes,
        "links": {**_list({"$ref": "#/definitions/link"}), "description": "The links between nodes."},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://raw.githubusercontent.com/tunlab/tunlab/main/lab/lab.schema.json",
        "title": "tunlab lab file",
        **_table("A network of nodes and links, created by `tunlab up`.", properties),
        "definitions": {"node": _node(), "link": _link()},
    }


def schema_text() -> str:
    """Return the schema as text, ending in a newline."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
