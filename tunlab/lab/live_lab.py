"""A lab whose nodes are in this process's hands: the anonymous one, and one that stays, opened.

Rule for editors: this works on namespaces and a plan. Where they come from, and who removes them, is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tunlab.errors import LabError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import kill_programs_in
from tunlab.lab import resolver
from tunlab.lab.build.cleanup import delete_links
from tunlab.lab.build.containers import Containers, wait_ready
from tunlab.lab.build.namespaces import Namespaces, make
from tunlab.lab.build.preflight import resolve_files
from tunlab.lab.node import Node
from tunlab.topology.plan import LabPlan

if TYPE_CHECKING:
    from tunlab.kernel.network.link_events import LinkEvents
    from tunlab.lab.ping_all import Pair


class LiveLab(Closeable):
    """The nodes of a lab that is up, by their names: `lab["client"]`.

    plan    what it was made from
    nodes   by name, in the order of the lab file; the bridges that stand for links are not among them

    Closed, or left as a context manager, it ends the programs that it has started, and lets the namespaces go.
    """

    def __init__(self, plan: LabPlan, namespaces: Namespaces, *, owned: bool = True) -> None:
        """Take the namespaces, which are closed with the lab; `owned`: and whose programs then end."""
        self.plan = plan
        self._namespaces, self._owned = namespaces, owned
        self._all: dict[str, Node] = {}
        for node in plan.nodes:
            self._all[node.name] = Node(plan, node, namespaces[node.name], self._all, self._serve_names)
        self.nodes = {name: node for name, node in self._all.items() if not node.plan.implicit}
        self._closed = False
        self._names_are_served = not owned

    @classmethod
    def make(
        cls,
        plan: LabPlan,
        *,
        base: str | os.PathLike[str] = "",
        containers: Containers | None = None,
        hold: Callable[[Namespaces], None] | None = None,
    ) -> Self:
        """Make a lab that has no name, and is gone with this process at the latest; its programs are ready.

        base         where the relative paths of `files` begin: the lab file's directory; by default the working one
        containers   starts those of the nodes that are containers; to be removed by the caller, after the lab
        hold         called with the namespaces when they are made, before anything is in them: to record them

        Raises PrivilegeError, KernelError; TopologyError for what the machine has not; LabError for a program that does
        not become ready.
        """
        plan = resolve_files(plan, Path(base))
        lab = cls(plan, make(plan, containers=containers, hold=hold))
        try:
            for node in lab._all.values():
                node.start()
            lab.wait_ready()
            if containers is not None:
                wait_ready(containers, plan, lab._namespaces)
        except BaseException:
            lab.close()
            raise
        return lab

    # ---- its nodes -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As the lab file has it."""
        return self.plan.name

    def __getitem__(self, name: str) -> Node:
        """A node by its name; a bridge that stands for a link too ("link1"). Raises LabError for none."""
        try:
            return self._all[name]
        except KeyError:
            names = ", ".join(self.nodes)
            problem = f"lab {self.name!r} has no node {name!r}"
            raise LabError(self.name, problem, remedy=f"its nodes are: {names}") from None

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"<LiveLab {self.name}: {', '.join(self.nodes)}{' closed' if self._closed else ''}>"

    def wait_ready(self) -> None:
        """Wait until the programs that its nodes run from the start are ready. Raises LabError."""
        for node in self._all.values():
            node.wait_ready()

    # ---- all of them at once ---------------------------------------------------------------------------------------

    def ping_all(
        self, *, timeout: float = 1.0, told: Callable[[int, int], None] = lambda _asked, _of: None
    ) -> dict[Pair, bool]:
        """For each two nodes, (from, to), whether the second answers the first, on any of its addresses.

        No program is run. Switches are not asked. Who does not answer is asked four times.
        timeout   seconds without any answer until what is missing is given up
        """
        from tunlab.lab.ping_all import ping_all

        asked = {node.name: (node.netns, node.addresses) for node in self.nodes.values() if node.addresses}
        return ping_all(asked, timeout=timeout, told=told)

    def events(self) -> LinkEvents:
        """The changes of links in all nodes from now on; a context manager."""
        from tunlab.kernel.network.link_events import LinkEvents

        return LinkEvents({name: node.netns for name, node in self._all.items()})

    def _serve_names(self) -> None:
        """Have names answered by DNS from the first program on: until then there is nobody to ask."""
        if not self._names_are_served:
            self._names_are_served = True
            resolver.start(self.plan, self._namespaces)

    # ---- its end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End its programs if they are its own, close what was opened in its nodes, let the namespaces go."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            for netns in self._namespaces.values():
                stack.callback(netns.close)
            if self._owned:
                for planned in (each for each in self.plan.nodes if each.container):  # its namespace outlives the lab
                    stack.callback(delete_links, planned, self._namespaces[planned.name])
            for node in self._all.values():
                stack.callback(node.close)
            if self._owned:
                foreign = {node.name for node in self.plan.nodes if node.kind == "container"}
                for name in foreign:  # their processes are their engine's to end
                    stack.callback(self._namespaces[name].kill_children)
                own = (netns for name, netns in self._namespaces.items() if name not in foreign)
                stack.callback(kill_programs_in, tuple(own))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed
