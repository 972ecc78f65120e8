"""Remove a persistent lab: its processes, TUNs, containers, the bind mounts of its namespaces, and its record."""

from __future__ import annotations

import contextlib

from tunlab.errors import LabError
from tunlab.kernel.namespace.machine import kill_machine
from tunlab.kernel.namespace.netns import Netns, kill_processes_in
from tunlab.lab.build.cleanup import delete_links, delete_tuns
from tunlab.lab.build.containers import RemoveContainers, no_engine_error
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.lookup import condition_of, init_path, lab_names, not_up_error, open_namespaces, pin_path
from tunlab.lab.persistent.privilege import check_privilege
from tunlab.lab.persistent.status import Removed


def take_down(name: str, remove_containers: RemoveContainers | None = None) -> Removed:
    """Remove a lab, even if `tunlab up` was killed before it finished, or the lab's namespaces no longer exist.

    Raises:
        LabError: if there is no such lab, another process is creating or removing it, or this process is inside it.
    """
    directory = states.lab_directory(name)
    if not directory.is_dir():
        raise not_up_error(name)
    check_privilege(f"take down lab {name!r}")
    with states.lock(directory):
        return remove_lab(name, remove_containers)


def remove_broken(remove_containers: RemoveContainers | None = None) -> list[Removed]:
    """Remove every lab whose `tunlab up` was killed before it finished, or whose namespaces no longer exist."""
    removed = []
    for name in lab_names():
        directory = states.lab_directory(name)
        if condition_of(name, states.read(directory)) not in ("broken", "gone"):
            continue
        with contextlib.suppress(FileNotFoundError), states.lock(directory):
            # Check again under the lock: another process may have created a new lab of this name.
            if condition_of(name, states.read(directory), locked=True) in ("broken", "gone"):
                removed.append(remove_lab(name, remove_containers))
    return removed


def remove_lab(name: str, remove_containers: RemoveContainers | None) -> Removed:
    """Remove a lab; the caller must hold the lab's lock. Raises LabError."""
    directory = states.lab_directory(name)
    state = states.read(directory)
    if state is None:
        states.remove(directory)
        return Removed(name, [], "", namespace=False)
    if state.containers is not None and remove_containers is None:
        raise no_engine_error(state.plan)
    namespaces = open_namespaces(state)
    kinds = {node.name: node.kind for node in state.plan.nodes}
    try:
        # A lab's programs may still run after its bind mounts were removed, or in network namespaces of their own.
        for node in state.plan.nodes:
            if node.name not in namespaces:
                kill_machine(init_path(state, node.name))
        with Netns.current() as current:
            if current.identity in [netns.identity for netns in namespaces.values()]:
                problem = f"this process is inside lab {name!r}"
                raise LabError(name, problem, remedy="leave the lab (exit), then take it down")
        # Do not kill processes in containers: the engine ends the containers that it started for the lab, and those
        # that existed before the lab keep running.
        killed = kill_processes_in([netns for node, netns in namespaces.items() if kinds[node] != "container"])
        tuns = [ifname for node in state.plan.nodes for ifname in delete_tuns(node, namespaces.get(node.name))]
        for node in (each for each in state.plan.nodes if each.container):
            delete_links(node, namespaces.get(node.name))
    finally:
        for netns in namespaces.values():
            netns.close()
    containers = []
    if state.containers is not None and remove_containers is not None:
        containers = remove_containers(state.containers)
    for node in state.plan.nodes:
        states.unpin_namespace(pin_path(state, node.name))
    states.remove(directory)
    nodes = [node for node in namespaces if kinds[node] != "container"]
    return Removed(name, killed, tuns[0] if tuns else "", bool(nodes), nodes, tuns=tuns, containers=containers)
