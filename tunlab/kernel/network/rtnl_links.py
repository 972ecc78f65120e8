"""The rtnetlink requests for interfaces: ip-link(8).

Source: <linux/if_link.h>, veth(4).
"""

from __future__ import annotations

import errno
from contextlib import suppress

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.netlink import constants as nl
from tunlab.kernel.netlink.netlink_socket import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    pack_message,
)
from tunlab.kernel.network.models import (
    IFF_RUNNING,
    IFF_UP,
    Link,
    link_from_message,
)
from tunlab.kernel.network.request_attributes import link_attributes
from tunlab.kernel.network.rtnl_socket import RtnlSocket
from tunlab.kernel.validation import check_ifname, check_mtu

_NEW = NLM_F_CREATE | NLM_F_EXCL


class LinkRequests(RtnlSocket):
    """The methods of `Rtnl` for interfaces."""

    __slots__ = ()

    def links(self) -> list[Link]:
        """Return every interface of the namespace, ordered by index."""
        found = self._ask("ifinfmsg", nl.RTM_GETLINK, NLM_F_DUMP, "list the links")
        return sorted(map(link_from_message, found), key=lambda link: link.index)

    def link(self, name_or_index: str | int) -> Link:
        """Return one interface, without listing the others. Raises KernelError (ENODEV)."""
        by_index = isinstance(name_or_index, int)
        operation = f"get the link {name_or_index}"
        (found,) = self._ask(
            "ifinfmsg",
            nl.RTM_GETLINK,
            NLM_F_ACK,
            operation,
            fields={"index": name_or_index} if isinstance(name_or_index, int) else None,
            attributes=() if by_index else [("IFLA_IFNAME", check_ifname(str(name_or_index), operation))],
            ifname="" if by_index else str(name_or_index),
        )
        return link_from_message(found)

    def is_running(self, ifindex: int) -> bool:
        """Return `link(ifindex).running`, six times faster. From Linux 6.8 on, the carrier state is up to date."""
        found = self.exchange(
            pack_message(nl.RTM_GETLINK, NLM_F_ACK, nl.IFINFOMSG.pack(0, 0, ifindex, 0, 0)), f"get {ifindex}"
        )
        flags: int = nl.IFINFOMSG.unpack_from(found[0], nl.NLMSG_HEADER_SIZE)[3]
        return bool(flags & IFF_RUNNING)

    def link_index(self, ifname: str) -> int:
        """Return the index of an interface. Raises KernelError (ENODEV)."""
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
        """Create an interface of kind "bridge", "dummy", … and return its index.

        For a veth use `add_veth`, for a TUN `TunDevice.create`: the kernel does not create a TUN over rtnetlink.
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
        """Create a veth pair (veth(4)), each end in its own namespace, both down.

        Args:
            ifname: The name of the near end.
            peer: The name of the far end.
            netns: The namespace of the near end; None for this one.
            peer_netns: The namespace of the far end; None for this one.
            ifindex: The index of the near end; 0 lets the kernel choose.
            peer_ifindex: The index of the far end; 0 lets the kernel choose.
            mtu: The MTU of both ends in bytes.
            hardware_address: The Ethernet address of the near end.
            peer_hardware_address: The Ethernet address of the far end.
            master: The index of a bridge in `netns` that the near end joins.
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
        """Change an interface with one message; None leaves a property as it is.

        Args:
            ifindex: The interface.
            up: Set it up or down.
            mtu: The MTU in bytes.
            txqueuelen: The length of the transmit queue in packets.
            ifname: A new name.
            hardware_address: A new Ethernet address.
            master: The index of the bridge to join; 0 to leave it.
            netns: The namespace to move it to.
        """
        given = {"up": up, "mtu": mtu, "txqueuelen": txqueuelen, "ifname": ifname, "master": master}
        given |= {"hardware_address": hardware_address, "netns": None if netns is None else str(netns)}
        changes = " ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        operation = f"set the link {ifindex} {changes}"
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
            with suppress(KernelError):  # ENODEV: a link with this index does not exist.
                error.ifname = self.link(ifindex).name
                error.operation = f"set {error.ifname} {changes}"
            if mtu is not None and error.errno == errno.EINVAL:
                check_mtu(mtu, error.operation, ifname=error.ifname)
            raise

    def delete_link(self, ifindex: int) -> None:
        """Delete an interface; for a veth, both ends."""
        self._ask("ifinfmsg", nl.RTM_DELLINK, NLM_F_ACK, f"delete the link {ifindex}", fields={"index": ifindex})

    def add_qdisc(self, ifindex: int, kind: str) -> None:
        """Add a root qdisc with default parameters to an interface (tc(8))."""
        fields = {"index": ifindex, "parent": nl.TC_H_ROOT}
        flags, operation = NLM_F_ACK | _NEW, f"add the qdisc {kind} to the link {ifindex}"
        self._ask("tcmsg", nl.RTM_NEWQDISC, flags, operation, fields=fields, attributes=[("TCA_KIND", kind)])
