"""Arrange the nodes of a drawing in columns, so that most links lead from one column to the next.

A simplified layered layout after Sugiyama, Tagawa and Toda (1981): columns by distance, ordered to reduce crossings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Neighbours = Mapping[str, Sequence[str]]
Columns = list[list[str]]

SWEEPS = 8


def columns(nodes: Sequence[str], neighbours: Neighbours) -> list[Columns]:
    """Return the columns of each group of connected nodes; a column lists its nodes from top to bottom."""
    parts, seen = [], set[str]()
    for node in nodes:
        if node not in seen:
            reached = _distances(node, neighbours)
            seen.update(reached)
            parts.append(_part([each for each in nodes if each in reached], neighbours))
    return parts


def _part(nodes: Sequence[str], neighbours: Neighbours) -> Columns:
    # Start at the end of a longest path that the lab file names first. Lab files usually name a client before its
    # server, so the client is drawn on the left.
    from_first = _distances(nodes[0], neighbours)
    one_end = max(nodes, key=lambda node: from_first[node])
    from_end = _distances(one_end, neighbours)
    other_end = max(nodes, key=lambda node: from_end[node])
    layer = _distances(min(one_end, other_end, key=nodes.index), neighbours)
    _place_leaves(nodes, neighbours, layer)
    first = min(layer.values())
    columns: Columns = [[] for _ in range(max(layer.values()) - first + 1)]
    for node in nodes:
        columns[layer[node] - first].append(node)
    return _reduce_crossings(columns, neighbours)


def _distances(start: str, neighbours: Neighbours) -> dict[str, int]:
    distance, to_visit = {start: 0}, [start]
    for node in to_visit:
        for other in neighbours[node]:
            if other not in distance:
                distance[other] = distance[node] + 1
                to_visit.append(other)
    return distance


def _place_leaves(nodes: Sequence[str], neighbours: Neighbours, layer: dict[str, int]) -> None:
    """Place the leaves of each hub (nodes whose only neighbour it is) in the columns beside the hub.

    If the hub's other neighbours are all on one side, the leaves go to the other side; else half of them to each side.
    """
    for hub in nodes:
        leaves = [each for each in nodes if set(neighbours[each]) == {hub}]
        others = {layer[each] - layer[hub] for each in neighbours[hub] if each not in leaves} - {0}
        if len(leaves) < 2:
            continue
        half = (len(leaves) + 1) // 2 if len(others) != 1 else 0 if others == {-1} else len(leaves)
        if len(leaves) > 3 or len(others) == 1:
            for number, leaf in enumerate(leaves):
                layer[leaf] = layer[hub] + (-1 if number < half else 1)


def _reduce_crossings(columns: Columns, neighbours: Neighbours) -> Columns:
    """Sort columns by the mean position of each node's neighbours in the previous column, from left and from right."""
    for sweep in range(SWEEPS):
        order = range(1, len(columns)) if sweep % 2 == 0 else range(len(columns) - 2, -1, -1)
        for column in order:
            previous = columns[column - 1 if sweep % 2 == 0 else column + 1]
            # A position is a fraction of the column's height, because columns are centred vertically.
            position = {node: (number + 0.5) / len(previous) for number, node in enumerate(previous)}
            own = {node: (number + 0.5) / len(columns[column]) for number, node in enumerate(columns[column])}

            def mean(node: str, position: Mapping[str, float] = position, own: Mapping[str, float] = own) -> float:
                known = [position[each] for each in neighbours[node] if each in position]
                return sum(known) / len(known) if known else own[node]

            columns[column].sort(key=mean)
    return columns
