"""Containers removed by what is recorded of them: their ids, or the labels that tunlab gave them."""

from __future__ import annotations

import contextlib

from tunlab.engines.connection.api_errors import NotFoundError
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import container_labels
from tunlab.errors import EngineError

_ANSWERING = 10.0  # seconds, for a list; a removal itself may take longer


def remove(engine: Engine, id: str) -> None:  # noqa: A002
    """Kill and remove a container by its id; nothing if it is gone. Raises EngineError."""
    from docker.errors import APIError

    with contextlib.suppress(NotFoundError), engine.asking("remove the container", container=id[:12]):
        try:
            engine.api.remove_container(id, force=True, v=True)
        except APIError as error:
            if error.status_code != 409:  # the engine is removing it already
                raise
            _wait_until_removed(engine, id)


def _wait_until_removed(engine: Engine, id: str) -> None:  # noqa: A002
    engine.api.wait(id, timeout=engine.api.timeout, condition="removed")  # the SDK would wait without end


def of_run(engine: Engine, run: str) -> list[str]:
    """The ids of a run's containers, those that have ended too. Raises EngineError."""
    return [str(each["Id"]) for each in _listed(engine, f"{container_labels.RUN}={run}")]


def remove_run_containers(engine: Engine, run: str) -> list[str]:
    """Remove what there is of a run; returns the ids. Raises EngineError, soon if the engine does not answer at all."""
    try:
        with Engine.connect(engine.name, timeout=_ANSWERING) as brisk:
            found = of_run(brisk, run)
    except EngineError as error:
        problem = f"containers of the run could not be removed: {error.problem}"
        remedy = (
            "see whether the engine still runs, and its log: a suite's containers end by themselves when it answers"
        )
        raise EngineError(problem, engine=engine.name, remedy=remedy) from error
    return _remove(engine, found)


def remove_abandoned_containers(engine: Engine) -> list[str]:
    """Remove the containers whose process on this machine has gone; returns their ids. Raises EngineError.

    Those of others, and of processes that this one cannot see, stay.
    """
    mine = _listed(engine, f"{container_labels.HOST}={container_labels.host()}")
    return _remove(engine, [str(each["Id"]) for each in mine if container_labels.is_abandoned(each["Labels"])])


def _listed(engine: Engine, label: str) -> list[dict[str, dict[str, str]]]:
    with engine.asking("list the containers"):
        return list(engine.api.containers(all=True, filters={"label": label}))


def _remove(engine: Engine, ids: list[str]) -> list[str]:
    for each in ids:
        remove(engine, each)
    return ids
