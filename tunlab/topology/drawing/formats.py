"""Drawing a plan as text, Mermaid, DOT (Graphviz) or SVG.

Source: mermaid.js.org for its flow charts, graphviz.org/doc/info/lang.html for DOT.
"""

from __future__ import annotations

from typing import Literal

from tunlab.topology.drawing.labels import address_texts, counted, facts, impairment_texts, link_texts
from tunlab.topology.drawing.svg import svg
from tunlab.topology.plan import InterfacePlan, LabPlan, NodePlan

Form = Literal["text", "mermaid", "dot", "svg"]


def graph(plan: LabPlan, form: Form = "text") -> str:
    """Return the drawing of a lab, ending in a newline. Raises ValueError for an unknown form."""
    match form:
        case "text":
            return text(plan)
        case "mermaid":
            return mermaid(plan)
        case "dot":
            return dot(plan)
        case "svg":
            return svg(plan)
    raise ValueError(f"{form!r} is not a drawing format; choose text, mermaid, dot or svg")


# ---- text ------------------------------------------------------------------------------------------------------------


def text(plan: LabPlan) -> str:
    """Return a tree of nodes and interfaces, with the other end of each."""
    lines = [f"{plan.name}: {counted(plan)}"]
    rows = {node.name: [_row(plan, node, each) for each in node.interfaces] for node in plan.nodes}
    every = [row for each in rows.values() for row in each]
    widths = [max((len(row[column]) for row in every), default=0) for column in range(3)]
    for at, node in enumerate(plan.nodes):
        branch, stem = ("└─ ", "   ") if at == len(plan.nodes) - 1 else ("├─ ", "│  ")
        lines.append(f"{branch}{' · '.join((node.name, *facts(node)))}")
        for number, row in enumerate(rows[node.name]):
            twig = "└─ " if number == len(node.interfaces) - 1 else "├─ "
            cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
            lines.append(f"{stem}{twig}{cells}  {row[3]}".rstrip())
    return "\n".join(lines) + "\n"


def _row(plan: LabPlan, node: NodePlan, interface: InterfacePlan) -> tuple[str, str, str, str]:
    addresses = " ".join(interface.addresses)
    if interface.link < 0:
        return interface.ifname, addresses, "TUN", f"MTU {interface.mtu}" if interface.mtu != 1500 else ""
    ((other, ifname),) = (end for end in plan.links[interface.link].ends if end != (node.name, interface.ifname))
    marks = impairment_texts(interface.impairment)
    if interface.mtu != 1500:
        marks.append(f"MTU {interface.mtu}")
    return interface.ifname, addresses, f"── {other}:{ifname}", ", ".join(marks)


# ---- Mermaid ---------------------------------------------------------------------------------------------------------

_MERMAID_SHAPES = {
    "host": ('["', '"]'),
    "router": ('(["', '"])'),
    "nat": ('[/"', '"/]'),
    "switch": ('{{"', '"}}'),
    "container": ('[["', '"]]'),
}


def mermaid(plan: LabPlan) -> str:
    """Return a Mermaid flow chart."""
    lines = ["graph LR"]
    # A node's name may be a keyword of Mermaid, such as "end" or "graph".
    ids = {node.name: f"n{number}" for number, node in enumerate(plan.nodes)}
    for node in plan.nodes:
        opening, closing = _MERMAID_SHAPES[node.kind]
        said = [f"<b>{node.name}</b>", " · ".join(facts(node)), *address_texts(plan, node)]
        lines.append(f"    {ids[node.name]}{opening}{'<br/>'.join(map(_entities, said))}{closing}")
    for number, link in enumerate(plan.links):
        (one, _), (other, _) = link.ends
        said = link_texts(plan, number)
        label = f'|"{"<br/>".join(map(_entities, said))}"|' if said else ""
        lines.append(f"    {ids[one]} ---{label} {ids[other]}")
    return "\n".join(lines) + "\n"


def _entities(said: str) -> str:
    """Escape # and quotes for Mermaid."""
    return said.replace("#", "#35;").replace('"', "#quot;")


# ---- DOT -------------------------------------------------------------------------------------------------------------

_DOT_STYLES = {
    "host": "shape=box",
    "router": "shape=box, style=rounded",
    "nat": "shape=box, peripheries=2",
    "switch": "shape=hexagon",
    "container": "shape=box3d",
}


def dot(plan: LabPlan) -> str:
    """Return an undirected graph in DOT."""
    lines = [
        f"graph {_quoted(plan.name)} {{",
        '    graph [rankdir=LR, fontname="sans-serif", nodesep=0.4, ranksep=1.2];',
        '    node [fontname="monospace", fontsize=10];',
        '    edge [fontname="monospace", fontsize=9];',
    ]
    for node in plan.nodes:
        said = [node.name, " · ".join(facts(node)), *address_texts(plan, node)]
        lines.append(f"    {_quoted(node.name)} [label={_quoted(*said)}, {_DOT_STYLES[node.kind]}];")
    for number, link in enumerate(plan.links):
        (one, tail), (other, head) = link.ends
        marks = [f"taillabel={_quoted(tail)}", f"headlabel={_quoted(head)}"]
        if said := link_texts(plan, number):
            marks.insert(0, f"label={_quoted(*said)}")
        lines.append(f"    {_quoted(one)} -- {_quoted(other)} [{', '.join(marks)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(*lines: str) -> str:
    said = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{said}"'
