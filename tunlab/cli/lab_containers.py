"""The containers of a persistent lab. tunlab.engines is imported only if the lab has containers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunlab.engines.lab_nodes import LabContainers
    from tunlab.lab.build.containers import ContainersRecord
    from tunlab.topology.plan import LabPlan


@contextmanager
def containers_of(plan: LabPlan) -> Iterator[LabContainers | None]:
    """Yield the object that starts the containers of a lab; None if the lab has none. Raises EngineError."""
    if all(node.kind != "container" for node in plan.nodes):
        yield None
        return
    from tunlab.engines.lab_nodes import LabContainers

    with LabContainers(plan, persistent=True) as nodes:
        yield nodes


def check_containers(plan: LabPlan) -> None:
    """Raise EngineError if the lab needs an engine and none answers, or names a container that is not running."""
    with containers_of(plan) as nodes:
        if nodes is not None:
            nodes.check_running()


def remove_containers(record: ContainersRecord) -> list[str]:
    """Remove the containers of a lab; return their IDs. Raises EngineError."""
    from tunlab.engines.lab_nodes import remove_recorded

    return remove_recorded(record.engine, record.run)
