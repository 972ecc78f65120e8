"""The JSON schema of lab files, for completion in editors; `tunlab check --schema` prints it.

The schema checks each value by itself; tunlab.topology.lab_file.reader checks rules that involve several values.
Source: json-schema.org/draft-07, which TOML editors support.
"""

from __future__ import annotations

import json

from tunlab.topology.lab_file.node_table import KINDS
from tunlab.topology.lab_file.program_schema import commands, environment, file_keys, owner, program
from tunlab.topology.lab_file.schema_shapes import NUMBER, Schema, array, either, table, text, time
from tunlab.topology.spec import DEFAULT_NAME, DEFAULT_SUBNETS, DEFAULT_SUBNETS6, DEFAULT_TUN, DEFAULT_TUN6
from tunlab.topology.values.names import LONGEST_NAME, LONGEST_NODE_NAME
from tunlab.topology.values.units import LARGEST_MTU, LEAST_MTU

_NODE_NAME = "[a-z]([a-z0-9-]*[a-z0-9])?"
_IFNAME = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
_IPV4_CIDR = r"[0-9]+(\.[0-9]+){3}/[0-9]{1,2}"
_IPV6_CIDR = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/[0-9]{1,3}"


def _share(description: str) -> Schema:
    number = {"type": "number", "minimum": 0, "maximum": 1}
    return {**either(description, text("A percentage.", rf"{NUMBER}%\s*"), number), "examples": ["1%", 0.01]}


def _mtu(description: str) -> Schema:
    return {
        "description": description,
        "type": "integer",
        "minimum": LEAST_MTU,
        "maximum": LARGEST_MTU,
        "default": 1500,
    }


def _impairments(direction: str) -> Schema:
    rate = rf"{NUMBER}[KkMmGg]?[Bb][Ii][Tt]\s*"
    return {
        "rate": text(f"Bandwidth {direction}, in bits per second.", rate, examples=["500kbit", "10mbit", "1gbit"]),
        "delay": time(f"Delay of packets {direction}."),
        "jitter": time("Maximum deviation from the delay: a packet takes the delay plus or minus up to this time."),
        "loss": _share(f"Share of dropped packets {direction}."),
        "reorder": _share("Share of packets that skip the delay and so overtake earlier packets."),
        "duplicate": _share(f"Share of duplicated packets {direction}."),
    }


def _node() -> Schema:
    cidr = text("An address with prefix length.", f"{_IPV4_CIDR}|{_IPV6_CIDR}")
    command, setup_command = commands()
    one_program = program()
    route = table(
        "A route.",
        {
            "to": either("The destination network, or default.", {"enum": ["default", "default6"]}, cidr),
            "via": text("The address of the next hop, a neighbour.", r"[0-9A-Fa-f:.]+"),
        },
        ("to", "via"),
    )
    ifname = {"pattern": f"^({_IFNAME})$", "maxLength": LONGEST_NAME}
    tuns = {
        "description": "TUN devices: each interface name with its addresses.",
        "type": "object",
        "propertyNames": ifname,
        "additionalProperties": {"anyOf": [cidr, array(cidr, minItems=1)]},
        "examples": [{"tun0": "10.1.2.1/24", "tun1": "10.1.3.1/24"}],
    }
    properties = {
        "kind": {"description": "The kind of node; by default derived from its other keys.", "enum": list(KINDS)},
        "forward": {
            "description": "True if the node forwards packets.",
            "type": "boolean",
            "default": False,
        },
        "tun": {
            **either("Addresses with prefix length of the node's TUN device.", cidr, array(cidr, minItems=1)),
            "examples": [DEFAULT_TUN, DEFAULT_TUN6, [DEFAULT_TUN, DEFAULT_TUN6]],
        },
        "tuns": tuns,
        "ifname": text("Interface name of the TUN of `tun`.", _IFNAME, maxLength=LONGEST_NAME, default="tun0"),
        "mtu": _mtu("MTU of the node's TUN devices in bytes."),
        "loopback": either(
            "Additional addresses of the loopback interface.",
            array({"type": "string", "minLength": 1}),
            text("One address."),
        ),
        "routes": {**array(route), "description": "The node's routes, instead of the computed ones."},
        "outside": text("The outside of a NAT router: an interface, or the node at its other end."),
        "run": either(
            "Programs to start with the node.",
            array({"anyOf": [one_program, command]}),
            text("One program."),
        ),
        "setup": either(
            "Programs to run one after the other before those of `run`; each must exit with status 0.",
            array({"anyOf": [one_program, setup_command]}),
            text("One program."),
        ),
        "after": either(
            "Nodes whose programs are ready before this node starts its own.", array(text("A node.")), text("One node.")
        ),
        "sysctls": {
            "description": "Sysctls of the network namespace, set last: they override those that tunlab sets.",
            "type": "object",
            "propertyNames": {"pattern": r"^net[./]"},
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}]},
            "examples": [{"net.ipv4.tcp_sack": 0}],
        },
        **file_keys(),
        "image": text("The image of a container to start as this node.", examples=["nginx:alpine"]),
        "container": text("The name of a running container to use as this node."),
        "env": environment("Environment variables of the node's programs, or of the container that is started."),
        "user": owner("The user, or user:group, that the programs of `run` run as."),
        "cwd": text("The working directory of the programs of `run` and `setup`.", "/.*"),
    }
    node = table("A node: a machine with its interfaces, files and programs.", properties)
    return {**node, "not": {"required": ["image", "container"]}}


def _link() -> Schema:
    end = table(
        "An end with its settings.",
        {
            "node": text("The node's name.", _NODE_NAME, maxLength=LONGEST_NODE_NAME),
            "ifname": text("The interface name.", _IFNAME, maxLength=LONGEST_NAME),
            "address": text("The interface's IPv4 address.", r"[0-9.]+(/[0-9]{1,2})?"),
            "address6": text("The interface's IPv6 address.", r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?"),
            "mac": text("The interface's MAC address.", "[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}"),
            **_impairments("from this end"),
        },
        ("node",),
    )
    short_end = text("A node, or a node and an interface name.", f"{_NODE_NAME}(:{_IFNAME})?", examples=["router:lan0"])
    properties = {
        "ends": {
            **array({"anyOf": [short_end, end]}, minItems=2),
            "description": "The ends of the link; three or more make a bridge.",
        },
        "subnet": text("The link's IPv4 network.", _IPV4_CIDR, examples=["10.0.2.0/24"]),
        "subnet6": text("The link's IPv6 network.", _IPV6_CIDR, examples=["fd00:0:0:2::/64"]),
        "mtu": _mtu("MTU in bytes."),
        **_impairments("in each direction"),
    }
    return table("A link between two or more nodes.", properties, ("ends",))


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
        "name": text("The lab's name.", "[a-z0-9][a-z0-9-]*", maxLength=LONGEST_NAME, default=DEFAULT_NAME),
        "ip": {
            "description": "The IP versions of the lab; both by default if a TUN has an IPv6 address.",
            "enum": ["ipv4", "ipv6", "both"],
            "default": "ipv4",
        },
        "subnets": text("The network from which links get a /24 each.", _IPV4_CIDR, default=DEFAULT_SUBNETS),
        "subnets6": text("The network from which links get a /64 each.", _IPV6_CIDR, default=DEFAULT_SUBNETS6),
        "nodes": nodes,
        "links": {**array({"$ref": "#/definitions/link"}), "description": "The links between nodes."},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://raw.githubusercontent.com/tunlab/tunlab/main/lab/lab.schema.json",
        "title": "tunlab lab file",
        **table("A network of nodes and links, created by `tunlab up`.", properties),
        "definitions": {"node": _node(), "link": _link()},
    }


def schema_text() -> str:
    """Return the schema as text, ending in a newline."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
