"""Containers as nodes of a lab.

    [nodes]
    web = { image = "nginx:alpine" }
    db  = { container = "postgres" }

For an image, the engine starts a container without a network; a container that is named must be running. tunlab
creates the lab's interfaces, addresses and routes in the container's network namespace.
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

_EXIT_TIMEOUT = 5.0  # seconds to wait until the engine reports that a container has exited
_MAX_JOINED = 16  # maximum length of a chain of containers in which each shares the network of the next


class Record(NamedTuple):
    """The data to find the containers of a lab: the engine's address, and the run ID in their labels."""

    engine: str
    run: str


class LabContainers:
    """The containers of one lab; a context manager that removes the containers it started.

    Attributes:
        record: The data to find the containers after this process has exited.
    """

    def __init__(self, plan: LabPlan, *, persistent: bool) -> None:
        """Connect to the engine of DOCKER_HOST or the current context, without starting a container.

        Args:
            plan: The lab's plan.
            persistent: True if the containers outlive this process, as for `tunlab up`. If not, the guardian kills
                them if this process is killed.

        Raises:
            EngineError: No engine answers, or it is on another machine: its network namespaces are not here.
        """
        self._plan, self._persistent = plan, persistent
        self._found: dict[str, Container] = {}
        self._engine = Engine.connect()
        self.record = Record(self._engine.endpoint.url, container_labels.new_run_id())
        if not self._engine.is_local:
            self._engine.close()
            name = next(node.name for node in plan.nodes if node.kind == "container")
            problem = f"node {name} is a container, and the engine at {self.record.engine} is on another machine"
            remedy = "name an engine of this machine in DOCKER_HOST, because a lab needs its nodes' network namespaces"
            raise EngineError(problem, engine=self._engine.name, remedy=remedy)

    def adopt(self, node: NodePlan) -> Netns:
        """Start the container of a node, or find the existing one that the node names; return its network namespace.

        Raises:
            EngineError: The image or container does not exist, or the container has exited.
            KernelError: Its network namespace cannot be opened.
        """
        container = self._start(node) if node.image else self._find(node.container)
        self._found[node.name] = container
        pid = container.pid
        try:
            if not pid:
                raise self._exited(node, container)
            netns = Netns.of_process(pid)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            if container.wait_until_exited(_EXIT_TIMEOUT):
                raise self._exited(node, container) from None
            problem = f"process {pid} of container {container.name} does not exist on this machine"
            remedy = "if the engine runs in a virtual machine, run tunlab in that machine"
            raise EngineError(problem, engine=self._engine.name, container=container.name, remedy=remedy) from error
        # Check the network mode too: this process may be in another network namespace than the machine's, so comparing
        # the container's namespace with the current one is not enough.
        with Netns.current() as current:
            same = current.identity == netns.identity
        if same or self._network_mode(container) == "host":
            netns.close()
            problem = f"container {container.name} shares the machine's network namespace"
            remedy = "start the container without --network host"
            raise EngineError(problem, engine=self._engine.name, container=container.name, remedy=remedy)
        if node.image and not self._persistent:
            guardian.watch(netns.fd)
        return netns

    def _network_mode(self, container: Container) -> str:
        """Return the container's network mode; if it shares another container's network, that container's mode."""
        mode = ""
        for _ in range(_MAX_JOINED):
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
            role=container_labels.PERSISTENT if self._persistent else "node",
            privileges="none",
            environment={"PYTHONUNBUFFERED": "1", **dict(node.env)},
            mounts=dict(node.files),
            hostname=node.name,
            hosts=hosts,
            auto_remove=not self._persistent,
            stdin=False,
        )
        container.start()
        return container

    def _find(self, name: str) -> Container:
        try:
            with self._engine.translate_errors(f"inspect the container {name}"):
                found = self._engine.api.inspect_container(name)
        except NotFoundError:
            running = sorted(each["Names"][0].lstrip("/") for each in self._engine.api.containers())
            problem = f"there is no container {name!r}"
            remedy = f"running containers are {', '.join(running) or 'none'}"
            raise EngineError(problem, engine=self._engine.name, remedy=remedy) from None
        return Container(self._engine, found["Id"], name)

    def _exited(self, node: NodePlan, container: Container) -> EngineError:
        if node.container:
            problem, remedy = f"container {node.container!r} is not running", "start the container first"
        else:
            problem = f"the container of node {node.name} exited immediately ({container.exit_reason()})"
            remedy = 'give the container a program that keeps running, such as run = ["sleep infinity"]'
        return EngineError(
            problem, engine=self._engine.name, container=container.name, remedy=remedy, log=container.log()
        )

    def check_running(self) -> None:
        """Raise EngineError if a container that the lab file names is not running. No container is started."""
        for node in self._plan.nodes:
            if node.container and not (found := self._find(node.container)).pid:
                raise self._exited(node, found)

    def pid(self, node: str) -> int:
        """Return the PID of the container's first process. Raises ProcessLookupError if it has exited."""
        try:
            pid = self._found[node].pid
        except NotFoundError:
            pid = 0
        if not pid:
            raise ProcessLookupError(node)
        return pid

    def output(self, node: str) -> str:
        """Return the last lines that a node's container has printed."""
        return self._found[node].log(lines=1000)

    def exit_text(self, node: str) -> str:
        """Return why a node's container exited, "" if it is running."""
        try:
            return "" if self._found[node].pid else self._found[node].exit_reason()
        except NotFoundError:
            return self._found[node].exit_reason()

    def remove(self) -> list[str]:
        """Remove the containers that were started; return their IDs. Raises EngineError."""
        return cleanup.remove_run_containers(self._engine, self.record.run)

    def close(self) -> None:
        """Close the connection to the engine, without removing containers."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if not self._persistent:
                self.remove()
        finally:
            self.close()


def remove_recorded(engine: str, run: str) -> list[str]:
    """Remove the containers of a lab that another process started; return their IDs. Raises EngineError."""
    with Engine.connect(engine) as connected:
        return cleanup.remove_run_containers(connected, run)
