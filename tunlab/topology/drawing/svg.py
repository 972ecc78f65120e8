"""Draw a planned lab as SVG: a box per node with its interfaces, and lines between interfaces.

The file is self-contained (no external font, script or image), follows the reader's light or dark mode, and has a title
for screen readers. Source: W3C SVG 1.1; Media Queries 5 for prefers-color-scheme.
"""

from __future__ import annotations

from html import escape

from msgspec import Struct

from tunlab.topology.drawing.labels import kind_texts, link_texts, networks_of, node_links, size_text
from tunlab.topology.drawing.layout import Columns, columns
from tunlab.topology.plan import LabPlan, NodePlan

MARGIN, GAP, HEADER, ROW, PADDING = 28, 26, 46, 20, 14
CHARACTER, TITLE, LABEL = 7.3, 9.2, 6.8
"""Maximum width of a character in pixels: in a row, a title and a label."""
LABEL_LINE, BEND, STUB = 14, 40, 24

STYLE = """\
svg { color-scheme: light dark; }
.ground { fill: #ffffff; }
.box { fill: #f6f8fa; stroke: #57606a; }
.bar { stroke: none; }
.host { fill: #0969da; } .router { fill: #1a7f37; } .nat { fill: #bc4c00; }
.switch { fill: #57606a; } .container { fill: #8250df; }
.name { font: 600 15px system-ui, sans-serif; fill: #1f2328; }
.kind { font: 11px system-ui, sans-serif; fill: #57606a; }
.row, .label { font: 12px ui-monospace, monospace; fill: #1f2328; }
.label { font-size: 11px; fill: #424a53; text-anchor: middle; }
.link { fill: none; stroke: #57606a; stroke-width: 1.6; }
.tun { fill: none; stroke: #57606a; stroke-width: 1.6; stroke-dasharray: 4 3; }
.end { fill: #ffffff; stroke: #57606a; stroke-width: 1.6; }
.label-background { fill: #ffffff; opacity: 0.86; }
@media (prefers-color-scheme: dark) {
  .ground, .label-background, .end { fill: #0d1117; }
  .box { fill: #161b22; stroke: #8b949e; }
  .host { fill: #4493f8; } .router { fill: #3fb950; } .nat { fill: #db6d28; }
  .switch { fill: #8b949e; } .container { fill: #ab7df8; }
  .name, .row { fill: #e6edf3; }
  .kind, .label { fill: #9da7b3; }
  .link, .tun, .end { stroke: #8b949e; }
}
"""


class _Box(Struct, eq=False):
    """The box of a node, with its size and position. Each row is (ifname, text); further lines have no ifname."""

    node: NodePlan
    rows: list[tuple[str, str]]
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    column: int = 0

    def y_of(self, ifname: str) -> float:
        """Return the y coordinate of an interface's row; for a switch, which lists no interfaces, of the middle."""
        for number, (own, _) in enumerate(self.rows):
            if own == ifname:
                return self.y + HEADER + ROW * number + ROW / 2 - 2
        return self.y + self.height / 2


def svg(plan: LabPlan) -> str:
    """Return the drawing of a lab as SVG, ending in a newline."""
    boxes = {node.name: _box(plan, node) for node in plan.nodes}
    width, height = _place(plan, boxes)
    size = f'width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(f'{plan.name}: {size_text(plan)}')}</title>",
        f"<style>\n{STYLE}</style>",
        f'<rect class="ground" {size}/>',
    ]
    labels: list[str] = []
    for number, link in enumerate(plan.links):
        (one, one_ifname), (other, other_ifname) = link.ends
        texts = link_texts(plan, number)
        label_width = max(map(len, texts), default=0)
        line, centre = _line(boxes[one], one_ifname, boxes[other], other_ifname, label_width)
        parts.append(line)
        labels += _label(texts, centre)
    parts += [_node(box) for box in boxes.values()]
    return "\n".join([*parts, *labels, "</svg>"]) + "\n"


def _box(plan: LabPlan, node: NodePlan) -> _Box:
    if node.bridge:
        rows = [("", network) for network in networks_of(plan, node)]
    else:
        ifname_width = max((len(each.ifname) for each in node.interfaces), default=0)
        rows = [
            (each.ifname if first else "", f"{each.ifname if first else '':<{ifname_width}}  {cidr}".rstrip())
            for each in node.interfaces
            for first, cidr in zip((True, *(False for _ in each.addresses)), each.addresses or ("",), strict=False)
        ]
    kind = " · ".join(kind_texts(node))
    width = max(
        [96.0, len(node.name) * TITLE + 2 * PADDING, len(kind) * 6.4 + 2 * PADDING]
        + [len(row) * CHARACTER + 2 * PADDING for _, row in rows]
    )
    return _Box(node, rows, width, HEADER + ROW * len(rows) + (8 if rows else 2))


# ---- places of boxes -------------------------------------------------------------------------------------------------


def _place(plan: LabPlan, boxes: dict[str, _Box]) -> tuple[float, float]:
    """Place every box; return the total width and height."""
    neighbours = {node.name: [other for _, (other, _) in node_links(plan, node)] for node in plan.nodes}
    parts = columns([node.name for node in plan.nodes], neighbours)
    top, right = float(MARGIN), 0.0
    # Place groups of connected nodes first, then rows of nodes without links.
    for part in (each for each in parts if len(each) > 1):
        width, height = _place_part(plan, boxes, part, top)
        right, top = max(right, width), top + height + GAP
    x, unconnected = float(MARGIN), [boxes[part[0][0]] for part in parts if len(part) == 1]
    widest = max(right, 900.0)
    row_height = 0.0
    for box in unconnected:
        if x > MARGIN and x + box.width > widest:
            x, top, row_height = float(MARGIN), top + row_height + GAP, 0.0
        box.x, box.y = x, top
        right, row_height = max(right, x + box.width + (STUB if box.node.tun else 0)), max(row_height, box.height)
        x += box.width + 2 * GAP
    return right + MARGIN, top + row_height + (MARGIN if unconnected else MARGIN - GAP)


def _place_part(plan: LabPlan, boxes: dict[str, _Box], part: Columns, top: float) -> tuple[float, float]:
    for number, column in enumerate(part):
        for name in column:
            boxes[name].column = number
    heights = [sum(boxes[name].height + GAP for name in column) - GAP for column in part]
    height, x = max(heights), float(MARGIN)
    for number, column in enumerate(part):
        y, width = top + (height - heights[number]) / 2, max(boxes[name].width for name in column)
        for name in column:
            box = boxes[name]
            box.x, box.y, box.width = x, y, width
            y += box.height + GAP
        x += width + _width_beside(plan, column)
        if number + 1 < len(part):
            x += _width_between(plan, column, part[number + 1])
    return x + (STUB if any(boxes[name].node.tun for name in part[-1]) else 0), height


def _width_between(plan: LabPlan, column: list[str], next_column: list[str]) -> float:
    """Return the width that the labels of links between two columns need."""
    pair = {*column, *next_column}
    found = [
        number
        for number, (one, other) in enumerate(_ends(plan))
        if {one, other} <= pair and (one in column) != (other in column)
    ]
    return max([72.0] + [len(line) * LABEL + 64 for number in found for line in link_texts(plan, number)])


def _width_beside(plan: LabPlan, column: list[str]) -> float:
    """Return the width that links between nodes of one column, which bend to the right, need with their labels."""
    found = [number for number, (one, other) in enumerate(_ends(plan)) if one in column and other in column]
    widths = [len(line) for number in found for line in link_texts(plan, number)]
    return BEND + max(widths, default=0) * LABEL if found else 0.0


def _ends(plan: LabPlan) -> list[tuple[str, str]]:
    return [(link.ends[0][0], link.ends[1][0]) for link in plan.links]


# ---- boxes and lines -------------------------------------------------------------------------------------------------


def _line(
    one: _Box, one_ifname: str, other: _Box, other_ifname: str, label_width: int
) -> tuple[str, tuple[float, float]]:
    """Return the line of a link and the centre of its label, which is `label_width` characters wide."""
    if one.column > other.column:
        one, one_ifname, other, other_ifname = other, other_ifname, one, one_ifname
    y1, y2 = one.y_of(one_ifname), other.y_of(other_ifname)
    if one.column == other.column:  # a link between two nodes of one column bends to the right
        x1, x2 = one.x + one.width, other.x + other.width
        bend = max(x1, x2) + BEND
        path = f"M{x1:.1f} {y1:.1f} C{bend:.1f} {y1:.1f} {bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        return f'<path class="link" d="{path}"/>', (max(x1, x2) + 0.75 * BEND + label_width * LABEL / 2, (y1 + y2) / 2)
    x1, x2 = one.x + one.width, other.x
    middle = (x1 + x2) / 2
    path = f"M{x1:.1f} {y1:.1f} C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="link" d="{path}"/>', (middle, (y1 + y2) / 2)


def _label(lines: list[str], centre: tuple[float, float]) -> list[str]:
    x, y = centre
    if not lines:
        return []
    width, height = max(map(len, lines)) * LABEL + 6, len(lines) * LABEL_LINE + 4
    top = y - height / 2
    size = f'width="{width:.1f}" height="{height}"'
    parts = [f'<rect class="label-background" x="{x - width / 2:.1f}" y="{top:.1f}" {size} rx="3"/>']
    for number, line in enumerate(lines):
        parts.append(f'<text class="label" x="{x:.1f}" y="{top + LABEL_LINE * number + 13:.1f}">{escape(line)}</text>')
    return parts


def _node(box: _Box) -> str:
    node, x, y = box.node, box.x, box.y
    parts = [f"<g><title>{escape(' · '.join((node.name, *kind_texts(node))))}</title>"]
    for each in node.interfaces:
        if each.link < 0:  # a TUN is a short line to a circle, which stands for the program that reads it
            right, row_y = x + box.width, box.y_of(each.ifname)
            parts.append(f'<path class="tun" d="M{right:.1f} {row_y:.1f} h18"/>')
            parts.append(f'<circle class="end" cx="{right + 20:.1f}" cy="{row_y:.1f}" r="3.5"/>')
    parts += [
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="7"/>',
        f'<rect class="bar {node.kind}" x="{x:.1f}" y="{y + 7:.1f}" width="4" height="{box.height - 14:.1f}" rx="2"/>',
        f'<text class="name" x="{x + PADDING:.1f}" y="{y + 20:.1f}">{escape(node.name)}</text>',
        f'<text class="kind" x="{x + PADDING:.1f}" y="{y + 36:.1f}">{escape(" · ".join(kind_texts(node)))}</text>',
    ]
    for number, (_, row) in enumerate(box.rows):
        text_y = y + HEADER + ROW * number + 12
        text = f'<text class="row" x="{x + PADDING:.1f}" y="{text_y:.1f}" xml:space="preserve">{escape(row)}</text>'
        parts.append(text)
    return "\n".join([*parts, "</g>"])
