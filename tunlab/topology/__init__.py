"""Lab files (TOML): read them into a checked spec, and compute a plan with every address and route. No I/O."""

from tunlab.topology.drawing.formats import graph
from tunlab.topology.lab_file.builder import Topology
from tunlab.topology.lab_file.reader import parse_lab
from tunlab.topology.plan import LabPlan
from tunlab.topology.planner.planner import plan
from tunlab.topology.planner.reachability import ping_target, ping_targets, reachable
from tunlab.topology.spec import DEFAULT_NAME, LabSpec, LinkSpec, NodeSpec, check_node
from tunlab.topology.values.names import check_lab_name

__all__ = [
    "DEFAULT_NAME",
    "LabPlan",
    "LabSpec",
    "LinkSpec",
    "NodeSpec",
    "Topology",
    "check_lab_name",
    "check_node",
    "graph",
    "parse_lab",
    "ping_target",
    "ping_targets",
    "plan",
    "reachable",
]
