"""The containers of a lab that stays, started and removed by tunlab.engines, which is loaded only for those."""

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
    """Who starts the containers of a lab, while it is made; None for a lab without. Raises EngineError."""
    if all(node.kind != "container" for node in plan.nodes):
        yield None
        return
    from tunlab.engines.lab_nodes import LabContainers

    with LabContainers(plan, stays=True) as nodes:
        yield nodes


def refuse_missing(plan: LabPlan) -> None:
    """Raise EngineError for a lab with containers where there is no engine, or none of them that is to run already."""
    with containers_of(plan) as nodes:
        if nodes is not None:
            nodes.look()


def remove_containers(record: ContainersRecord) -> list[str]:
    """Remove the containers of a lab, by its record; returns their ids. Raises EngineError."""
    from tunlab.engines.lab_nodes import remove_recorded

    return remove_recorded(record.engine, record.run)
