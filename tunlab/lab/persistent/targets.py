"""Command-line targets: "LAB", "NODE" or "LAB/NODE"."""

from __future__ import annotations

import os

from tunlab.errors import LabError, TopologyError
from tunlab.lab.node import LAB_VARIABLE, NODE_VARIABLE
from tunlab.lab.persistent.lab import PersistentLab


def resolve(target: str = "", *, prefix: str = "") -> tuple[PersistentLab, str]:
    """Return the lab and the node name that a target stands for.

    - "LAB/NODE": that node.
    - "LAB": its only node, or its only node with a TUN.
    - "NODE": in $TUNLAB_LAB, or in the only running lab that has such a node.
    - "": node $TUNLAB_NODE of lab $TUNLAB_LAB if set, else as "LAB" with the only running lab.

    Args:
        target: the argument from the command line.
        prefix: an option such as "--lab". If several labs are up, the error suggests it with a lab's name.

    Raises:
        LabError: if no lab or node matches, or several do.
    """
    name, slash, node = target.partition("/")
    if slash:
        lab = PersistentLab.open(name)
        return lab, lab.node_name(node)
    if not target:
        lab = PersistentLab.open(prefix=prefix)
        current = os.environ.get(NODE_VARIABLE, "") if os.environ.get(LAB_VARIABLE) == lab.name else ""
        return lab, lab.node_name(current)
    running = [lab for lab in PersistentLab.ls() if lab.is_up()]
    for lab in running:
        if lab.name == target:
            return lab, lab.node_name()
    matching = [lab for lab in running if any(node.name == target for node in lab.plan.nodes)]
    current = os.environ.get(LAB_VARIABLE, "")
    matching = [lab for lab in matching if lab.name == current] or matching
    if len(matching) == 1:
        return matching[0], target
    if matching:
        problem = f"{len(matching)} labs have a node {target!r}: {', '.join(lab.name for lab in matching)}"
        raise LabError("", problem, remedy=f"name the lab too: {matching[0].name}/{target}")
    try:
        PersistentLab(target)
    except TopologyError:  # the target is not a valid lab name, so it can only be a node
        problem = f"no running lab has a node {target!r}"
        raise LabError("", problem, remedy="`tunlab ls` lists the running labs") from None
    return PersistentLab.open(target), ""  # raises LabError, because no lab of this name is up
