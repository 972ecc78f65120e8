"""rtnetlink in one namespace: links, addresses, routes, rules and neighbours.

Source: rtnetlink(7), <linux/rtnetlink.h>.
"""

from __future__ import annotations

import socket

from tunlab.kernel.netlink import constants as nl
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
)
from tunlab.kernel.network.models import (
    Address,
    Neighbour,
    Route,
    Rule,
    address_from_message,
    neighbour_from_message,
    route_from_message,
    rule_from_message,
)
from tunlab.kernel.network.request_attributes import address_family, address_request, route_request
from tunlab.kernel.network.rtnl_links import LinkRequests
from tunlab.kernel.validation import check_hardware_address, parse_address, parse_interface

RT_TABLE_MAIN = 254

_NEW = NLM_F_CREATE | NLM_F_EXCL


class Rtnl(LinkRequests):
    """A rtnetlink socket of one namespace, usable in any thread, by one thread at a time.

    Every method raises KernelError if the kernel refuses, with the kernel's own message as `reason`; methods that
    change something raise PrivilegeError if CAP_NET_ADMIN is missing.
    """

    __slots__ = ()

    # ---- addresses: ip-address(8) ----------------------------------------------------------------------------------

    def addresses(self, ifindex: int | None = None) -> list[Address]:
        """Return the addresses of one interface, or of all."""
        fields = {"index": ifindex or 0}
        found = self._ask("ifaddrmsg", nl.RTM_GETADDR, NLM_F_DUMP, "list the addresses", fields=fields)
        # Kernels before Linux 4.20 ignore the index and list the addresses of all interfaces.
        return [address for address in map(address_from_message, found) if ifindex in (None, address.ifindex)]

    def add_address(
        self, ifindex: int, cidr: str, *, peer: str = "", nodad: bool = True, prefix_route: bool = True
    ) -> None:
        """Add an address to an interface.

        Args:
            ifindex: The interface.
            cidr: The address with its prefix length, as "10.1.2.1/24" or "fd00::1/64".
            peer: The address of the other end of a point-to-point link.
            nodad: Skip duplicate address detection, which delays an IPv6 address by a second.
            prefix_route: Also add the route to the address's network.
        """
        flags = NLM_F_ACK | _NEW
        self._change_address(nl.RTM_NEWADDR, flags, "add", ifindex, cidr, peer, nodad=nodad, prefix_route=prefix_route)

    def delete_address(self, ifindex: int, cidr: str, *, peer: str = "") -> None:
        """Delete an address of an interface."""
        self._change_address(nl.RTM_DELADDR, NLM_F_ACK, "delete", ifindex, cidr, peer)

    def set_address(self, ifindex: int, cidr: str) -> None:
        """Make `cidr` the interface's only address of its family."""
        wanted = parse_interface(cidr, f"set the address {cidr} of the link {ifindex}")
        present = [a for a in self.addresses(ifindex) if a.family == address_family(wanted.version)]
        if wanted.with_prefixlen not in [address.cidr for address in present]:
            self.add_address(ifindex, cidr)
        for address in present:
            if address.cidr != wanted.with_prefixlen:
                self.delete_address(ifindex, address.cidr)
        if wanted.with_prefixlen not in [a.cidr for a in self.addresses(ifindex)]:
            # The address was a secondary one, which the kernel deleted with its primary address.
            self.add_address(ifindex, cidr)

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
        """Return the IPv4 and IPv6 routes of a table: 254 is `main`, 255 `local`, 0 means all tables."""
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
        """Add a route.

        Args:
            dst: "192.0.2.0/24", an address, or "default".
            via: The next hop. A unicast route needs `via` or `ifindex`.
            ifindex: The outgoing interface.
            source: The preferred source address.
            metric: The priority; the lowest wins.
            mtu: The route's MTU in bytes.
            table: The routing table.
            type: "unicast", "blackhole", "unreachable", "prohibit", "throw" or "local".
            replace: Replace a route to the same destination.
        """
        operation = f"add the route to {dst}{f' via {via}' if via else ''}"
        flags = NLM_F_ACK | NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
        scope = nl.RT_SCOPE_UNIVERSE if via or type != "unicast" else nl.RT_SCOPE_LINK
        if type == "local":
            scope = nl.RT_SCOPE_HOST
        fields, attributes = route_request(dst, operation, via, ifindex, metric, table, type)
        if fields["family"] == socket.AF_INET:  # IPv6 routes have no scope.
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
        """Delete the first route to `dst` that matches the other arguments. Raises KernelError, ESRCH if none does."""
        operation = f"delete the route to {dst}"
        fields, attributes = route_request(dst, operation, via, ifindex, metric, table, "unspec")
        fields["scope"] = nl.RT_SCOPE_NOWHERE  # In a deletion, RT_SCOPE_NOWHERE matches any scope.
        self._ask("rtmsg", nl.RTM_DELROUTE, NLM_F_ACK, operation, fields=fields, attributes=attributes)

    def rules(self, family: int = socket.AF_UNSPEC) -> list[Rule]:
        """Return the policy routing rules by family, in the order in which the kernel evaluates them."""
        found = self._ask("fibmsg", nl.RTM_GETRULE, NLM_F_DUMP, "list the rules", fields={"family": family})
        # Leave out the rules of multicast routing (families 128 and 129), which the dump includes.
        wanted = [rule for rule in map(rule_from_message, found) if rule.family in (socket.AF_INET, socket.AF_INET6)]
        return sorted(wanted, key=lambda rule: (rule.family, rule.priority))

    def neighbours(self, ifindex: int | None = None) -> list[Neighbour]:
        """Return the neighbour entries of one interface, or of all."""
        found = self._ask("ndmsg", nl.RTM_GETNEIGH, NLM_F_DUMP, "list the neighbours")
        return [neighbour for neighbour in map(neighbour_from_message, found) if ifindex in (None, neighbour.ifindex)]

    def add_neighbour(self, ifindex: int, address: str, hardware_address: str) -> None:
        """Add a permanent neighbour entry, so that the kernel sends no ARP or NDP for this address."""
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
        """Delete a neighbour entry."""
        operation = f"delete the neighbour {address} of the link {ifindex}"
        parsed = parse_address(address, operation)
        fields = {"family": address_family(parsed.version), "ifindex": ifindex}
        self._ask("ndmsg", nl.RTM_DELNEIGH, NLM_F_ACK, operation, fields=fields, attributes=[("NDA_DST", str(parsed))])
