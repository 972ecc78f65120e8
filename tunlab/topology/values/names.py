"""What labs, nodes, interfaces, hardware and networks may be called, and what not.

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
"""Characters of a lab's name and of an interface's."""
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
    4: 'give an IPv4 address and the prefix length of its network, as "10.1.2.1/24"',
    6: 'give an IPv6 address and the prefix length of its network, as "fd00:0:0:1::1/64"',
}
_SUBNET_HINTS = {4: 'give an IPv4 network, as "10.0.1.0/24"', 6: 'give an IPv6 network, as "fd00:0:0:1::/64"'}


def text(value: object, hint: str = "") -> str:
    """A text that is not empty. Raises InvalidValueError."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no text", hint)
    if not value.strip() or "\0" in value:
        raise InvalidValueError(f"{value!r} says nothing", hint)
    return value


def lab_name(name: object) -> str:
    """1 to 15 of a-z, 0-9 and "-", the first no "-". Raises InvalidValueError."""
    hint = f"take 1 to {LONGEST_NAME} of a-z, 0-9 and -"
    if not isinstance(name, str):
        raise InvalidValueError(f"{name!r} is no text", hint)
    if not name:
        raise InvalidValueError("a lab needs a name", hint)
    if len(name) > LONGEST_NAME:
        problem = f"{name!r} has {len(name)} characters, and a lab's name has {LONGEST_NAME} at most"
        raise InvalidValueError(problem, hint)
    if not _LAB_NAME.fullmatch(name):
        raise InvalidValueError(f"a lab cannot be called {name!r}", hint)
    return name


def check_lab_name(name: object, *, file: str = "", key: str = "name") -> str:
    """`name` if a lab may be called so: 1 to 15 of a-z, 0-9 and "-", the first no "-". Raises TopologyError."""
    try:
        return lab_name(name)
    except InvalidValueError as error:
        raise TopologyError(error.problem, file=file, key=key, hint=error.hint) from None


def node_name(name: str) -> str:
    """A host name: 1 to 63 of a-z, 0-9 and "-", a letter first and no "-" last. Raises InvalidValueError."""
    hint = f"take 1 to {LONGEST_NODE_NAME} of a-z, 0-9 and -, a letter first and no - last"
    if len(name) > LONGEST_NODE_NAME or not _NODE_NAME.fullmatch(name):
        raise InvalidValueError(f"a node cannot be called {name!r}", hint)
    if name == "localhost":
        raise InvalidValueError("every node is localhost to itself", "take another name")
    return name


def ifname(name: object) -> str:
    """1 to 15 characters that the kernel and its sysctls take. Raises InvalidValueError."""
    hint = 'give one like "tun0"'
    if not isinstance(name, str):
        raise InvalidValueError(f"{name!r} is no text", hint)
    if len(name) > LONGEST_NAME:
        problem = f"{name!r} has {len(name)} characters, and the kernel takes {LONGEST_NAME} at most"
        raise InvalidValueError(problem, hint)
    if not _IFNAME.fullmatch(name):
        hint = f"take 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, _, . and -"
        raise InvalidValueError(f"a device cannot be called {name!r}", hint)
    if name in ("lo", "all", "default"):  # the last two are sysctl's, net.ipv4.conf.all
        raise InvalidValueError(f"{name!r} is taken in every namespace", hint)
    return name


def hardware_address(value: object) -> str:
    """Six octets, "02:00:00:00:01:01", of one station. Raises InvalidValueError."""
    hint = 'write six octets, as "02:00:00:00:01:01"'
    if not isinstance(value, str) or not _HARDWARE_ADDRESS.fullmatch(value):
        raise InvalidValueError(f"{value!r} is no hardware address", hint)
    if int(value[:2], 16) & 1:
        problem = f"{value!r} is the address of a group (its first octet is odd), and an interface has one of its own"
        raise InvalidValueError(problem, 'let the first octet be even, as "02"')
    if not int(value.replace(":", ""), 16):
        raise InvalidValueError(f"{value!r} is no hardware address", hint)
    return value.lower()


def interface(value: object, version: Version) -> Interface:
    """An address with the prefix length of its network, as a device has it. Raises InvalidValueError."""
    hint = CIDR_HINTS[version]
    kind = ipaddress.IPv4Interface if version == 4 else ipaddress.IPv6Interface
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no text", hint)
    try:
        own: Interface = kind(value)
    except ValueError:
        raise InvalidValueError(f"{value!r} is no address", hint) from None
    if "/" not in value or not value.rpartition("/")[2].isdecimal():
        raise InvalidValueError(f"{value!r} has no prefix length", hint)
    station(own.ip, value, hint)
    return own


def station(address: Address, written: str, hint: str) -> None:
    """Nothing, if a device can have this address. Raises InvalidValueError."""
    broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    alone = address.version == 6 and address.is_link_local  # which says nothing without an interface
    if address.is_unspecified or address.is_multicast or address.is_loopback or broadcast or alone:
        raise InvalidValueError(f"{written!r} is no address that a device can have", hint)


def any_interface(value: object) -> Interface:
    """The same, of either family. Raises InvalidValueError."""
    return interface(value, 6 if isinstance(value, str) and ":" in value else 4)


def subnet(value: object, version: Version) -> Network:
    """A network, with no host in it named. Raises InvalidValueError."""
    hint = _SUBNET_HINTS[version]
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no text", hint)
    if "/" not in value or not value.rpartition("/")[2].isdecimal():
        raise InvalidValueError(f"{value!r} has no prefix length", hint)
    try:
        network: Network = kind(value, strict=False)
    except ValueError:
        raise InvalidValueError(f"{value!r} is no network", hint) from None
    if network.network_address != kind(value.partition("/")[0] + f"/{network.max_prefixlen}").network_address:
        raise InvalidValueError(f"{value!r} is a host's address", f'the network is "{network}"')
    first = network.network_address
    nowhere = first.is_unspecified and network.prefixlen  # without a length it is all there is: the default route
    if network.is_multicast or first.is_loopback or nowhere or (first.version == 6 and first.is_link_local):
        raise InvalidValueError(f"{value!r} is no network that a link can have", hint)
    return network


def host_address(value: object) -> Address:
    """An address without a prefix length. Raises InvalidValueError."""
    hint = 'give an address, as "10.0.1.1"'
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no text", hint)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise InvalidValueError(f"{value!r} is no address", hint) from None
    station(address, value, hint)
    return address
