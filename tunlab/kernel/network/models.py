"""Links, addresses, routes, rules and neighbours, as snapshots of the kernel's tables.

Source: rtnetlink(7), <linux/if_link.h>, <linux/rtnetlink.h>, <linux/fib_rules.h>, <linux/neighbour.h>.
"""

from __future__ import annotations

import socket
from typing import Any

import msgspec

# from <linux/if.h>
IFF_UP = 0x1
IFF_RUNNING = 0x40

# The index of a route type is its number: RTN_* of <linux/rtnetlink.h>.
ROUTE_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast",
    "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve",
)  # fmt: skip

# neighbour states: NUD_* of <linux/neighbour.h>
_NEIGHBOUR_STATES = {
    0x00: "none", 0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay",
    0x10: "probe", 0x20: "failed", 0x40: "noarp", 0x80: "permanent",
}  # fmt: skip


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An interface. The rx_* and tx_* counters start at its creation; rx of a TUN counts written packets.

    Attributes:
        index: The index in its namespace.
        name: The name.
        kind: "tun", "veth", "bridge", …; "" for lo and hardware.
        mtu: The MTU in bytes.
        up: True if set up by the administrator (IFF_UP).
        running: True if up and with a carrier (IFF_RUNNING).
        carrier: True if the driver reports a carrier.
        operstate: "up", "down", "lowerlayerdown", "dormant", "unknown", … (RFC 2863).
        hardware_address: The Ethernet address, as "02:00:00:00:00:01"; "" for a TUN.
        txqueuelen: The length of the transmit queue in packets.
        flags: IFF_*.
        master: The index of the bridge that it belongs to; 0 for none.
        peer_index: The index of a veth's other end in that end's namespace; 0 for none.
    """

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    running: bool
    carrier: bool
    operstate: str
    hardware_address: str
    txqueuelen: int
    flags: int
    master: int
    peer_index: int
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address of an interface.

    Attributes:
        ifindex: The interface.
        family: socket.AF_INET or AF_INET6.
        address: The address, as "10.1.2.1".
        prefix_length: The prefix length.
        peer: The other end's address on a point-to-point link, or "".
        scope: 0 for global, 253 for link, 254 for host (RT_SCOPE_*).
        flags: IFA_F_*.
    """

    ifindex: int
    family: int
    address: str
    prefix_length: int
    peer: str
    scope: int
    flags: int

    @property
    def cidr(self) -> str:
        """The address with its prefix length, as "10.1.2.1/24"."""
        return f"{self.address}/{self.prefix_length}"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route.

    Attributes:
        family: socket.AF_INET or AF_INET6.
        dst: "192.0.2.0/24" or "default".
        type: "unicast", "local", "broadcast", "multicast", "blackhole", "unreachable", "prohibit" or "throw".
        via: The next hop, or "".
        ifindex: The outgoing interface; 0 for none (a blackhole) or several next hops.
        table: The number of the routing table.
        source: The preferred source address, or "".
        metric: The priority; the lowest wins.
        scope: RT_SCOPE_*.
        protocol: RTPROT_*, the origin of the route.
        mtu: The route's MTU in bytes; 0 if it has none.
    """

    family: int
    dst: str
    type: str
    via: str
    ifindex: int
    table: int
    source: str
    metric: int
    scope: int
    protocol: int
    mtu: int


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A policy routing rule. `src`, `dst`, `iif` and `oif` are "" if they match anything; `table` 0 means no lookup."""

    family: int
    priority: int
    src: str
    dst: str
    iif: str
    oif: str
    fwmark: int
    table: int
    action: int


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A neighbour entry (ARP, NDP); `state` is "reachable", "stale", "permanent", "failed", …"""

    ifindex: int
    family: int
    address: str
    hardware_address: str
    state: str


# ---- conversion of decoded pyroute2 messages: fields are keys, attributes are read with get_attr() -----------------


def link_from_message(message: Any) -> Link:
    """Convert an ifinfmsg to a Link."""
    get, flags = message.get_attr, message["flags"]
    counters = get("IFLA_STATS64") or get("IFLA_STATS") or {}
    info = get("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    return Link(
        index=message["index"],
        name=get("IFLA_IFNAME"),
        kind=kind or "",
        mtu=get("IFLA_MTU") or 0,
        up=bool(flags & IFF_UP),
        running=bool(flags & IFF_RUNNING),
        carrier=bool(get("IFLA_CARRIER")),
        operstate=(get("IFLA_OPERSTATE") or "unknown").lower(),
        hardware_address=get("IFLA_ADDRESS") or "",
        txqueuelen=get("IFLA_TXQLEN") or 0,
        flags=flags,
        master=get("IFLA_MASTER") or 0,
        peer_index=(get("IFLA_LINK") or 0) if kind == "veth" else 0,
        **{name: counters.get(name, 0) for name in COUNTERS},
    )


COUNTERS = tuple(name for name in Link.__struct_fields__ if name.startswith(("rx_", "tx_")))


def address_from_message(message: Any) -> Address:
    """Convert an ifaddrmsg to an Address."""
    # If IFA_LOCAL is present, IFA_ADDRESS is the address of the other end, else of the interface (<linux/if_addr.h>).
    address, local = message.get_attr("IFA_ADDRESS"), message.get_attr("IFA_LOCAL")
    flags = message.get_attr("IFA_FLAGS")
    return Address(
        ifindex=message["index"],
        family=message["family"],
        address=local or address,
        prefix_length=message["prefixlen"],
        peer=address if local and local != address else "",
        scope=message["scope"],
        flags=message["flags"] if flags is None else flags,
    )


def route_from_message(message: Any) -> Route:
    """Convert a rtmsg to a Route."""
    get, dst, metrics = message.get_attr, message.get_attr("RTA_DST"), message.get_attr("RTA_METRICS")
    length, number = message["dst_len"], message["type"]
    anywhere = "::" if message["family"] == socket.AF_INET6 else "0.0.0.0"
    return Route(
        family=message["family"],
        dst=f"{dst or anywhere}/{length}" if length else "default",
        type=ROUTE_TYPES[number] if number < len(ROUTE_TYPES) else str(number),
        via=get("RTA_GATEWAY") or (get("RTA_VIA") or {}).get("addr", ""),
        ifindex=get("RTA_OIF") or 0,
        table=get("RTA_TABLE") or message["table"],
        source=get("RTA_PREFSRC") or "",
        metric=get("RTA_PRIORITY") or 0,
        scope=message["scope"],
        protocol=message["proto"],
        mtu=(metrics.get_attr("RTAX_MTU") if metrics else 0) or 0,
    )


def rule_from_message(message: Any) -> Rule:
    """Convert a fibmsg to a Rule."""
    get = message.get_attr
    src, dst = get("FRA_SRC"), get("FRA_DST")
    return Rule(
        family=message["family"],
        priority=get("FRA_PRIORITY") or 0,
        src=f"{src}/{message['src_len']}" if src else "",
        dst=f"{dst}/{message['dst_len']}" if dst else "",
        iif=get("FRA_IIFNAME") or "",
        oif=get("FRA_OIFNAME") or "",
        fwmark=get("FRA_FWMARK") or 0,
        table=get("FRA_TABLE") or message["table"],
        action=message["action"],
    )


def neighbour_from_message(message: Any) -> Neighbour:
    """Convert an ndmsg to a Neighbour."""
    return Neighbour(
        ifindex=message["ifindex"],
        family=message["family"],
        address=message.get_attr("NDA_DST") or "",
        hardware_address=message.get_attr("NDA_LLADDR") or "",
        state=_NEIGHBOUR_STATES.get(message["state"], str(message["state"])),
    )
