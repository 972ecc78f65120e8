"""Which lab and which node a command means: "LAB", "NODE" or "LAB/NODE"."""

from __future__ import annotations

import os

from tunlab.errors import LabError, TopologyError
from tunlab.lab.lab import Lab
from tunlab.lab.node import LAB_VARIABLE, NODE_VARIABLE


def resolve(target: str = "", *, naming: str = "") -> tuple[Lab, str]:
    """The lab and the node's name.

    "LAB/NODE"   that node
    "LAB"        its only node, or its only one with a TUN
    "NODE"       of $TUNLAB_LAB, or where exactly one lab that is up has a node of that name
    ""           $TUNLAB_NODE of $TUNLAB_LAB; or as "LAB", of the only lab that is up

    naming   what goes before a target to give one, as "--lab", for the error where there are several labs

    Raises LabError for none and for several, with what there is.
    """
    name, slash, node = target.partition("/")
    if slash:
        lab = Lab.open(name)
        return lab, lab.node_name(node)
    if not target:
        lab = Lab.open(naming=naming)
        here = os.environ.get(NODE_VARIABLE, "") if os.environ.get(LAB_VARIABLE) == lab.name else ""
        return lab, lab.node_name(here)
    up = [lab for lab in Lab.all() if lab.is_up()]
    for lab in up:
        if lab.name == target:
            return lab, lab.node_name()
    having = [lab for lab in up if any(node.name == target for node in lab.recorded_plan.nodes)]
    inside = os.environ.get(LAB_VARIABLE)
    having = [lab for lab in having if lab.name == inside] or having
    if len(having) == 1:
        return having[0], target
    if having:
        problem = f"{len(having)} labs have a node {target!r}: {', '.join(lab.name for lab in having)}"
        raise LabError("", problem, remedy=f"say which, as {having[0].name}/{target}")
    try:
        Lab(target)
    except TopologyError:  # no lab can be called so
        problem = f"no lab that is up has a node {target!r}"
        raise LabError("", problem, remedy="tunlab ls shows what is up") from None
    return Lab.open(target), ""  # raises: it is not up
