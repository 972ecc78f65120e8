"""Deleting devices that do not disappear with the lab's namespaces."""

from __future__ import annotations

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.topology.plan import NodePlan


def delete_tuns(node: NodePlan, netns: Netns | None) -> list[str]:
    """Delete a node's TUNs and return their names.

    A program outside the node may hold such a device open; it learns of the lab's end when the device is deleted.
    """
    return _delete(netns, {(each.ifname, "") for each in node.interfaces if each.link < 0})


def delete_links(node: NodePlan, netns: Netns | None) -> list[str]:
    """Delete a node's ends of links from a container that goes on running; return their names.

    Only interfaces with the planned name and hardware address are deleted; others belong to the container.
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
