"""Draw a planned lab as text, Mermaid, DOT (Graphviz) or SVG.

Source: mermaid.js.org for Mermaid's flowcharts, graphviz.org/doc/info/lang.html for DOT.
"""

from __future__ import annotations

from typing import Literal

from tunlab.topology.drawing.labels import address_texts, impairment_texts, kind_texts, link_texts, size_text
from tunlab.topology.drawing.svg import svg
from tunlab.topology.plan import InterfacePlan, LabPlan, NodePlan

Form = Literal["text", "mermaid", "dot", "svg"]


def graph(plan: LabPlan, form: Form = "text") -> str:
    """Return the drawing of a lab in a format, ending in a newline. Raises ValueError for an unknown format."""
    match form:
        case "text":
            return text(plan)
        case "mermaid":
            return mermaid(plan)
        case "dot":
            return dot(plan)
        case "svg":
            return svg(plan)
    raise ValueError(f"{form!r} is not a drawing format. Choose text, mermaid, dot or svg.")


# ---- text ------------------------------------------------------------------------------------------------------------


def text(plan: LabPlan) -> str:
    """Return a text tree of nodes and their interfaces, each with the interface at the other end of its link."""
    lines = [f"{plan.name}: {size_text(plan)}"]
    rows = {node.name: [_row(plan, node, each) for each in node.interfaces] for node in plan.nodes}
    all_rows = [row for each in rows.values() for row in each]
    widths = [max((len(row[column]) for row in all_rows), default=0) for column in range(3)]
    for index, node in enumerate(plan.nodes):
        branch, stem = ("└─ ", "   ") if index == len(plan.nodes) - 1 else ("├─ ", "│  ")
        lines.append(f"{branch}{' · '.join((node.name, *kind_texts(node)))}")
        for number, row in enumerate(rows[node.name]):
            row_branch = "└─ " if number == len(node.interfaces) - 1 else "├─ "
            cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
            lines.append(f"{stem}{row_branch}{cells}  {row[3]}".rstrip())
    return "\n".join(lines) + "\n"


def _row(plan: LabPlan, node: NodePlan, interface: InterfacePlan) -> tuple[str, str, str, str]:
    addresses = " ".join(interface.addresses)
    if interface.link < 0:
        return interface.ifname, addresses, "TUN", f"MTU {interface.mtu}" if interface.mtu != 1500 else ""
    ((other, ifname),) = (end for end in plan.links[interface.link].ends if end != (node.name, interface.ifname))
    properties = impairment_texts(interface.impairment)
    if interface.mtu != 1500:
        properties.append(f"MTU {interface.mtu}")
    return interface.ifname, addresses, f"── {other}:{ifname}", ", ".join(properties)


# ---- Mermaid ---------------------------------------------------------------------------------------------------------

_MERMAID_SHAPES = {
    "host": ('["', '"]'),
    "router": ('(["', '"])'),
    "nat": ('[/"', '"/]'),
    "switch": ('{{"', '"}}'),
    "container": ('[["', '"]]'),
}


def mermaid(plan: LabPlan) -> str:
    """Return a lab as a Mermaid flowchart."""
    lines = ["graph LR"]
    # Nodes get the IDs n0, n1 …, because a node's name may be a keyword of Mermaid, such as "end" or "graph".
    ids = {node.name: f"n{number}" for number, node in enumerate(plan.nodes)}
    for node in plan.nodes:
        opening, closing = _MERMAID_SHAPES[node.kind]
        label = [f"<b>{node.name}</b>", " · ".join(kind_texts(node)), *address_texts(plan, node)]
        lines.append(f"    {ids[node.name]}{opening}{'<br/>'.join(map(_escape_mermaid, label))}{closing}")
    for number, link in enumerate(plan.links):
        (one, _), (other, _) = link.ends
        texts = link_texts(plan, number)
        link_label = f'|"{"<br/>".join(map(_escape_mermaid, texts))}"|' if texts else ""
        lines.append(f"    {ids[one]} ---{link_label} {ids[other]}")
    return "\n".join(lines) + "\n"


def _escape_mermaid(text: str) -> str:
    """Escape # and quotes for Mermaid."""
    return text.replace("#", "#35;").replace('"', "#quot;")


# ---- DOT -------------------------------------------------------------------------------------------------------------

_DOT_STYLES = {
    "host": "shape=box",
    "router": "shape=box, style=rounded",
    "nat": "shape=box, peripheries=2",
    "switch": "shape=hexagon",
    "container": "shape=box3d",
}


def dot(plan: LabPlan) -> str:
    """Return a lab as an undirected graph in DOT."""
    lines = [
        f"graph {_dot_string(plan.name)} {{",
        '    graph [rankdir=LR, fontname="sans-serif", nodesep=0.4, ranksep=1.2];',
        '    node [fontname="monospace", fontsize=10];',
        '    edge [fontname="monospace", fontsize=9];',
    ]
    for node in plan.nodes:
        label = [node.name, " · ".join(kind_texts(node)), *address_texts(plan, node)]
        lines.append(f"    {_dot_string(node.name)} [label={_dot_string(*label)}, {_DOT_STYLES[node.kind]}];")
    for number, link in enumerate(plan.links):
        (one, tail), (other, head) = link.ends
        attributes = [f"taillabel={_dot_string(tail)}", f"headlabel={_dot_string(head)}"]
        if texts := link_texts(plan, number):
            attributes.insert(0, f"label={_dot_string(*texts)}")
        lines.append(f"    {_dot_string(one)} -- {_dot_string(other)} [{', '.join(attributes)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_string(*lines: str) -> str:
    text = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{text}"'
