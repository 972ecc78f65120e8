"""Check names and addresses of labs, nodes, interfaces and networks.

Source: dev_valid_name() in the kernel's net/core/dev.c for interfaces; RFC 1123 section 2.1 for nodes, whose names are
host names; IEEE 802-2014 section 8.2 for hardware addresses.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

from tunlab.errors import TopologyError
from tunlab.topology.values.problems import InvalidValueError

LONGEST_NAME = 15
"""Maximum length of the name of a lab or interface."""
LONGEST_NODE_NAME = 63

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Version = Literal[4, 6]

_LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_NODE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_IFNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")

CIDR_HINTS = {
    4: 'Write an IPv4 address with prefix length, such as "10.1.2.1/24".',
    6: 'Write an IPv6 address with prefix length, such as "fd00:0:0:1::1/64".',
}
_SUBNET_HINTS = {
    4: 'Write an IPv4 network such as "10.0.1.0/24".',
    6: 'Write an IPv6 network such as "fd00:0:0:1::/64".',
}


def text(value: object, hint: str = "Write a non-empty string.") -> str:
    """Return the value if it is a string and not empty. Raises InvalidValueError."""
    if not isinstance(value, str):
        raise InvalidValueError(f"is {value!r}, which is not a string", hint)
    if not value.strip() or "\0" in value:
        raise InvalidValueError(f"is {value!r}, which is empty or contains a NUL", hint)
    return value


def lab_name(name: object) -> str:
    """Check a lab's name: 1 to 15 characters of a-z, 0-9 and "-", not starting with "-". Raises InvalidValueError."""
    hint = f"Use 1 to {LONGEST_NAME} characters of a-z, 0-9 and -, not starting with -."
    if not isinstance(name, str):
        raise InvalidValueError(f"is {name!r}, which is not a string", hint)
    if not name:
        raise InvalidValueError("is empty", hint)
    if len(name) > LONGEST_NAME:
        problem = f"is {name!r}, which has {len(name)} characters; the maximum is {LONGEST_NAME}"
        raise InvalidValueError(problem, hint)
    if not _LAB_NAME.fullmatch(name):
        raise InvalidValueError(f"is {name!r}, which is not a valid lab name", hint)
    return name


def check_lab_name(name: object, *, file: str = "", key: str = "name") -> str:
    """Check a lab's name like `lab_name`, and return it. Raises TopologyError."""
    try:
        return lab_name(name)
    except InvalidValueError as error:
        raise TopologyError(error.problem, file=file, key=key, hint=error.hint) from None


def node_name(name: str) -> str:
    """Check a node's name: 1 to 63 characters of a-z, 0-9 and "-", starting with a letter, not ending with "-"."""
    hint = f"Use 1 to {LONGEST_NODE_NAME} characters of a-z, 0-9 and -, starting with a letter, not ending with -."
    if len(name) > LONGEST_NODE_NAME or not _NODE_NAME.fullmatch(name):
        raise InvalidValueError("is not a valid node name", hint)
    if name == "localhost":
        raise InvalidValueError("is reserved: every node resolves it to itself", "Choose another name.")
    return name


def ifname(name: object) -> str:
    """Check an interface name: 1 to 15 characters that the kernel and its sysctls accept."""
    hint = 'Choose a name such as "tun0".'
    if not isinstance(name, str):
        raise InvalidValueError(f"is {name!r}, which is not a string", hint)
    if len(name) > LONGEST_NAME:
        problem = f"is {name!r}, which has {len(name)} characters; the kernel's maximum is {LONGEST_NAME}"
        raise InvalidValueError(problem, hint)
    if not _IFNAME.fullmatch(name):
        hint = f"Use 1 to {LONGEST_NAME} characters of a-z, A-Z, 0-9, _, . and -."
        raise InvalidValueError(f"is {name!r}, which is not a valid interface name", hint)
    if name in ("lo", "all", "default"):  # "all" and "default" are sysctl names, as in net.ipv4.conf.all
        raise InvalidValueError(f"is {name!r}, which is reserved in every namespace", hint)
    return name


def hardware_address(value: object) -> str:
    """Check a unicast MAC address such as "02:00:00:00:01:01". Raises InvalidValueError."""
    hint = 'Write six bytes such as "02:00:00:00:01:01".'
    if not isinstance(value, str) or not _HARDWARE_ADDRESS.fullmatch(value):
        raise InvalidValueError(f"is {value!r}, which is not a MAC address", hint)
    if int(value[:2], 16) & 1:
        problem = f"is {value!r}, a multicast address (its first byte is odd)"
        raise InvalidValueError(problem, 'Use an even first byte such as "02".')
    if not int(value.replace(":", ""), 16):
        raise InvalidValueError(f"is {value!r}, which is not a MAC address", hint)
    return value.lower()


def interface(value: object, version: Version) -> Interface:
    """Check an interface address with prefix length. Raises InvalidValueError."""
    hint = CIDR_HINTS[version]
    kind = ipaddress.IPv4Interface if version == 4 else ipaddress.IPv6Interface
    if not isinstance(value, str):
        raise InvalidValueError(f"is {value!r}, which is not a string", hint)
    try:
        parsed: Interface = kind(value)
    except ValueError:
        raise InvalidValueError(f"is {value!r}, which is not an address", hint) from None
    if "/" not in value or not value.rpartition("/")[2].isdecimal():
        raise InvalidValueError(f"is {value!r}, which has no prefix length", hint)
    check_usable(parsed.ip, value, hint)
    return parsed


def check_usable(address: Address, text: str, hint: str) -> None:
    """Raise InvalidValueError for an address that an interface of a lab may not have."""
    broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    link_local = address.version == 6 and address.is_link_local  # ambiguous, because every link has fe80::/64
    if address.is_unspecified or address.is_multicast or address.is_loopback or broadcast or link_local:
        raise InvalidValueError(f"is {text!r}, which is not a usable interface address", hint)


def any_interface(value: object) -> Interface:
    """Check an IPv4 or IPv6 interface address with prefix length. Raises InvalidValueError."""
    return interface(value, 6 if isinstance(value, str) and ":" in value else 4)


def subnet(value: object, version: Version) -> Network:
    """Check a network address with prefix length. Raises InvalidValueError."""
    hint = _SUBNET_HINTS[version]
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    if not isinstance(value, str):
        raise InvalidValueError(f"is {value!r}, which is not a string", hint)
    if "/" not in value or not value.rpartition("/")[2].isdecimal():
        raise InvalidValueError(f"is {value!r}, which has no prefix length", hint)
    try:
        network: Network = kind(value, strict=False)
    except ValueError:
        raise InvalidValueError(f"is {value!r}, which is not a network", hint) from None
    if network.network_address != kind(value.partition("/")[0] + f"/{network.max_prefixlen}").network_address:
        raise InvalidValueError(f"is {value!r}, which is the address of a host", f'The network is "{network}".')
    first = network.network_address
    unspecified = first.is_unspecified and network.prefixlen  # 0.0.0.0/0 is allowed, for the default route
    if network.is_multicast or first.is_loopback or unspecified or (first.version == 6 and first.is_link_local):
        raise InvalidValueError(f"is {value!r}, which is not a usable network", hint)
    return network


def host_address(value: object) -> Address:
    """Check an address without prefix length. Raises InvalidValueError."""
    hint = 'Write an address such as "10.0.1.1".'
    if not isinstance(value, str):
        raise InvalidValueError(f"is {value!r}, which is not a string", hint)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise InvalidValueError(f"is {value!r}, which is not an address", hint) from None
    check_usable(address, value, hint)
    return address
