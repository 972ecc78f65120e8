"""What a lab asks of whoever starts its containers: tunlab.engines does, and is handed in from above.

Rule for editors: nothing here knows Docker. A lab and the engines stand side by side, and neither imports the other.
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
from tunlab.lab.programs import listening_ports
from tunlab.topology.plan import LabPlan, NodePlan

_TICK = 0.02
_TAIL = 20


class ContainersRecord(Struct, frozen=True):
    """By what the containers of a lab are found when their maker is gone; recorded before the first is made.

    engine   its address
    run      the label that they all have
    """

    engine: str
    run: str


Remove: TypeAlias = Callable[[ContainersRecord], list[str]]
"""Removes the containers of a lab, and says which those were. Raises EngineError."""


class Found(Protocol):
    """What a ContainersRecord is made from."""

    @property
    def engine(self) -> str:
        """The engine's address."""

    @property
    def run(self) -> str:
        """The label."""


class Containers(Protocol):
    """The containers of one lab."""

    @property
    def record(self) -> Found:
        """By what they are found."""

    def adopt(self, node: NodePlan) -> Netns:
        """Start a node's container, or find the one that is named; gives its network namespace."""

    def pid(self, node: str) -> int:
        """Its first process."""

    def output(self, node: str) -> str:
        """What it has printed."""

    def ending(self, node: str) -> str:
        """How it has ended, in words."""

    def remove(self) -> list[str]:
        """Remove those that were started, on any ending; the others stay as they are. Returns the ids."""


def needed(plan: LabPlan) -> list[str]:
    """The nodes that are containers."""
    return [node.name for node in plan.nodes if node.kind == "container"]


def nobody(plan: LabPlan) -> LabError:
    """The error where nobody was handed in."""
    problem = f"node {needed(plan)[0]} of lab {plan.name!r} is a container, and nobody here can start or remove it"
    return LabError(plan.name, problem, remedy="use the command tunlab or the fixture lab, or make it a host")


def wait_ready(containers: Containers, plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
    """Wait until the programs of the containers are ready, as the lab file says. Raises LabError."""
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
            return f"nothing listens on TCP port {command.ready_port}"
        if command.ready_line and not re.search(command.ready_line, containers.output(node.name), re.MULTILINE):
            return f"no line of its output matches {command.ready_line!r}"
        return ""

    try:
        handle = os.pidfd_open(containers.pid(node.name))
    except ProcessLookupError:
        raise _failure(containers, plan, node, "ended before it was ready") from None
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        ended = False
        while lacks := missing():
            if ended:
                raise _failure(containers, plan, node, "ended before it was ready")
            if time.monotonic() >= deadline:
                raise _failure(containers, plan, node, f"was not ready within {command.timeout:g} s: {lacks}")
            ended = bool(poll.poll(_TICK * 1000))
    finally:
        os.close(handle)


def _failure(containers: Containers, plan: LabPlan, node: NodePlan, what: str) -> LabError:
    lines = containers.output(node.name).splitlines()[-_TAIL:]
    printed = "\nthe end of what it printed:" + "".join(f"\n  {line}" for line in lines) if lines else ""
    ending = containers.ending(node.name)
    problem = f"the container of node {node.name} {what}{f' ({ending})' if ending else ''}"
    return LabError(plan.name, problem, remedy="run the image by hand" + printed)
