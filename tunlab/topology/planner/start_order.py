"""The order in which the nodes of a lab start their programs (key `after`)."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from tunlab.topology.plan import NodePlan
from tunlab.topology.spec import NodeSpec
from tunlab.topology.values.problems import Problems


def check_start_order(problems: Problems, nodes: Mapping[str, NodeSpec]) -> None:
    """Add an error for each node that is to start after an unknown node, a container, or itself."""
    for name, node in nodes.items():
        for index, other in enumerate(node.after):
            table, key = f"nodes.{name}", f"after[{index}]"
            if other not in nodes:
                close = get_close_matches(other, nodes, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"Choose from {', '.join(nodes)}."
                problems.add(table, key, f"is {other!r}, which is not a node", hint)
            elif nodes[other].kind == "container":
                problems.add(table, key, f"is {other!r}, a container", "Containers start first; remove it.")
    try:
        TopologicalSorter({name: node.after for name, node in nodes.items()}).prepare()
    except CycleError as error:
        circle = " after ".join(error.args[1])
        problems.add(f"nodes.{error.args[1][0]}", "after", f"goes round in a circle: {circle}", "Remove one of them.")


def start_order(nodes: tuple[NodePlan, ...]) -> list[list[NodePlan]]:
    """Return the nodes in groups: those of a group start when the programs of the groups before it are ready."""
    by_name = {node.name: node for node in nodes}
    sorter = TopologicalSorter({node.name: [each for each in node.after if each in by_name] for node in nodes})
    sorter.prepare()
    groups = []
    while sorter.is_active():
        ready = set(sorter.get_ready())
        groups.append([node for node in nodes if node.name in ready])
        sorter.done(*ready)
    return groups
