"""Drawings of labs: they show every node, Graphviz reads the DOT, and boxes and labels in SVG do not overlap."""

import itertools
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given

from tests.topology.strategies import labs, sampled
from tunlab.topology import parse_lab, plan
from tunlab.topology.drawing.formats import graph
from tunlab.topology.drawing.layout import columns

LABS = Path(__file__).parents[2] / "lab"
EACH_READY_LAB = pytest.mark.parametrize("file", sorted(LABS.glob("*.toml")), ids=lambda file: file.stem)
SVG = "{http://www.w3.org/2000/svg}"

CAMPUS = """
name = "campus"
[nodes]
pc = {}
r1 = { forward = true, loopback = ["192.0.2.1/32"] }
r2 = { forward = true }
home = { kind = "nat", outside = "r2" }
web = { image = "nginx:\\"alpine\\" <&>" }
stack = { tun = "10.9.0.1/24" }
sw = { kind = "switch" }
[[links]]
ends = ["pc", "sw"]
[[links]]
ends = ["sw", "r1"]
rate = "10mbit"
[[links]]
ends = ["r1", { node = "r2", loss = "1%", jitter = "1500us" }]
delay = "20ms"
[[links]]
ends = ["r2", "home", "web"]
mtu = 1400
"""


TREE = """\
campus: 7 nodes, 4 links
├─ pc · host
│  └─ eth0  10.0.1.1/24  ── sw:eth0
├─ r1 · router · lo 192.0.2.1/32
│  ├─ eth0  10.0.1.2/24  ── sw:eth1     10 Mbit/s
│  └─ eth1  10.0.3.1/24  ── r2:eth0     20 ms
├─ r2 · router
│  ├─ eth0  10.0.3.2/24  ── r1:eth1     20 ms ± 1.5 ms, loss 1 %
│  └─ eth1  10.0.4.1/24  ── link4:eth0  MTU 1400
├─ home · NAT router · outside eth0
│  └─ eth0  10.0.4.2/24  ── link4:eth1  MTU 1400
├─ web · container · nginx:"alpine" <&>
│  └─ eth0  10.0.4.3/24  ── link4:eth2  MTU 1400
├─ stack · host
│  └─ tun0  10.9.0.1/24  TUN
├─ sw · switch
│  ├─ eth0               ── pc:eth0
│  └─ eth1               ── r1:eth0     10 Mbit/s
└─ link4 · bridge
   ├─ eth0               ── r2:eth1     MTU 1400
   ├─ eth1               ── home:eth0   MTU 1400
   └─ eth2               ── web:eth0    MTU 1400
"""


def plan_of(text):
    return plan(parse_lab(text))


def test_graph_as_text_is_a_tree_of_nodes_and_interfaces():
    assert graph(plan_of(CAMPUS)) == TREE


def test_graph_as_mermaid_labels_nodes_and_links():
    lines = graph(plan_of(CAMPUS), "mermaid").splitlines()
    assert lines[0] == "graph LR"
    assert '    n4[["<b>web</b><br/>container · nginx:#quot;alpine#quot; <&><br/>eth0 10.0.4.3/24"]]' in lines
    assert '    n1 ---|"10.0.3.0/24<br/>r1: 20 ms<br/>r2: 20 ms ± 1.5 ms, loss 1 %"| n2' in lines
    assert '    n6{{"<b>sw</b><br/>switch<br/>10.0.1.0/24"}}' in lines


def test_graph_as_dot_labels_nodes_and_links():
    drawn = graph(plan_of(CAMPUS), "dot")
    assert drawn.startswith('graph "campus" {\n')
    assert '"web" [label="web\\ncontainer · nginx:\\"alpine\\" <&>\\neth0 10.0.4.3/24", shape=box3d];' in drawn
    assert '"sw" -- "r1" [label="10 Mbit/s", taillabel="eth1", headlabel="eth0"];' in drawn


@EACH_READY_LAB
@pytest.mark.parametrize("form", ["text", "mermaid", "dot", "svg"])
def test_graph_of_ready_labs_contains_every_node_and_address(file, form):
    planned = plan_of(file.read_text())
    drawn = graph(planned, form)
    assert drawn.endswith("\n")
    for node in planned.nodes:
        assert node.name in drawn
        for interface in node.interfaces:
            assert all(cidr in drawn for cidr in interface.addresses)


@EACH_READY_LAB
def test_graph_as_dot_is_accepted_by_graphviz(file):
    drawn = graph(plan_of(file.read_text()), "dot")
    laid_out = subprocess.run(["dot", "-Tplain"], input=drawn, capture_output=True, text=True, check=True)
    assert laid_out.stderr == ""
    assert len(re.findall(r"^edge ", laid_out.stdout, re.MULTILINE)) == len(plan_of(file.read_text()).links)


def test_graph_in_unknown_format_raises_value_error():
    with pytest.raises(ValueError, match=r"'png' is not a drawing format\. Choose text, mermaid, dot or svg"):
        graph(plan_of(CAMPUS), "png")


class TestSvg:
    def boxes(self, root, css_class="box"):
        return [tuple(float(each.get(key)) for key in ("x", "y", "width", "height"))
                for each in root.iter(f"{SVG}rect") if each.get("class") == css_class]  # fmt: skip

    def test_graph_as_svg_has_a_title_and_no_external_references(self):
        drawn = graph(plan_of(CAMPUS), "svg")
        root = ElementTree.fromstring(drawn)
        assert root.find(f"{SVG}title").text == "campus: 7 nodes, 4 links"
        assert "prefers-color-scheme: dark" in drawn
        assert "href" not in drawn
        assert "url(" not in drawn

    @given(labs())
    @sampled(50)
    def test_graph_as_svg_has_no_overlapping_boxes_or_labels(self, lab):
        planned = plan(lab.spec())
        root = ElementTree.fromstring(graph(planned, "svg"))
        width, height = float(root.get("width")), float(root.get("height"))
        boxes = self.boxes(root)
        assert len(boxes) == len(planned.nodes)
        assert sum(each.get("class") == "link" for each in root.iter(f"{SVG}path")) == len(planned.links)
        labels = self.boxes(root, "label-background")
        for x, y, w, h in boxes + labels:
            assert x >= 0 <= y
            assert x + w <= width + 1
            assert y + h <= height + 1
        pairs = [*itertools.combinations(boxes, 2), *itertools.product(boxes, labels)]
        for (x, y, w, h), (other_x, other_y, other_w, other_h) in pairs:
            is_beside = x + w <= other_x or other_x + other_w <= x
            is_above_or_below = y + h <= other_y or other_y + other_h <= y
            assert is_beside or is_above_or_below


class TestLayout:
    def test_layout_of_a_path_has_one_node_per_column(self):
        neighbours = {"a": ["b"], "b": ["a", "c"], "c": ["b"]}
        assert columns(["a", "b", "c"], neighbours) == [[["a"], ["b"], ["c"]]]
        assert columns(["b", "a", "c"], neighbours) == [[["a"], ["b"], ["c"]]]

    def test_layout_of_a_star_with_four_leaves_puts_two_on_each_side(self):
        neighbours = {"hub": list("abcd"), **{leaf: ["hub"] for leaf in "abcd"}}
        assert columns(["hub", *"abcd"], neighbours) == [[["a", "b"], ["hub"], ["c", "d"]]]

    def test_layout_of_a_star_with_three_leaves_puts_the_first_leaf_alone(self):
        neighbours = {"hub": list("abc"), **{leaf: ["hub"] for leaf in "abc"}}
        assert columns(["hub", *"abc"], neighbours) == [[["a"], ["hub"], ["b", "c"]]]

    def test_layout_puts_leaves_of_a_hub_opposite_its_other_neighbours(self):
        neighbours = {"a": ["s"], "b": ["s"], "s": ["a", "b", "r"], "r": ["s", "c"], "c": ["r"]}
        assert columns(list("abscr"), neighbours) == [[["a", "b"], ["s"], ["r"], ["c"]]]

    def test_layout_orders_columns_so_that_links_do_not_cross(self):
        neighbours = {
            "s": ["a", "b"],
            "a": ["s", "y"],
            "b": ["s", "x"],
            "x": ["b", "t"],
            "y": ["a", "t"],
            "t": ["x", "y"],
        }
        ((_, one, two, _),) = columns(["s", "a", "b", "x", "y", "t"], neighbours)
        assert [neighbours[node][1] for node in one] == two
