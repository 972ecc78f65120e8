"""Containers as nodes of a lab: started without a network, or found running; their namespaces are the lab's to wire.

    [nodes]
    web = { image = "nginx:alpine" }
    db  = { container = "postgres" }

The container is started by the engine, its interfaces and addresses are made by tunlab; the engine knows of none.
"""

from __future__ import annotations

import errno
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from tunlab.engines.connection.api_errors import NotFoundError
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.containers.container import Container
from tunlab.engines.images.build import pull_image
from tunlab.errors import EngineError, KernelError
from tunlab.kernel.namespace import guardian
from tunlab.kernel.namespace.netns import Netns

if TYPE_CHECKING:
    from tunlab.topology.plan import LabPlan, NodePlan

_NOTICING = 5.0  # seconds that an engine may take to see that a process of its has gone
_JOINED = 16  # containers one behind the other, each in the next one's network, that are looked at


class Record(NamedTuple):
    """By what the containers of a lab are found: their engine's address, and the label that they all have."""

    engine: str
    run: str


class LabContainers:
    """The containers of one lab; a context manager that removes those that it has started.

    record   by what they are found when this process is gone
    """

    def __init__(self, plan: LabPlan, *, stays: bool) -> None:
        """For the lab of this plan, on the engine that DOCKER_HOST or the current context means; none is made yet.

        stays   whether they outlive this process, as those of `tunlab up`; else the guardian ends what we cannot

        Raises EngineError: for no engine, and for one on another machine, whose namespaces are not here.
        """
        self._plan, self._stays = plan, stays
        self._found: dict[str, Container] = {}
        self._engine = Engine.connect()
        self.record = Record(self._engine.endpoint.url, container_labels.new_run_id())
        if not self._engine.is_here:
            self._engine.close()
            name = next(node.name for node in plan.nodes if node.kind == "container")
            problem = f"node {name} is a container, and the engine at {self.record.engine} is on another machine"
            remedy = "its network namespace is there: name an engine of this machine in DOCKER_HOST"
            raise EngineError(problem, engine=self._engine.name, remedy=remedy)

    def adopt(self, node: NodePlan) -> Netns:
        """Start a node's container, or find the one that is named; gives its network namespace.

        Raises EngineError for no such image or container, and for one that ends at once; KernelError.
        """
        container = self._start(node) if node.image else self._running(node.container)
        self._found[node.name] = container
        pid = container.pid
        try:
            if not pid:
                raise self._ended(node, container)
            netns = Netns.of_process(pid)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            if container.wait_until_exited(_NOTICING):
                raise self._ended(node, container) from None
            problem = f"the engine says that container {container.name} is process {pid}, and there is none here"
            remedy = "it runs in a virtual machine: tunlab has to run in there too"
            raise EngineError(problem, engine=self._engine.name, container=container.name, remedy=remedy) from error
        # Two looks, for who is inside a lab is in another namespace than the machine's.
        with Netns.current() as ours:
            everybodys = ours.identity == netns.identity
        if everybodys or self._network(container) == "host":
            netns.close()
            problem = f"container {container.name} has no network namespace of its own: it is in the machine's"
            remedy = "start it without --network host"
            raise EngineError(problem, engine=self._engine.name, container=container.name, remedy=remedy)
        if node.image and not self._stays:
            guardian.watch(netns.fd)
        return netns

    def _network(self, container: Container) -> str:
        """The mode of its network; where it has joined another container's, that one's."""
        mode = ""
        for _ in range(_JOINED):
            mode = str(container.inspect()["HostConfig"]["NetworkMode"])
            kind, colon, joined = mode.partition(":")
            if not colon or kind != "container":
                break
            container = Container(self._engine, joined, joined)
        return mode

    def _start(self, node: NodePlan) -> Container:
        pull_image(self._engine, node.image)
        hosts = {name: address for address, names in reversed(self._plan.hosts) for name in names}
        container = Container.create(
            self._engine,
            node.image,
            node.run[0].arguments if node.run else None,
            run=self.record.run,
            role=container_labels.STAYS if self._stays else "node",
            privileges="none",
            environment={"PYTHONUNBUFFERED": "1", **dict(node.env)},
            mounts=dict(node.files),
            hostname=node.name,
            hosts=hosts,
            auto_remove=not self._stays,
            stdin=False,
        )
        container.start()
        return container

    def _running(self, name: str) -> Container:
        try:
            with self._engine.asking(f"look for the container {name}"):
                found = self._engine.api.inspect_container(name)
        except NotFoundError:
            running = sorted(each["Names"][0].lstrip("/") for each in self._engine.api.containers())
            problem = f"there is no container {name!r}"
            remedy = f"running containers: {', '.join(running) or 'none'}"
            raise EngineError(problem, engine=self._engine.name, remedy=remedy) from None
        return Container(self._engine, found["Id"], name)

    def _ended(self, node: NodePlan, container: Container) -> EngineError:
        if node.container:
            problem, remedy = f"container {node.container!r} does not run", "start it first"
        else:
            problem = f"the container of node {node.name} ended at once ({container.ending()})"
            remedy = 'give it a program that stays, as run = ["sleep infinity"]'
        return EngineError(
            problem, engine=self._engine.name, container=container.name, remedy=remedy, log=container.log()
        )

    def look(self) -> None:
        """Start nothing, and raise EngineError for a container that is named and does not run."""
        for node in self._plan.nodes:
            if node.container and not (found := self._running(node.container)).pid:
                raise self._ended(node, found)

    def pid(self, node: str) -> int:
        """The first process of a node's container. Raises ProcessLookupError if it has ended."""
        try:
            pid = self._found[node].pid
        except NotFoundError:
            pid = 0
        if not pid:
            raise ProcessLookupError(node)
        return pid

    def output(self, node: str) -> str:
        """The end of what a node's container has printed."""
        return self._found[node].log(lines=1000)

    def exit_text(self, node: str) -> str:
        """How a node's container has ended, in words; "" if it runs."""
        try:
            return "" if self._found[node].pid else self._found[node].ending()
        except NotFoundError:
            return self._found[node].ending()

    def remove(self) -> list[str]:
        """Remove those that were started; returns their ids. Raises EngineError."""
        return cleanup.remove_run_containers(self._engine, self.record.run)

    def close(self) -> None:
        """Let go of the engine; what was started stays."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if not self._stays:
                self.remove()
        finally:
            self.close()


def remove_recorded(engine: str, run: str) -> list[str]:
    """Remove the containers of a lab whose maker is gone, by its record; returns their ids. Raises EngineError."""
    with Engine.connect(engine) as connected:
        return cleanup.remove_run_containers(connected, run)
