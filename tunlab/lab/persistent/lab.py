"""A lab that stays when the command that made it has ended: its namespaces are pinned, its TUNs persist.

What is up is the kernel's to know; the lab's directory (tunlab.lab.persistent.state) records only what there is to
remove. No process stays behind.
Rule for editors: whatever a step of `up` makes is recorded before, or goes with the process that made it: after
SIGKILL at any instruction, `down` removes all of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, Self

from msgspec.structs import replace

from tunlab.errors import KernelError, LabError, PrivilegeError, TopologyError
from tunlab.kernel.namespace.guardian import find_processes
from tunlab.kernel.namespace.netns import Netns, kill_processes_in
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import resolver
from tunlab.lab.build.cleanup import delete_links, delete_tuns
from tunlab.lab.build.containers import Containers, Remove, nobody, wait_ready
from tunlab.lab.build.namespaces import Namespaces, make
from tunlab.lab.build.preflight import resolve_files
from tunlab.lab.live_lab import LiveLab
from tunlab.lab.node import LAB_VARIABLE
from tunlab.lab.persistent import state as states
from tunlab.lab.persistent.exec import exec_in_node
from tunlab.lab.persistent.privilege import NEEDS_ROOT, check_privilege
from tunlab.lab.persistent.state import NET, State
from tunlab.lab.persistent.status import Condition, Removed, Status
from tunlab.lab.programs import leave, reap
from tunlab.topology import LabPlan, LabSpec, check_lab_name, plan


class PersistentLab:
    """A lab by its name, on disk: `up` makes one, `open` finds one that is up, what is left of any is taken `down`."""

    def __init__(self, name: str) -> None:
        """For any state that it may be in. Raises TopologyError for what cannot be a name."""
        self.name = check_lab_name(name)
        self.failures: list[LabError] = []
        """After `up`: the programs that had ended by then, and not with exit code 0."""

    @property
    def directory(self) -> Path:
        """Where its state is kept."""
        return states.run_directory() / self.name

    # ---- made ------------------------------------------------------------------------------------------------------

    @classmethod
    def up(
        cls, lab: LabSpec | LabPlan, *, base: str | os.PathLike[str] = "", containers: Containers | None = None
    ) -> Self:
        """Make a lab; its programs are ready.

        base         where the relative paths of `files` begin: the lab file's directory; by default the working one
        containers   starts those of the nodes that are containers, and removes them if the lab does not come up

        Raises LabError if it is there, or a program is not ready in time; TopologyError for what the machine has not;
        PrivilegeError and KernelError as the kernel floor does. Nothing is left of it then.
        """
        made = cls(lab.name)
        planned = resolve_files(plan(lab) if isinstance(lab, LabSpec) else lab, Path(base))
        check_privilege(f"make lab {made.name!r}")
        with ExitStack() as held:
            try:
                held.enter_context(states.claimed(made.name))
            except FileExistsError:
                raise made._is_there() from None
            try:
                made._make(planned, containers)
            except BaseException:  # Ctrl-C too
                made._remove(None if containers is None else lambda _: containers.remove())
                raise
        return made

    def _make(self, planned: LabPlan, containers: Containers | None) -> None:
        state = State.first(planned, containers.record if containers else None)
        states.write(self.directory, state)

        def hold(namespaces: Namespaces) -> None:
            nonlocal state
            state = replace(state, namespaces={name: netns.identity for name, netns in namespaces.items()})
            states.write(self.directory, state)
            for name, netns in namespaces.items():
                pinned = self._pin(state, name)
                pinned.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                try:
                    netns.pin(pinned)
                except PrivilegeError as error:  # in a user namespace: every capability, and no mount of root's
                    error.remedy = NEEDS_ROOT
                    raise

        with LiveLab(planned, make(planned, hold=hold, containers=containers), owned=False) as live:
            server = resolver.start(planned, {node.name: node.netns for node in live})
            if server is not None:
                leave(server)
                state = replace(state, resolver=server.pid)
            started = [(name, number) for name, node in live.nodes.items() for number in range(len(node.plan.run))]
            for node in live:
                directory = self.directory_of(node.name, state)
                node.start([states.log(directory, number + 1) for name, number in started if name == node.name])
            live.wait_ready()
            if containers is not None:
                wait_ready(containers, planned, {node.name: node.netns for node in live})
            for node in live:
                for program in node.programs:
                    if failure := program.failure():
                        self.failures.append(failure)
                    program.leave()
        states.write(self.directory, replace(state, phase="up"))

    def _pin(self, state: State, node: str) -> Path:
        return self.directory_of(node, state) / NET

    def directory_of(self, node: str, state: State | None = None) -> Path:
        """Where a node's part of the state is kept. Raises LabError if the lab is not up."""
        state = state or self._state_now()
        return states.node_directory(self.directory, state.plan, node)

    # ---- found -----------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, name: str | None = None, *, naming: str = "") -> Self:
        """A lab that is up: of that name; of $TUNLAB_LAB; or the only one there is. Raises LabError for none.

        naming   what goes before a name to give one, for the error where there are several: "tunlab dump"
        """
        name = name or os.environ.get(LAB_VARIABLE)
        if name:
            lab = cls(name)
            if lab._condition(lab.state) != "up":
                raise lab._is_not_up()
            return lab
        up = [lab for lab in cls.all() if lab._condition(lab.state) == "up"]
        if not up:
            raise LabError("", "no lab is up", remedy="tunlab up makes one")
        if len(up) > 1:
            remedy = f"name one of them, as {naming} {up[0].name}" if naming else "name one of them"
            raise LabError("", f"{len(up)} labs are up: {', '.join(lab.name for lab in up)}", remedy=remedy)
        return up[0]

    @classmethod
    def all(cls) -> list[Self]:
        """Every lab there is something of, by name."""
        reap()
        try:
            names = sorted(entry.name for entry in states.run_directory().iterdir() if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        labs = []
        for name in names:
            with contextlib.suppress(TopologyError):  # somebody else's directory
                labs.append(cls(name))
        return labs

    def is_up(self) -> bool:
        """Whether it is whole, and not being made or removed."""
        return self._condition(self.state) == "up"

    @property
    def state(self) -> State | None:
        """What is recorded of it; None where nothing is."""
        return states.read(self.directory)

    def _state_now(self) -> State:
        state = self.state
        if state is None:
            raise self._is_not_up()
        return state

    @property
    def recorded_plan(self) -> LabPlan:
        """What it was made from. Raises LabError if the lab is not up."""
        return self._state_now().plan

    def node_name(self, name: str = "") -> str:
        """A node's name, checked; without one that of the only node, or of the only one with a TUN. Raises LabError."""
        nodes = self.recorded_plan.nodes
        named = [node.name for node in nodes if not node.implicit]
        if name:
            if any(node.name == name for node in nodes):
                return name
            close = get_close_matches(name, named, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"its nodes are: {', '.join(named)}"
            raise LabError(self.name, f"lab {self.name!r} has no node {name!r}", remedy=remedy)
        stacks = named if len(named) == 1 else [node.name for node in nodes if node.tun]
        if len(stacks) == 1:
            return stacks[0]
        problem = f"lab {self.name!r} has {len(named)} nodes: {', '.join(named)}"
        raise LabError(self.name, problem, remedy=f"say which, as {self.name}/{named[0]}")

    @property
    def ifname(self) -> str:
        """The TUN's name: of its only node, or the only one with a TUN. Raises LabError."""
        return self.ifname_of()

    def ifname_of(self, node: str = "") -> str:
        """The name of a node's first TUN, or of its first interface if it has none. Raises LabError."""
        planned = self.recorded_plan.node(self.node_name(node))
        for ifname in (planned.tun, *(each.ifname for each in planned.interfaces)):
            if ifname:
                return ifname
        raise LabError(self.name, f"node {planned.name} of lab {self.name!r} has no interface")

    def netns(self, node: str = "") -> Netns:
        """A node's namespace, held open: close it.

        Raises LabError if the lab is not up, PrivilegeError for no right, and as `node_name`.
        """
        state = self._state_now()
        netns = self._namespace(state, self.node_name(node))
        if netns is None:
            raise self._is_not_up()
        try:
            check_privilege(f"enter lab {self.name!r}")
        except PrivilegeError:
            netns.close()
            raise
        return netns

    def live(self) -> LiveLab:
        """Its nodes, in this process's hands until they are closed; the lab stays. Raises LabError if it is not up."""
        state = self._state_now()
        if self._condition(state) != "up":
            raise self._is_not_up()
        return LiveLab(state.plan, self._namespaces(state), owned=False)

    def ping_all(self, *, timeout: float = 1.0) -> dict[tuple[str, str], bool]:
        """As LiveLab.ping_all. Raises LabError if it is not up."""
        with self.live() as live:
            return live.ping_all(timeout=timeout)

    def status(self) -> Status:
        """What `tunlab ls` shows of it."""
        state = self.state
        condition = self._condition(state)
        status = Status(self.name, condition, "", "", [], None, [])
        if state is None:
            return status
        nodes, links = [node.name for node in state.plan.nodes if not node.implicit], len(state.plan.links)
        status = replace(status, since=state.created, nodes=nodes, links=links)
        if state.namespaces and condition != "gone":
            living = find_processes(set(state.namespaces.values()))
            status = replace(status, processes=[pid for pid in living if pid != state.resolver])
        stack = next((node for node in state.plan.nodes if node.tun), None)
        if stack is None:
            return status
        recorded = next(list(each.addresses) for each in stack.interfaces if each.ifname == stack.tun)
        status = replace(status, ifname=stack.tun, addresses=recorded)
        netns = self._namespace(state, stack.name)
        if netns is None:
            return status
        # The device may have been deleted or renamed by whoever works in the lab.
        with netns, contextlib.suppress(PrivilegeError), Rtnl(netns) as rtnl:
            links_now = {link.name: link for link in rtnl.links()}
            link = links_now.get(stack.tun)
            addresses = [address.cidr for address in rtnl.addresses(link.index)] if link else []
            status = replace(status, addresses=addresses, attached=bool(link and link.carrier))
        return status

    def _namespace(self, state: State, node: str) -> Netns | None:
        """The namespace that is pinned for a node, if it is the one recorded."""
        try:
            netns = Netns.open(self._pin(state, node))
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
                return None
            raise
        if netns.identity != state.namespaces.get(node):
            netns.close()
            return None
        return netns

    def _namespaces(self, state: State) -> Namespaces:
        """Those of all nodes that are there, in the plan's order; close each."""
        found = {name: self._namespace(state, name) for name in state.namespaces}
        return {name: netns for name, netns in found.items() if netns is not None}

    def _condition(self, state: State | None, *, locked: bool = False) -> Condition:
        if state is None:
            return "coming up" if not locked and states.is_locked(self.directory) else "broken"
        if state.phase == "coming up":
            return "coming up" if state.owner_lives() else "broken"
        return "up" if states.all_there(self.directory, state) else "gone"

    def _is_there(self) -> LabError:
        state = self.state
        removes = f"tunlab down {self.name} removes it"
        match self._condition(state):
            case "up":
                since = state.created if state else ""
                return LabError(self.name, f"lab {self.name!r} is up already (since {since})", remedy=removes)
            case "coming up":
                by = f" (process {state.owner})" if state else ""
                return LabError(self.name, f"lab {self.name!r} is coming up right now{by}", remedy="take another name")
            case "gone":
                are = "s are" if state and len(state.plan.nodes) > 1 else " is"
                problem = f"lab {self.name!r} is there, but its namespace{are} gone, as after a reboot"
                return LabError(self.name, problem, remedy=removes)
            case _:
                problem = f"lab {self.name!r} is there, but broken: the process that made it ended half-way"
                return LabError(self.name, problem, remedy=removes)

    def _is_not_up(self) -> LabError:
        if self.directory.is_dir():
            there = self._is_there()
            if "up already" not in there.problem:
                return there
        others = [lab.name for lab in type(self).all() if lab._condition(lab.state) == "up"]
        remedy = f"up are: {', '.join(others)}" if others else f"tunlab up --name {self.name} makes it"
        return LabError(self.name, f"there is no lab {self.name!r}", remedy=remedy)

    # ---- removed ---------------------------------------------------------------------------------------------------

    @classmethod
    def gc(cls, remove: Remove | None = None) -> list[Removed]:
        """Remove every lab whose maker was killed half-way, or whose namespaces are gone; returns what that was.

        remove   removes containers, of labs that have such
        """
        removed = []
        for lab in cls.all():
            if lab._condition(lab.state) not in ("broken", "gone"):
                continue
            with contextlib.suppress(FileNotFoundError), states.locked(lab.directory):
                if lab._condition(lab.state, locked=True) in ("broken", "gone"):  # not made anew meanwhile
                    removed.append(lab._remove(remove))
        return removed

    def down(self, remove: Remove | None = None) -> Removed:
        """Remove whatever there is of the lab, and kill what lives in it; returns what that was.

        remove   removes containers, of a lab that has such

        Raises LabError if there is nothing, if somebody else is making or removing it, or if we are inside it.
        """
        if not self.directory.is_dir():
            raise self._is_not_up()
        check_privilege(f"take down lab {self.name!r}")
        with states.locked(self.directory):
            return self._remove(remove)

    def _remove(self, remove: Remove | None) -> Removed:
        state = self.state
        if state is None:
            states.remove(self.directory)
            return Removed(self.name, [], "", namespace=False)
        if state.containers is not None and remove is None:
            raise nobody(state.plan)
        namespaces = self._namespaces(state)
        try:
            with Netns.current() as current:
                if current.identity in [netns.identity for netns in namespaces.values()]:
                    problem = f"this process is inside lab {self.name!r}"
                    raise LabError(self.name, problem, remedy="leave it first (exit), then take it down")
            kinds = {node.name: node.kind for node in state.plan.nodes}
            # A container's processes are its engine's to end.
            killed = kill_processes_in([netns for name, netns in namespaces.items() if kinds[name] != "container"])
            reap()
            deleted = [name for node in state.plan.nodes for name in delete_tuns(node, namespaces.get(node.name))]
            for node in (each for each in state.plan.nodes if each.container):
                delete_links(node, namespaces.get(node.name))
        finally:
            for netns in namespaces.values():
                netns.close()
        started = remove(state.containers) if state.containers is not None and remove is not None else []
        for node in state.plan.nodes:
            states.let_go(self._pin(state, node.name))
        states.remove(self.directory)
        ifname = deleted[0] if deleted else ""
        killed = [pid for pid in killed if pid != state.resolver]
        nodes = [name for name in namespaces if kinds[name] != "container"]
        return Removed(self.name, killed, ifname, bool(nodes), nodes, tuns=deleted, containers=started)

    # ---- used ------------------------------------------------------------------------------------------------------

    def exec(self, command: Sequence[str], node: str = "") -> NoReturn:
        """Become `command` inside a node, with TUNLAB_LAB and TUNLAB_NODE in its environment.

        Without a node's name as `node_name`. It sees what Node.popen says. Raises LabError, KernelError.
        """
        node = self.node_name(node)
        with self.netns(node) as netns:
            exec_in_node(command, self.recorded_plan, node, netns)
