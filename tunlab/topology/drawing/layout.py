"""Arranging the nodes of a drawing in columns, so that links lead from column to column.

A short form of Sugiyama, Tagawa and Toda (1981): layers by distance, ordered to reduce crossings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Neighbours = Mapping[str, Sequence[str]]
Columns = list[list[str]]

SWEEPS = 8


def columns(nodes: Sequence[str], neighbours: Neighbours) -> list[Columns]:
    """Return the columns of each connected part, each with its nodes from top to bottom."""
    parts, seen = [], set[str]()
    for node in nodes:
        if node not in seen:
            reached = _distances(node, neighbours)
            seen.update(reached)
            parts.append(_part([each for each in nodes if each in reached], neighbours))
    return parts


def _part(nodes: Sequence[str], neighbours: Neighbours) -> Columns:
    # From one end of the lab to the other: a client on the left, a server on the right.
    away = _distances(nodes[0], neighbours)
    far = max(nodes, key=lambda node: away[node])
    back = _distances(far, neighbours)
    other = max(nodes, key=lambda node: back[node])
    layer = _distances(min(far, other, key=nodes.index), neighbours)
    _both_sides(nodes, neighbours, layer)
    least = min(layer.values())
    found: Columns = [[] for _ in range(max(layer.values()) - least + 1)]
    for node in nodes:
        found[layer[node] - least].append(node)
    return _least_crossings(found, neighbours)


def _distances(start: str, neighbours: Neighbours) -> dict[str, int]:
    distance, waiting = {start: 0}, [start]
    for node in waiting:
        for other in neighbours[node]:
            if other not in distance:
                distance[other] = distance[node] + 1
                waiting.append(other)
    return distance


def _both_sides(nodes: Sequence[str], neighbours: Neighbours, layer: dict[str, int]) -> None:
    """Place a hub's leaves on the side without other neighbours, else on both sides."""
    for hub in nodes:
        leaves = [each for each in nodes if set(neighbours[each]) == {hub}]
        others = {layer[each] - layer[hub] for each in neighbours[hub] if each not in leaves} - {0}
        if len(leaves) < 2:
            continue
        half = (len(leaves) + 1) // 2 if len(others) != 1 else 0 if others == {-1} else len(leaves)
        if len(leaves) > 3 or len(others) == 1:
            for number, leaf in enumerate(leaves):
                layer[leaf] = layer[hub] + (-1 if number < half else 1)


def _least_crossings(found: Columns, neighbours: Neighbours) -> Columns:
    """Order each column by the mean position of its neighbours, in sweeps back and forth."""
    for sweep in range(SWEEPS):
        order = range(1, len(found)) if sweep % 2 == 0 else range(len(found) - 2, -1, -1)
        for column in order:
            beside = found[column - 1 if sweep % 2 == 0 else column + 1]
            # Positions relative to the height: columns of different length are centred.
            place = {node: (number + 0.5) / len(beside) for number, node in enumerate(beside)}
            own = {node: (number + 0.5) / len(found[column]) for number, node in enumerate(found[column])}

            def middle(node: str, place: Mapping[str, float] = place, own: Mapping[str, float] = own) -> float:
                known = [place[each] for each in neighbours[node] if each in place]
                return sum(known) / len(known) if known else own[node]

            found[column].sort(key=middle)
    return found
