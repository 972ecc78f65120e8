"""The interface between labs and the container engine (Docker) that starts their containers.

tunlab.lab and tunlab.engines do not import each other: tunlab.engines implements the protocol `Containers`, and the
caller passes such an object to the lab.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from msgspec import Struct

from tunlab.errors import LabError
from tunlab.kernel.namespace.netns import Netns
from tunlab.lab.readiness import listening_ports
from tunlab.topology.plan import LabPlan, NodePlan

_CHECK_INTERVAL = 0.02  # seconds between checks: the kernel does not report that a socket starts to listen
_OUTPUT_LINES = 20  # an error message shows at most this many lines of a program's output


class ContainersRecord(Struct, frozen=True):
    """Data with which a later process finds a lab's containers. It is written to disk before the first one starts.

    Attributes:
        engine: the address of the container engine.
        run: the ID in the labels of all containers of the lab.
    """

    engine: str
    run: str


RemoveContainers: TypeAlias = Callable[[ContainersRecord], list[str]]
"""Removes the containers of a lab and returns their IDs. Raises EngineError."""


class EngineRecord(Protocol):
    """A protocol for objects with the fields of ContainersRecord, such as the record that tunlab.engines makes."""

    @property
    def engine(self) -> str:
        """The address of the container engine."""

    @property
    def run(self) -> str:
        """The ID in the labels of all containers of the lab."""


class Containers(Protocol):
    """A protocol for the object that starts, finds and removes the containers of one lab."""

    @property
    def record(self) -> EngineRecord:
        """Data with which a later process finds the containers."""

    def adopt(self, node: NodePlan) -> Netns:
        """Start a node's container from `image`, or find the running one named `container`; return its namespace."""

    def pid(self, node: str) -> int:
        """Return the PID of the container's first process."""

    def output(self, node: str) -> str:
        """Return the container's output so far."""

    def exit_text(self, node: str) -> str:
        """Return how the container exited, such as "exit status 1"; "" while it runs."""

    def remove(self) -> list[str]:
        """Remove the containers that were started for the lab, and return their IDs."""


def container_nodes(plan: LabPlan) -> list[str]:
    """Return the names of the nodes that are containers."""
    return [node.name for node in plan.nodes if node.kind == "container"]


def no_engine_error(plan: LabPlan) -> LabError:
    """Return the error for a lab that has containers when there is no engine to start or remove them."""
    problem = f"node {container_nodes(plan)[0]} of lab {plan.name!r} is a container, which needs an engine"
    return LabError(plan.name, problem, remedy="use the `tunlab` command or the `lab` fixture, or make the node a host")


def wait_ready(containers: Containers, plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
    """Wait until the programs of the containers are ready. Raises LabError."""
    for node in plan.nodes:
        if node.kind == "container":
            for command in node.run:
                if command.ready_port or command.ready_line:
                    _wait(containers, plan, node, namespaces[node.name])


def _wait(containers: Containers, plan: LabPlan, node: NodePlan, netns: Netns) -> None:
    command = node.run[0]
    deadline = time.monotonic() + command.timeout

    def missing() -> str:
        if command.ready_port and command.ready_port not in listening_ports(netns):
            return f"no socket listens on TCP port {command.ready_port}"
        if command.ready_line and not re.search(command.ready_line, containers.output(node.name), re.MULTILINE):
            return f"no line of its output matches {command.ready_line!r}"
        return ""

    try:
        handle = os.pidfd_open(containers.pid(node.name))
    except ProcessLookupError:
        raise _failure(containers, plan, node, "exited before it was ready") from None
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        has_exited = False
        while reason := missing():
            if has_exited:
                raise _failure(containers, plan, node, "exited before it was ready")
            if time.monotonic() >= deadline:
                raise _failure(containers, plan, node, f"was not ready after {command.timeout:g} s: {reason}")
            has_exited = bool(poll.poll(_CHECK_INTERVAL * 1000))
    finally:
        os.close(handle)


def _failure(containers: Containers, plan: LabPlan, node: NodePlan, problem: str) -> LabError:
    lines = containers.output(node.name).splitlines()[-_OUTPUT_LINES:]
    printed = "\nthe end of its output:" + "".join(f"\n  {line}" for line in lines) if lines else ""
    exit_text = containers.exit_text(node.name)
    problem = f"the container of node {node.name} {problem}{f' ({exit_text})' if exit_text else ''}"
    return LabError(plan.name, problem, remedy="run the image yourself to see why" + printed)
