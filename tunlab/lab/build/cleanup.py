"""Delete interfaces that can outlive a lab: TUNs that a program holds open, and links to existing containers."""

from __future__ import annotations

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.topology.plan import NodePlan


def delete_tuns(node: NodePlan, netns: Netns | None) -> list[str]:
    """Delete a node's TUNs and return their names.

    A program outside the lab may hold a TUN open. After the deletion its next read fails, which tells it that the lab
    has ended.
    """
    return _delete(netns, {(each.ifname, "") for each in node.interfaces if each.link < 0})


def delete_links(node: NodePlan, netns: Netns | None) -> list[str]:
    """Delete the lab's interfaces from an existing container, which keeps running; return their names.

    An interface belongs to the lab if both its name and its MAC address are as planned.
    """
    return _delete(netns, {(each.ifname, each.hardware_address) for each in node.interfaces if each.link >= 0})


def _delete(netns: Netns | None, wanted: set[tuple[str, str]]) -> list[str]:
    deleted = list[str]()
    if netns is None or not wanted:
        return deleted
    with Rtnl(netns) as rtnl:
        for link in rtnl.links():
            if (link.name, "") in wanted or (link.name, link.hardware_address) in wanted:
                rtnl.delete_link(link.index)
                deleted.append(link.name)
    return deleted
