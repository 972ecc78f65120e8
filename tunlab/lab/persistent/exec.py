"""Run a program in a node and exit with its exit code, as `tunlab exec` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tunlab.kernel.namespace.machine import Machine
from tunlab.kernel.namespace.netns import Netns
from tunlab.lab.node import LAB_VARIABLE, NODE_VARIABLE, mount_overlay
from tunlab.lab.persistent.exec_child import run_as_child
from tunlab.lab.persistent.exec_container import exec_in_container
from tunlab.topology.plan import LabPlan


def exec_in_node(command: Sequence[str], plan: LabPlan, node: str, netns: Netns, path: Path) -> NoReturn:
    """Run `command` in a node and exit with its exit code. In a container, run the program of the container's files.

    Args:
        command: the program and its arguments.
        plan: the plan of the lab.
        node: the node's name.
        netns: its network namespace.
        path: the socket of its init.

    Raises:
        PrivilegeError: without CAP_SYS_ADMIN.
        KernelError: if the node cannot be entered.
    """
    variables = {LAB_VARIABLE: plan.name, NODE_VARIABLE: node}
    if plan.node(node).kind == "container":
        exec_in_container(command, node, netns, variables)
    machine = Machine(netns, lambda: mount_overlay(plan, plan.node(node)), path=path)
    machine.enter_pid_namespace()
    run_as_child(command, machine.enter, {**os.environ, **dict(plan.node(node).env), **variables})
