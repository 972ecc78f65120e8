"""The JSON schema of a lab file, by which editors complete it: `tunlab check --schema` prints it.

It describes each value alone; rules between values are checked by tunlab.topology.lab_file.reader.
Source: json-schema.org/draft-07, which the editors of TOML know.
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
    return {**_either(description, _text("percent", rf"{_NUMBER}%\s*"), number), "examples": ["1%", 0.01]}


def _mtu(description: str) -> Schema:
    return {
        "description": description,
        "type": "integer",
        "minimum": LEAST_MTU,
        "maximum": LARGEST_MTU,
        "default": 1500,
    }


def _impairments(whose: str) -> Schema:
    rate = rf"{_NUMBER}[KkMmGg]?[Bb][Ii][Tt]\s*"
    return {
        "rate": _text(f"Bits per second {whose}.", rate, examples=["500kbit", "10mbit", "1gbit"]),
        "delay": _time(f"How long each packet is held back {whose}."),
        "jitter": _time("By how much the delay varies, either way."),
        "loss": _share(f"The share of packets that is lost {whose}."),
        "reorder": _share("The share of packets that is not held back, and so overtakes others."),
        "duplicate": _share(f"The share of packets that comes twice {whose}."),
    }


def _node() -> Schema:
    cidr = _text("An address with its prefix length.", f"{_IPV4_CIDR}|{_IPV6_CIDR}")
    words = _list({"type": "string"}, minItems=1)
    program = _either(
        "A program and its arguments; there is no shell.",
        _text("In one text.", examples=["python3 -m http.server 80"]),
        words,
    )
    ready = _table(
        "How it is known to be ready.",
        {
            "port": {"description": "A TCP port that it opens.", "type": "integer", "minimum": 1, "maximum": 65535},
            "line": _text("A regular expression that a line of its output matches.", format="regex"),
        },
    )
    command = _table(
        "A program that says when it is ready.",
        {"command": program, "ready": {**ready, "minProperties": 1}, "timeout": _time("How long that may take.")},
        ("command",),
    )
    route = _table(
        "A route.",
        {
            "to": _either("A network, or all.", {"enum": ["default", "default6"]}, cidr),
            "via": _text("The address of a neighbour.", r"[0-9A-Fa-f:.]+"),
        },
        ("to", "via"),
    )
    ifname = {"pattern": f"^({_IFNAME})$", "maxLength": LONGEST_NAME}
    tuns = {
        "description": "More TUN devices: their addresses by their names.",
        "type": "object",
        "propertyNames": ifname,
        "additionalProperties": {"anyOf": [cidr, _list(cidr, minItems=1)]},
        "examples": [{"tun0": "10.1.2.1/24", "tun1": "10.1.3.1/24"}],
    }
    properties = {
        "kind": {"description": "What it is; by default, what its other keys make of it.", "enum": list(KINDS)},
        "forward": {"description": "Whether it passes on what is not for it.", "type": "boolean", "default": False},
        "tun": _text("The IPv4 address of a TUN device.", _IPV4_CIDR, examples=[DEFAULT_TUN]),
        "tun6": _text("The IPv6 address of that TUN device.", _IPV6_CIDR, examples=["fd00:1:2::1/64"]),
        "tuns": tuns,
        "ifname": _text("The TUN device's name.", _IFNAME, maxLength=LONGEST_NAME, default="tun0"),
        "mtu": _mtu("The TUN devices' MTU in octets."),
        "loopback": _either(
            "Addresses of its own, on no link.", _list({"type": "string", "minLength": 1}), _text("One.")
        ),
        "routes": {**_list(route), "description": "Its routes, in place of those that are worked out."},
        "outside": _text("Of a NAT router: the link, by node or interface, behind which it hides the others."),
        "run": _either(
            "Programs that it starts with.", _list({"anyOf": [program, command]}), _text("One, in one text.")
        ),
        "sysctls": {
            "description": "Sysctls of its network namespace.",
            "type": "object",
            "propertyNames": {"pattern": r"^net[./]"},
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}]},
            "examples": [{"net.ipv4.tcp_sack": 0}],
        },
        "files": {
            "description": "Files to mount: the path inside the node, and the file beside the lab file.",
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {"type": "string", "minLength": 1},
            "examples": [{"/etc/motd": "motd.txt"}],
        },
        "image": _text("The image of a container to start.", examples=["nginx:alpine"]),
        "container": _text("The name of a container that runs already."),
        "env": {
            "description": "Variables for the container that is started.",
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "examples": [{"MODE": "test"}],
        },
    }
    node = _table("A node: a network namespace and what is in it.", properties)
    return {**node, "not": {"required": ["image", "container"]}}


def _link() -> Schema:
    end = _table(
        "An end, exactly.",
        {
            "node": _text("The node's name.", _NODE_NAME, maxLength=LONGEST_NODE_NAME),
            "ifname": _text("The interface's name.", _IFNAME, maxLength=LONGEST_NAME),
            "address": _text("Its IPv4 address.", r"[0-9.]+(/[0-9]{1,2})?"),
            "address6": _text("Its IPv6 address.", r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?"),
            "mac": _text("Its hardware address.", "[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}"),
            **_impairments("on the way out of this end"),
        },
        ("node",),
    )
    brief = _text(
        "A node, or a node and the name of its interface.", f"{_NODE_NAME}(:{_IFNAME})?", examples=["router:lan0"]
    )
    properties = {
        "ends": {
            **_list({"anyOf": [brief, end]}, minItems=2),
            "description": "The nodes that it joins; three or more make a bridge.",
        },
        "subnet": _text("Its IPv4 network.", _IPV4_CIDR, examples=["10.0.2.0/24"]),
        "subnet6": _text("Its IPv6 network.", _IPV6_CIDR, examples=["fd00:0:0:2::/64"]),
        "mtu": _mtu("Its MTU in octets."),
        **_impairments("in each direction"),
    }
    return _table("A link.", properties, ("ends",))


def schema() -> Schema:
    """The schema, as a document for `json`."""
    nodes = {
        "description": "The nodes, by their names.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{_NODE_NAME}$", "maxLength": LONGEST_NODE_NAME},
        "additionalProperties": {"$ref": "#/definitions/node"},
    }
    properties = {
        "name": _text("What the lab is called.", "[a-z0-9][a-z0-9-]*", maxLength=LONGEST_NAME, default=DEFAULT_NAME),
        "ip": {"description": "What it speaks.", "enum": ["ipv4", "ipv6", "both"], "default": "ipv4"},
        "subnets": _text("Where links get their IPv4 networks, a /24 each.", _IPV4_CIDR, default=DEFAULT_SUBNETS),
        "subnets6": _text("Where links get their IPv6 networks, a /64 each.", _IPV6_CIDR, default=DEFAULT_SUBNETS6),
        "nodes": nodes,
        "links": {**_list({"$ref": "#/definitions/link"}), "description": "The links."},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://raw.githubusercontent.com/tunlab/tunlab/main/lab/lab.schema.json",
        "title": "A lab file of tunlab",
        **_table("A network of namespaces, TUN devices and links: tunlab up makes it.", properties),
        "definitions": {"node": _node(), "link": _link()},
    }


def schema_text() -> str:
    """The schema as it is published, ending in a newline."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
