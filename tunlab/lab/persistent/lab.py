"""PersistentLab: a lab that stays when the process that created it has ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Self

from tunlab.errors import LabError, PrivilegeError
from tunlab.kernel.namespace.netns import Netns
from tunlab.lab.build.containers import Containers, RemoveContainers
from tunlab.lab.build.preflight import resolve_files
from tunlab.lab.lab import Lab
from tunlab.lab.node import LAB_VARIABLE
from tunlab.lab.persistent import lookup
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.down import remove_broken, take_down
from tunlab.lab.persistent.exec import exec_in_node
from tunlab.lab.persistent.privilege import check_privilege
from tunlab.lab.persistent.state import LabState
from tunlab.lab.persistent.status import Removed, Status
from tunlab.lab.persistent.up import bring_up
from tunlab.topology import LabPlan, LabSpec, check_lab_name, plan
from tunlab.topology.plan import NodePlan


class PersistentLab:
    """A lab that stays until `down`, such as one that `tunlab up` creates.

    ::

        PersistentLab.up(lab.spec)
        with PersistentLab.open("office").live() as lab:
            lab["pc"].run(["ping", "-c", "1", "server"])
        PersistentLab.open("office").down()

    A record below /run/tunlab lists what `down` has to remove; whether the lab is up is read from the kernel.
    """

    def __init__(self, name: str) -> None:
        """Refer to a lab by name; the lab need not exist. Raises TopologyError for an invalid name."""
        self.name = check_lab_name(name)
        self.failures: list[LabError] = []
        """An error for each program that exited with a status other than 0 before `up` returned."""

    def __repr__(self) -> str:
        return f"<PersistentLab {self.name}>"

    # ---- up and down -------------------------------------------------------------------------------------------------

    @classmethod
    def up(
        cls, lab: LabSpec | LabPlan, *, base: str | os.PathLike[str] = "", containers: Containers | None = None
    ) -> Self:
        """Create a lab and wait until its programs are ready; on an error, remove everything created.

        Args:
            lab: the definition, as from `Lab.spec`.
            base: the directory of relative paths in `files`; by default the working directory.
            containers: starts the nodes that are containers, and removes them if the lab does not come up.

        Raises:
            LabError: if the lab exists, or a program does not become ready.
            TopologyError: if the lab needs a file or sysctl that this machine does not have.
            PrivilegeError, KernelError: if the kernel refuses.
        """
        created = cls(lab.name)
        planned = resolve_files(plan(lab) if isinstance(lab, LabSpec) else lab, Path(base))
        created.failures = bring_up(planned, containers)
        return created

    def down(self, remove_containers: RemoveContainers | None = None) -> Removed:
        """Remove the lab and kill its processes; return what was removed.

        This works even if the lab's `up` was killed or its namespaces no longer exist.

        Args:
            remove_containers: removes containers, if the lab has any.

        Raises:
            LabError: if there is no such lab, another process is creating or removing it, or this process is inside it.
        """
        return take_down(self.name, remove_containers)

    @classmethod
    def gc(cls, remove_containers: RemoveContainers | None = None) -> list[Removed]:
        """Remove all labs whose `up` was killed or whose namespaces no longer exist; return what was removed."""
        return remove_broken(remove_containers)

    # ---- finding labs ------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, name: str | None = None, *, prefix: str = "") -> Self:
        """Return a running lab: the one named, else the one named in $TUNLAB_LAB, else the only one that is up.

        Args:
            name: the lab's name.
            prefix: a command such as "tunlab dump". If several labs are up, the error suggests it with a lab's name.

        Raises:
            LabError: if the named lab is not up; without a name, if no lab or several labs are up.
        """
        name = name or os.environ.get(LAB_VARIABLE)
        if name:
            lab = cls(name)
            lookup.read_running(lab.name)
            return lab
        running = lookup.running_labs()
        if not running:
            raise LabError("", "no lab is up", remedy="`tunlab up` creates one")
        if len(running) > 1:
            remedy = f"name one of them: `{prefix} {running[0]}`" if prefix else "name one of them"
            raise LabError("", f"{len(running)} labs are up: {', '.join(running)}", remedy=remedy)
        return cls(running[0])

    @classmethod
    def ls(cls) -> list[Self]:
        """Return all labs with a directory below /run/tunlab, up or not, sorted by name."""
        return [cls(name) for name in lookup.lab_names()]

    def is_up(self) -> bool:
        """Return True if the lab is complete, and not being created or removed."""
        return lookup.condition_of(self.name, self.state) == "up"

    def status(self) -> Status:
        """Return the lab's condition, addresses and processes, as `tunlab ls` shows them."""
        return lookup.status_of(self.name)

    @property
    def directory(self) -> Path:
        """The directory of the lab's record."""
        return states.lab_directory(self.name)

    @property
    def state(self) -> LabState | None:
        """The lab's record on disk; None if it has none."""
        return states.read(self.directory)

    @property
    def plan(self) -> LabPlan:
        """The lab's plan, as recorded. Raises LabError if there is no record."""
        return self._recorded().plan

    def _recorded(self) -> LabState:
        state = self.state
        if state is None:
            raise lookup.not_up_error(self.name)
        return state

    # ---- nodes -------------------------------------------------------------------------------------------------------

    def node_name(self, name: str = "") -> str:
        """Check a node's name and return it; if it is empty, return the only node, else the only node with a TUN.

        Raises:
            LabError: if there is no such node, or no name is given and several nodes match.
        """
        return lookup.find_node(self.plan, name)

    def node_directory(self, node: str) -> Path:
        """Return the directory of a node's bind mount, socket and logs. Raises LabError if there is no record."""
        return states.node_directory(self.directory, self.plan, node)

    def ifname(self, node: str = "") -> str:
        """Return the name of a node's first TUN, or of its first interface if it has none. Raises LabError."""
        planned = self.plan.node(self.node_name(node))
        for ifname in (planned.tun, *(each.ifname for each in planned.interfaces)):
            if ifname:
                return ifname
        raise LabError(self.name, f"node {planned.name} of lab {self.name!r} has no interface")

    def netns(self, node: str = "") -> Netns:
        """Open a node's network namespace and return it; the caller closes it.

        Raises:
            LabError: if the lab is not up, or has no such node.
            PrivilegeError: if this user may not enter it.
        """
        netns = lookup.open_namespace(self._recorded(), self.node_name(node))
        if netns is None:
            raise lookup.not_up_error(self.name)
        try:
            check_privilege(f"enter lab {self.name!r}")
        except PrivilegeError:
            netns.close()
            raise
        return netns

    def restart(self, nodes: Sequence[str] = ()) -> list[LabError]:
        """End every process of the nodes, start their programs again, and wait until they are ready.

        Links, routes, the firewall and files stay as they are, and `setup` does not run again.

        Args:
            nodes: the names of the nodes; by default all.

        Returns:
            an error for each program that has already exited with a status other than 0.

        Raises:
            LabError: if the lab is not up, or a program does not become ready.
        """
        check_privilege(f"restart lab {self.name!r}")
        with states.lock(self.directory), self.live() as lab:
            names = list(nodes) or [node.name for node in self.plan.nodes if node.kind != "container"]
            for name in names:
                if self.plan.node(name).run:
                    lab[name].machine.start()
                    lab[name].machine.kill_programs()
            lab.start_programs(self._logs, nodes=names, setup=False)
            programs = [program for name in names for program in lab[name].programs]
            return [failure for program in programs if (failure := program.failure())]

    def _logs(self, node: NodePlan) -> list[Path]:
        return [states.log_path(self.node_directory(node.name), number) for number in range(1, len(node.run) + 1)]

    def live(self) -> Lab:
        """Return the running lab as a `Lab`, to run programs and read packets. Closing it leaves the lab up.

        Raises:
            LabError: if the lab is not up.
        """
        state = lookup.read_running(self.name)
        paths = {node.name: lookup.init_path(state, node.name) for node in state.plan.nodes}
        return Lab.attach(state.plan, lookup.open_namespaces(state), paths)

    def exec(self, command: Sequence[str], node: str = "") -> NoReturn:
        """Run `command` in a node, and exit with its exit code. Raises LabError, KernelError."""
        node = self.node_name(node)
        with self.netns(node) as netns:
            exec_in_node(command, self.plan, node, netns, self.node_directory(node) / states.INIT)
