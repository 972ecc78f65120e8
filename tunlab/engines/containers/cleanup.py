"""Removal of containers by their IDs or labels."""

from __future__ import annotations

import contextlib

from tunlab.engines.connection.api_errors import NotFoundError
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import container_labels
from tunlab.errors import EngineError

_LIST_TIMEOUT = 10.0  # seconds to wait for a list of containers


def remove_container(engine: Engine, id: str) -> None:  # noqa: A002
    """Kill and remove a container if it exists. Raises EngineError."""
    from docker.errors import APIError

    with contextlib.suppress(NotFoundError), engine.translate_errors("remove the container", container=id[:12]):
        try:
            engine.api.remove_container(id, force=True, v=True)
        except APIError as error:
            if error.status_code != 409:  # HTTP 409: the engine is already removing the container.
                raise
            _wait_until_removed(engine, id)


def _wait_until_removed(engine: Engine, id: str) -> None:  # noqa: A002
    # Set a timeout, because the SDK's `wait` has none by default.
    engine.api.wait(id, timeout=engine.api.timeout, condition="removed")


def list_run_containers(engine: Engine, run: str) -> list[str]:
    """Return the IDs of the containers of a run, including those that have exited. Raises EngineError."""
    return [str(each["Id"]) for each in _list(engine, f"{container_labels.RUN}={run}")]


def remove_run_containers(engine: Engine, run: str) -> list[str]:
    """Remove the containers of a run; return their IDs.

    Raises:
        EngineError: A removal failed, or the engine did not list the containers within 10 seconds.
    """
    try:
        with Engine.connect(engine.name, timeout=_LIST_TIMEOUT) as impatient:
            found = list_run_containers(impatient, run)
    except EngineError as error:
        problem = f"containers of the run could not be removed: {error.problem}"
        remedy = "check that the engine is running, and read its log: a suite's containers exit once it answers"
        raise EngineError(problem, engine=engine.name, remedy=remedy) from error
    return _remove_all(engine, found)


def remove_abandoned_containers(engine: Engine) -> list[str]:
    """Remove the containers whose owner has exited; return their IDs. Raises EngineError.

    Containers of other machines and other PID namespaces are kept, because their owners are not visible here.
    """
    local = _list(engine, f"{container_labels.HOST}={container_labels.host_id()}")
    return _remove_all(engine, [str(each["Id"]) for each in local if container_labels.is_abandoned(each["Labels"])])


def _list(engine: Engine, label: str) -> list[dict[str, dict[str, str]]]:
    with engine.translate_errors("list the containers"):
        return list(engine.api.containers(all=True, filters={"label": label}))


def _remove_all(engine: Engine, ids: list[str]) -> list[str]:
    for each in ids:
        remove_container(engine, each)
    return ids
