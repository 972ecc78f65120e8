"""rtnetlink in one namespace: links, addresses, routes, rules and neighbours, by pyroute2's message classes.

Source: rtnetlink(7), <linux/rtnetlink.h>, <linux/if_link.h>.
Rule for editors: this is the one file that imports pyroute2, and only when the first message is made: that costs
0.1 to 0.3 s. Its IPRoute is not used: it brings an event loop (5 ms), and its link("add", kind="tun") forks.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from tunlab.errors import KernelError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink import constants as nl
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NetlinkSocket,
    pack_message,
)
from tunlab.kernel.network.models import (
    IFF_RUNNING,
    IFF_UP,
    Address,
    Link,
    Neighbour,
    Route,
    Rule,
    address_from_message,
    link_from_message,
    neighbour_from_message,
    route_from_message,
    rule_from_message,
)
from tunlab.kernel.network.request_attributes import address_family, address_request, link_attributes, route_request
from tunlab.kernel.validation import check_hardware_address, check_ifname, check_mtu, parse_address, parse_interface

RT_TABLE_MAIN = 254

_NEW = NLM_F_CREATE | NLM_F_EXCL


@cache
def message_classes() -> dict[str, Any]:
    """Those of pyroute2 that are spoken here, by their names."""
    from pyroute2.netlink.rtnl.fibmsg import fibmsg
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg
    from pyroute2.netlink.rtnl.tcmsg import tcmsg

    return {kind.__name__: kind for kind in (fibmsg, ifaddrmsg, ifinfmsg, ndmsg, rtmsg, tcmsg)}


class Rtnl(Closeable):
    """A rtnetlink socket of one namespace; for one thread at a time, any thread.

    Every method raises PrivilegeError without CAP_NET_ADMIN where it changes something, and KernelError with the
    kernel's own sentence where that refuses.
    """

    __slots__ = ("_netlink", "netns")

    def __init__(self, netns: Netns, opened: socket.socket | None = None) -> None:
        """Open a socket in `netns`, or take one that was opened there (SOCK_DGRAM, NETLINK_ROUTE)."""
        self.netns = netns
        if opened is None:
            opened = netns.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
        self._netlink = NetlinkSocket(opened)

    def close(self) -> None:
        """Close the socket. May be repeated."""
        self._netlink.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._netlink.fileno() < 0

    def __repr__(self) -> str:
        return f"<Rtnl of {self.netns}{' closed' if self.closed else ''}>"

    def exchange(self, octets: bytes, operation: str) -> list[bytes]:
        """Send a message of octets, for what has no method here; raises what NetlinkSocket does."""
        return self._netlink.exchange(octets, operation)

    def _ask(
        self,
        kind: str,
        command: int,
        flags: int,
        operation: str,
        *,
        fields: Mapping[str, int] | None = None,
        attributes: Sequence[tuple[str, Any]] = (),
        ifname: str = "",
    ) -> list[Any]:
        message_class = message_classes()[kind]
        request = message_class()
        request.update(fields or {})
        request["attrs"] = list(attributes)
        request["header"].update(type=command, flags=NLM_F_REQUEST | flags)
        request.encode()
        replies = []
        for octets in self._netlink.exchange(request.data, operation, ifname=ifname):
            reply = message_class(octets)
            reply.decode()
            replies.append(reply)
        return replies

    # ---- links: ip-link(8) -----------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """Every device of the namespace, by index."""
        found = self._ask("ifinfmsg", nl.RTM_GETLINK, NLM_F_DUMP, "list the links")
        return sorted(map(link_from_message, found), key=lambda link: link.index)

    def link(self, which: str | int) -> Link:
        """One device, by its name or index: one message, not a dump. Raises KernelError (ENODEV)."""
        by_index = isinstance(which, int)
        (found,) = self._ask(
            "ifinfmsg",
            nl.RTM_GETLINK,
            NLM_F_ACK,
            f"get the link {which}",
            fields={"index": which} if isinstance(which, int) else None,
            attributes=() if by_index else [("IFLA_IFNAME", check_ifname(str(which), f"get the link {which}"))],
            ifname="" if by_index else str(which),
        )
        return link_from_message(found)

    def is_running(self, ifindex: int) -> bool:
        """As `link(…).running`, in a sixth of its time. From Linux 6.8 on the kernel settles the carrier first."""
        found = self.exchange(
            pack_message(nl.RTM_GETLINK, NLM_F_ACK, nl.IFINFOMSG.pack(0, 0, ifindex, 0, 0)), f"get {ifindex}"
        )
        flags: int = nl.IFINFOMSG.unpack_from(found[0], nl.NLMSG_HEADER_SIZE)[3]
        return bool(flags & IFF_RUNNING)

    def link_index(self, ifname: str) -> int:
        """The index of a device. Raises KernelError (ENODEV)."""
        return self.link(ifname).index

    def add_link(
        self,
        ifname: str,
        kind: str,
        *,
        ifindex: int = 0,
        mtu: int | None = None,
        hardware_address: str | None = None,
        master: int | None = None,
        up: bool = False,
    ) -> int:
        """Make a device of this namespace: kind "bridge", "dummy", …; returns its index. A veth: `add_veth`.

        A TUN cannot be made over rtnetlink, the kernel says so: tunlab.kernel.device.tun.
        """
        operation = f"add the {kind} link {ifname}"
        attributes = [
            *link_attributes(operation, ifname=ifname, mtu=mtu, hardware_address=hardware_address, master=master),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind)]}),
        ]
        fields = {"index": ifindex, "flags": IFF_UP if up else 0, "change": IFF_UP if up else 0}
        self._ask(
            "ifinfmsg", nl.RTM_NEWLINK, NLM_F_ACK | _NEW, operation, fields=fields, attributes=attributes, ifname=ifname
        )
        return ifindex or self.link_index(ifname)

    def add_veth(
        self,
        ifname: str,
        peer: str,
        *,
        netns: Netns | None = None,
        peer_netns: Netns | None = None,
        ifindex: int = 0,
        peer_ifindex: int = 0,
        mtu: int | None = None,
        hardware_address: str | None = None,
        peer_hardware_address: str | None = None,
        master: int | None = None,
    ) -> None:
        """Make a veth, each end born in its namespace (this one by default) and seen in no other; both are down.

        veth(4). `mtu` is for both ends. `master` is the index of a bridge in `netns`.
        """
        operation = f"add the veth {ifname} with its other end {peer}"
        far = link_attributes(operation, ifname=peer, mtu=mtu, hardware_address=peer_hardware_address)
        far.append(("IFLA_NET_NS_FD", (peer_netns or self.netns).fd))
        info = [
            ("IFLA_INFO_KIND", "veth"),
            ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"index": peer_ifindex, "attrs": far})]}),
        ]
        near = link_attributes(operation, ifname=ifname, mtu=mtu, hardware_address=hardware_address, master=master)
        near += [("IFLA_NET_NS_FD", (netns or self.netns).fd), ("IFLA_LINKINFO", {"attrs": info})]
        fields = {"index": ifindex}
        self._ask(
            "ifinfmsg", nl.RTM_NEWLINK, NLM_F_ACK | _NEW, operation, fields=fields, attributes=near, ifname=ifname
        )

    def set_link(
        self,
        ifindex: int,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        txqueuelen: int | None = None,
        ifname: str | None = None,
        hardware_address: str | None = None,
        master: int | None = None,
        netns: Netns | None = None,
    ) -> None:
        """Change what is given of a device, all in one message; `master` 0 takes it off its bridge.

        `ifname` renames it; `netns` moves it there. mtu in octets, txqueuelen in packets.
        """
        given = {"up": up, "mtu": mtu, "txqueuelen": txqueuelen, "ifname": ifname, "master": master}
        given |= {"hardware_address": hardware_address, "netns": None if netns is None else str(netns)}
        said = " ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        operation = f"set the link {ifindex} {said}"
        attributes = link_attributes(
            operation, ifname=ifname, mtu=mtu, hardware_address=hardware_address, master=master, txqueuelen=txqueuelen
        )
        if netns is not None:
            attributes.append(("IFLA_NET_NS_FD", netns.fd))
        fields = {"index": ifindex}
        if up is not None:
            fields |= {"flags": IFF_UP if up else 0, "change": IFF_UP}
        try:
            self._ask("ifinfmsg", nl.RTM_NEWLINK, NLM_F_ACK, operation, fields=fields, attributes=attributes)
        except KernelError as error:
            with suppress(KernelError):  # ENODEV: it has no name
                error.ifname = self.link(ifindex).name
                error.operation = f"set {error.ifname} {said}"
            if mtu is not None and error.errno == errno.EINVAL:
                check_mtu(mtu, error.operation, ifname=error.ifname)
            raise

    def delete_link(self, ifindex: int) -> None:
        """Delete a device; a veth goes with its other end."""
        self._ask("ifinfmsg", nl.RTM_DELLINK, NLM_F_ACK, f"delete the link {ifindex}", fields={"index": ifindex})

    def add_qdisc(self, ifindex: int, kind: str) -> None:
        """Put a queueing discipline at the root of a device, with the defaults of its kind: tc(8)."""
        fields = {"index": ifindex, "parent": nl.TC_H_ROOT}
        flags, operation = NLM_F_ACK | _NEW, f"add the qdisc {kind} to the link {ifindex}"
        self._ask("tcmsg", nl.RTM_NEWQDISC, flags, operation, fields=fields, attributes=[("TCA_KIND", kind)])

    # ---- addresses: ip-address(8) ----------------------------------------------------------------------------------

    def addresses(self, ifindex: int | None = None) -> list[Address]:
        """The addresses of a device, or of all."""
        fields = {"index": ifindex or 0}
        found = self._ask("ifaddrmsg", nl.RTM_GETADDR, NLM_F_DUMP, "list the addresses", fields=fields)
        # Before Linux 4.20 the kernel does not choose by the index.
        return [address for address in map(address_from_message, found) if ifindex in (None, address.ifindex)]

    def add_address(
        self, ifindex: int, cidr: str, *, peer: str = "", nodad: bool = True, prefix_route: bool = True
    ) -> None:
        """Give a device an address, "10.1.2.1/24" or "fd00::1/64".

        peer          the other end's address, on a point-to-point link
        nodad         an IPv6 address is usable at once, not after a second of duplicate address detection
        prefix_route  with the route to the address's network
        """
        flags = NLM_F_ACK | _NEW
        self._change_address(nl.RTM_NEWADDR, flags, "add", ifindex, cidr, peer, nodad=nodad, prefix_route=prefix_route)

    def delete_address(self, ifindex: int, cidr: str, *, peer: str = "") -> None:
        """Take an address from a device."""
        self._change_address(nl.RTM_DELADDR, NLM_F_ACK, "delete", ifindex, cidr, peer)

    def set_address(self, ifindex: int, cidr: str) -> None:
        """Make `cidr` the device's only address of its family."""
        wanted = parse_interface(cidr, f"set the address {cidr} of the link {ifindex}")
        present = [a for a in self.addresses(ifindex) if a.family == address_family(wanted.version)]
        if wanted.with_prefixlen not in [address.cidr for address in present]:
            self.add_address(ifindex, cidr)
        for address in present:
            if address.cidr != wanted.with_prefixlen:
                self.delete_address(ifindex, address.cidr)
        if wanted.with_prefixlen not in [a.cidr for a in self.addresses(ifindex)]:
            self.add_address(ifindex, cidr)  # it was one of the same network's secondary, and went with it

    def _change_address(
        self,
        command: int,
        flags: int,
        verb: str,
        ifindex: int,
        cidr: str,
        peer: str,
        *,
        nodad: bool = False,
        prefix_route: bool = True,
    ) -> None:
        operation = f"{verb} the address {cidr} of the link {ifindex}"
        fields, attributes = address_request(ifindex, cidr, peer, operation, nodad=nodad, prefix_route=prefix_route)
        self._ask("ifaddrmsg", command, flags, operation, fields=fields, attributes=attributes)

    # ---- routes, rules, neighbours: ip-route(8), ip-rule(8), ip-neighbour(8) ----------------------------------------

    def routes(self, table: int = RT_TABLE_MAIN, family: int = socket.AF_UNSPEC) -> list[Route]:
        """The routes of a table, IPv4 and IPv6; table 255 is `local`, 0 stands for all tables."""
        found = self._ask("rtmsg", nl.RTM_GETROUTE, NLM_F_DUMP, "list the routes", fields={"family": family})
        return [route for route in map(route_from_message, found) if table in (0, route.table)]

    def add_route(
        self,
        dst: str,
        *,
        via: str | None = None,
        ifindex: int | None = None,
        source: str | None = None,
        metric: int | None = None,
        mtu: int | None = None,
        table: int = RT_TABLE_MAIN,
        type: str = "unicast",  # noqa: A002
        replace: bool = False,
    ) -> None:
        """Add a route to "192.0.2.0/24", one address or "default".

        via      the next hop's address; ifindex: the device; one of the two, but for a blackhole and its like
        source   the address that we then speak from
        type     "unicast", "blackhole", "unreachable", "prohibit", "throw", "local"
        replace  a route to the same destination gives way
        """
        operation = f"add the route to {dst}{f' via {via}' if via else ''}"
        flags = NLM_F_ACK | NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
        scope = nl.RT_SCOPE_UNIVERSE if via or type != "unicast" else nl.RT_SCOPE_LINK
        if type == "local":
            scope = nl.RT_SCOPE_HOST
        fields, attributes = route_request(dst, operation, via, ifindex, metric, table, type)
        if fields["family"] == socket.AF_INET:  # IPv6 knows no scope of a route
            fields["scope"] = scope
        fields["proto"] = nl.RTPROT_STATIC
        if source is not None:
            attributes.append(("RTA_PREFSRC", str(parse_address(source, operation))))
        if mtu is not None:
            attributes.append(("RTA_METRICS", {"attrs": [("RTAX_MTU", mtu)]}))
        self._ask("rtmsg", nl.RTM_NEWROUTE, flags, operation, fields=fields, attributes=attributes)

    def delete_route(
        self,
        dst: str,
        *,
        via: str | None = None,
        ifindex: int | None = None,
        metric: int | None = None,
        table: int = RT_TABLE_MAIN,
    ) -> None:
        """Delete the first route to `dst` that agrees with what else is given. Raises KernelError (ESRCH)."""
        operation = f"delete the route to {dst}"
        fields, attributes = route_request(dst, operation, via, ifindex, metric, table, "unspec")
        fields["scope"] = nl.RT_SCOPE_NOWHERE  # for a deletion: any
        self._ask("rtmsg", nl.RTM_DELROUTE, NLM_F_ACK, operation, fields=fields, attributes=attributes)

    def rules(self, family: int = socket.AF_UNSPEC) -> list[Rule]:
        """The rules of policy routing, in the order in which they are asked."""
        found = self._ask("fibmsg", nl.RTM_GETRULE, NLM_F_DUMP, "list the rules", fields={"family": family})
        # The kernel's list has those of multicast routing too (families 128 and 129).
        wanted = [rule for rule in map(rule_from_message, found) if rule.family in (socket.AF_INET, socket.AF_INET6)]
        return sorted(wanted, key=lambda rule: (rule.family, rule.priority))

    def neighbours(self, ifindex: int | None = None) -> list[Neighbour]:
        """The neighbour table of a device, or of all."""
        found = self._ask("ndmsg", nl.RTM_GETNEIGH, NLM_F_DUMP, "list the neighbours")
        return [neighbour for neighbour in map(neighbour_from_message, found) if ifindex in (None, neighbour.ifindex)]

    def add_neighbour(self, ifindex: int, address: str, hardware_address: str) -> None:
        """Say for good at which hardware address a neighbour is, so that nothing is asked for it (no ARP, no NDP)."""
        operation = f"add the neighbour {address} at {hardware_address} to the link {ifindex}"
        parsed = parse_address(address, operation)
        attributes = [
            ("NDA_DST", str(parsed)),
            ("NDA_LLADDR", check_hardware_address(hardware_address, operation)),
        ]
        fields = {"family": address_family(parsed.version), "ifindex": ifindex, "state": nl.NUD_PERMANENT}
        flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
        self._ask("ndmsg", nl.RTM_NEWNEIGH, flags, operation, fields=fields, attributes=attributes)

    def delete_neighbour(self, ifindex: int, address: str) -> None:
        """Delete an entry of the neighbour table."""
        operation = f"delete the neighbour {address} of the link {ifindex}"
        parsed = parse_address(address, operation)
        fields = {"family": address_family(parsed.version), "ifindex": ifindex}
        self._ask("ndmsg", nl.RTM_DELNEIGH, NLM_F_ACK, operation, fields=fields, attributes=[("NDA_DST", str(parsed))])
