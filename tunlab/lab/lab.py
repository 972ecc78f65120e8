"""Lab: a network for one test, built in code or read from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tunlab.errors import LabError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import kill_programs_in
from tunlab.lab.build.cleanup import delete_links
from tunlab.lab.build.containers import Containers, wait_ready
from tunlab.lab.build.namespaces import Namespaces, build
from tunlab.lab.build.preflight import resolve_files
from tunlab.lab.node import Node
from tunlab.topology import DEFAULT_NAME, LabSpec, Topology, check_lab_name, parse_lab, plan
from tunlab.topology.plan import LabPlan, NodePlan
from tunlab.topology.planner.start_order import start_order

if TYPE_CHECKING:
    from tunlab.kernel.network.link_events import LinkEvents
    from tunlab.lab.ping_all import Pair


class Lab(Closeable):
    """A network of nodes that exists while a `with` block runs, and does not change the host's network.

    ::

        with Lab.from_file("router.toml") as lab:
            lab["client"].run(["ping", "-c", "1", "server"], check=True)

    In code, add nodes and links first::

        lab = Lab("pair")
        lab.node("a")
        lab.node("b")
        lab.link("a", "b", delay="20ms")
        with lab:
            assert all(lab.ping_all().values())

    The kernel removes the lab when its process ends, even by SIGKILL. A `PersistentLab` stays.
    """

    def __init__(self, name: str = DEFAULT_NAME) -> None:
        """Define an empty lab; `node` and `link` add to it. Raises TopologyError for an invalid name."""
        self._name = check_lab_name(name)
        self._base = Path()
        self._topology: Topology | None = None
        self._spec: LabSpec | None = None
        self._plan: LabPlan | None = None
        self._namespaces: Namespaces = {}
        self._all: dict[str, Node] = {}
        self._is_started = self._is_entered = self._is_closed = False
        self._owns_namespaces = True

    # ---- defining a lab ----------------------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, file: str | os.PathLike[str], *, name: str | None = None) -> Self:
        """Read a lab file. Raises TopologyError with every error in it."""
        from tunlab.lab.lab_files import read_lab_file

        path = Path(file)
        return cls.from_text(read_lab_file(path), file=str(file), base=path.parent, name=name)

    @classmethod
    def from_text(
        cls, text: str, *, file: str = "", base: str | os.PathLike[str] = "", name: str | None = None
    ) -> Self:
        """Read a lab from TOML text.

        Args:
            text: the content of a lab file.
            file: the file name to show in errors.
            base: the directory of relative paths in `files`; by default the working directory.
            name: the lab's name, in place of the one in the text.

        Raises:
            TopologyError: with every error in the text.
        """
        return cls.from_spec(parse_lab(text, file).override(name=name), base=base)

    @classmethod
    def from_spec(cls, spec: LabSpec, *, base: str | os.PathLike[str] = "") -> Self:
        """Create a lab from the checked content of a lab file; `base` is the directory of relative paths in `files`."""
        lab = cls(spec.name)
        lab._spec, lab._base = spec, Path(base)
        return lab

    @classmethod
    def from_plan(cls, plan: LabPlan, *, base: str | os.PathLike[str] = "") -> Self:
        """Create a lab from its plan, which has every address; `base` is the directory of relative paths in `files`."""
        lab = cls(plan.name)
        lab._plan, lab._base = plan, Path(base)
        return lab

    def node(self, name: str, **keys: Any) -> str:
        """Add a node and return its name, for use in `link`. Keyword arguments are the keys of a `[nodes]` table.

        Raises:
            ValueError: if the lab has a node of this name.
            LabError: if the lab was read from a file.
        """
        return self._builder().node(name, **keys)

    def link(self, *ends: str | Mapping[str, Any], **keys: Any) -> None:
        """Add a link: `lab.link("a", "b:eth1", delay="20ms")`. Keyword arguments are the keys of a `[[links]]` table.

        Raises:
            LabError: if the lab was read from a file.
        """
        self._builder().link(*ends, **keys)

    def _builder(self) -> Topology:
        if self._spec is not None or self._plan is not None:
            problem = f"lab {self.name!r} is already defined and takes no more nodes or links"
            raise LabError(self.name, problem, remedy="change the lab file, or start with an empty lab, Lab(name)")
        if self._topology is None:
            self._topology = Topology(self.name)
        return self._topology

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._name

    @property
    def spec(self) -> LabSpec:
        """The lab's definition. Raises TopologyError if it has invalid keys, LabError if it has no nodes."""
        if self._spec is not None:
            return self._spec
        if self._topology is None:
            raise LabError(self.name, f"lab {self.name!r} has no nodes", remedy="add nodes with node()")
        return self._topology.spec()

    @property
    def plan(self) -> LabPlan:
        """The lab's plan: every interface, address and route. Raises the same errors as `spec`."""
        return plan(self.spec) if self._plan is None else self._plan

    # ---- start and end -----------------------------------------------------------------------------------------------

    def start(
        self, *, containers: Containers | None = None, on_namespaces: Callable[[Namespaces], None] | None = None
    ) -> Self:
        """Build the lab and wait until its programs are ready; a `with` block calls this. The caller closes the lab.

        Args:
            containers: starts the nodes that are containers. The caller removes them after the lab.
            on_namespaces: called with the empty namespaces, before interfaces are created.

        Raises:
            TopologyError: if the lab needs a file or sysctl that this machine does not have.
            LabError: if a program does not become ready.
            PrivilegeError, KernelError: if the kernel refuses.
        """
        if self._is_started:
            raise self._reuse_error()
        planned = resolve_files(self.plan, self._base)
        self._attach(planned, build(planned, containers=containers, on_namespaces=on_namespaces), {})
        try:
            self.start_programs()
            if containers is not None:
                wait_ready(containers, planned, self._namespaces)
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def attach(cls, plan: LabPlan, namespaces: Namespaces, paths: Mapping[str, Path] | None = None) -> Self:
        """Return a `Lab` for a lab that already runs in these namespaces; closing it leaves the lab running.

        Args:
            plan: the lab's plan.
            namespaces: the network namespace of each node.
            paths: the socket of each node's init.
        """
        lab = cls.from_plan(plan)
        lab._owns_namespaces = False
        lab._attach(plan, namespaces, paths or {})
        return lab

    def _attach(self, plan: LabPlan, namespaces: Namespaces, paths: Mapping[str, Path]) -> None:
        self._plan, self._namespaces, self._is_started = plan, namespaces, True
        for node in plan.nodes:
            self._all[node.name] = Node(plan, node, namespaces[node.name], self._all, paths.get(node.name))

    def __enter__(self) -> Self:
        if self._is_entered or self._is_closed:
            raise self._reuse_error()
        if not self._is_started:
            self.start()
        self._is_entered = True
        return self

    def _reuse_error(self) -> LabError:
        state = "closed" if self._is_closed else "already running"
        return LabError(self.name, f"lab {self.name!r} is {state}", remedy="create a new Lab")

    def start_programs(
        self,
        logs: Callable[[NodePlan], Sequence[Path]] = lambda _: (),
        *,
        nodes: Collection[str] = (),
        setup: bool = True,
    ) -> None:
        """Start the programs of the nodes in the order of `after`, and wait until they are ready.

        Args:
            logs: returns the output files of a node's programs.
            nodes: the names of the nodes; by default all.
            setup: run the programs of `setup` before.

        Raises:
            LabError: if a program of `setup` fails, or one of `run` does not become ready.
            KernelError: if a program cannot be started.
        """
        for group in start_order(tuple(node for node in self.plan.nodes if not nodes or node.name in nodes)):
            for node in group:
                self._all[node.name].start(logs(node), setup=setup)
            for node in group:
                self._all[node.name].wait_ready()

    def failures(self) -> list[LabError]:
        """Return an error for each program of `run` that has ended; not for one with `may_exit` or `ready.exit`."""
        programs = (program for node in self._all.values() for program in node.programs)
        return [failure for each in programs if (failure := each.failure(unless_successful=False))]

    def close(self) -> None:
        """Close the sockets, TUNs and captures of the nodes, kill the programs, and delete the namespaces.

        May be repeated. The programs and namespaces of a persistent lab remain.
        """
        if self._is_closed or not self._is_started:
            return
        self._is_closed = True
        planned = self.plan
        with ExitStack() as stack:
            for netns in self._namespaces.values():
                stack.callback(netns.close)
            if self._owns_namespaces:
                # Containers that existed before the lab outlive it, so the lab's interfaces in them must be deleted.
                for each in (node for node in planned.nodes if node.container):
                    stack.callback(delete_links, each, self._namespaces[each.name])
            for node in self._all.values():
                stack.callback(node.close)
            if self._owns_namespaces:
                for node in self._all.values():
                    stack.callback(node.machine.kill)
                containers = {node.name for node in planned.nodes if node.kind == "container"}
                for name in containers:  # kill only what tunlab started; the container engine ends the rest
                    stack.callback(self._namespaces[name].kill_children)
                created = (netns for name, netns in self._namespaces.items() if name not in containers)
                stack.callback(kill_programs_in, tuple(created))

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._is_closed

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "running" if self._is_started else "not started"
        return f"<Lab {self.name}, {state}>"

    # ---- nodes -------------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[str, Node]:
        """The running lab's nodes by name, in the order of the lab file, without bridges that tunlab has added."""
        return {name: node for name, node in self._all.items() if not node.plan.implicit}

    def __getitem__(self, name: str) -> Node:
        """Return a node of the running lab. Raises LabError if the lab has no such node."""
        try:
            return self._all[name]
        except KeyError:
            if not self._is_started:
                problem = f"lab {self.name!r} is not running"
                raise LabError(self.name, problem, remedy="use its nodes inside `with lab:`") from None
            problem = f"lab {self.name!r} has no node {name!r}"
            raise LabError(self.name, problem, remedy=f"its nodes are {', '.join(self.nodes)}") from None

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def ping_all(
        self, *, timeout: float = 1.0, progress: Callable[[int, int], None] = lambda _sent, _total: None
    ) -> dict[Pair, bool]:
        """Ping every node from every other; return {(from, to): True if `to` replied on any address}.

        Uses sockets, not the `ping` program, and skips switches. Without a reply, a ping is sent up to four times.

        Args:
            timeout: seconds without any reply until unanswered pings are sent again.
            progress: called with the number of pings sent and their total.
        """
        from tunlab.lab.ping_all import ping_all

        nodes = {node.name: (node.netns, node.addresses) for node in self if node.addresses}
        return ping_all(nodes, timeout=timeout, progress=progress)

    def events(self) -> LinkEvents:
        """Return a context manager that reports changes of all nodes' interfaces from now on."""
        from tunlab.kernel.network.link_events import LinkEvents

        return LinkEvents({name: node.netns for name, node in self._all.items()})
