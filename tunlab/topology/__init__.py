"""Lab files: TOML text → a checked spec → a plan with every number in it. Pure; `tunlab.lab` makes it live."""

from tunlab.topology.builder import Topology
from tunlab.topology.drawing import graph
from tunlab.topology.names import check_lab_name
from tunlab.topology.plan import LabPlan
from tunlab.topology.planning import plan
from tunlab.topology.reachability import ping_target, ping_targets, reachable
from tunlab.topology.reading import parse_lab
from tunlab.topology.spec import DEFAULT_NAME, LabSpec, LinkSpec, NodeSpec, check_node

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
