"""Lab files: TOML text → a checked spec → a plan with every number in it. Pure; `tunlab.lab` makes it live."""

from tunlab.topology.default import DEFAULT_NAME, LabSpec, NodeSpec, check_lab_name, check_node, parse_lab

__all__ = ["DEFAULT_NAME", "LabSpec", "NodeSpec", "check_lab_name", "check_node", "parse_lab"]
