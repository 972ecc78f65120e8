"""The devices of a lab that its end does not take with it, deleted one by one."""

from __future__ import annotations

from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.topology.plan import NodePlan


def delete_tuns(node: NodePlan, netns: Netns | None) -> list[str]:
    """Delete a node's TUNs; returns their names.

    Not left to the end of the namespace: who reads such a device from outside holds that open, and learns from the
    device's end that it is over.
    """
    return _delete(netns, {(each.ifname, ""): None for each in node.interfaces if each.link < 0})


def delete_links(node: NodePlan, netns: Netns | None) -> list[str]:
    """Delete a node's ends of links, which stay in the namespace of a container that does; returns their names.

    Known by the name and the hardware address that they were given: what else is there is not ours.
    """
    return _delete(netns, {(each.ifname, each.hardware_address): None for each in node.interfaces if each.link >= 0})


def _delete(netns: Netns | None, wanted: dict[tuple[str, str], None]) -> list[str]:
    deleted = list[str]()
    if netns is None or not wanted:
        return deleted
    with Rtnl(netns) as rtnl:
        for link in rtnl.links():
            if (link.name, "") in wanted or (link.name, link.hardware_address) in wanted:
                rtnl.delete_link(link.index)
                deleted.append(link.name)
    return deleted
