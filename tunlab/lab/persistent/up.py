"""Build a persistent lab. Bind mounts keep its namespaces alive and its TUNs are persistent, so it needs no daemon.

Everything that outlives this process is recorded on disk before it is created; the kernel removes the rest when this
process ends. So `down` can remove everything, even after a SIGKILL at any point.
"""

from __future__ import annotations

from contextlib import ExitStack

from msgspec.structs import replace

from tunlab.errors import LabError, PrivilegeError
from tunlab.lab.build.containers import Containers, wait_ready
from tunlab.lab.build.namespaces import Namespaces, build
from tunlab.lab.lab import Lab
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.down import remove_lab
from tunlab.lab.persistent.lookup import exists_error, init_path, pin_path
from tunlab.lab.persistent.privilege import NEEDS_ROOT, check_privilege
from tunlab.lab.persistent.state import LabState
from tunlab.topology import LabPlan


def bring_up(plan: LabPlan, containers: Containers | None = None) -> list[LabError]:
    """Build a lab and wait until its programs are ready; on an error, remove everything created.

    Returns:
        an error for each program that has already exited with a status other than 0.

    Raises:
        LabError: if the lab exists, or a program does not become ready.
        PrivilegeError, KernelError, TopologyError: for the same reasons as in `Lab.start`.
    """
    check_privilege(f"create lab {plan.name!r}")
    with ExitStack() as stack:
        try:
            stack.enter_context(states.create_directory(plan.name))
        except FileExistsError:
            raise exists_error(plan.name) from None
        try:
            return _build(plan, containers)
        except BaseException:  # also catch KeyboardInterrupt (Ctrl-C), which is not an Exception
            remove_lab(plan.name, None if containers is None else lambda _: containers.remove())
            raise


def _build(plan: LabPlan, containers: Containers | None) -> list[LabError]:
    directory = states.lab_directory(plan.name)
    state = LabState.initial(plan, containers.record if containers else None)
    states.write(directory, state)

    def pin(namespaces: Namespaces) -> None:
        nonlocal state
        state = replace(state, namespaces={name: netns.identity for name, netns in namespaces.items()})
        states.write(directory, state)
        for name, netns in namespaces.items():
            path = pin_path(state, name)
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                netns.pin(path)
            except PrivilegeError as error:  # this process is in a user namespace, where it may not bind-mount
                error.remedy = NEEDS_ROOT
                raise

    failures: list[LabError] = []
    with Lab.attach(plan, build(plan, on_namespaces=pin, containers=containers)) as lab:
        lab.start_programs(
            lambda node: [
                states.log_path(states.node_directory(directory, plan, node.name), number)
                for number in range(1, len(node.run) + 1)
            ]
        )
        if containers is not None:
            wait_ready(containers, plan, {node.name: node.netns for node in lab})
        for node in lab:
            failures += [failure for program in node.programs if (failure := program.failure())]
            node.machine.detach(init_path(state, node.name))
    states.write(directory, replace(state, phase="up"))
    return failures
