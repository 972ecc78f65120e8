"""The workers of a run, on any number of engines: started in parallel, replaced when lost, removed at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers.cleanup import remove_abandoned_containers
from tunlab.engines.workers.stream_broker import StreamBroker, WorkerStream
from tunlab.engines.workers.worker_container import ContainerSettings, WorkerContainer
from tunlab.engines.workers.worker_spec import ROOTLESS, WorkerSpec, check_rootless
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.containers.container import Container

T = TypeVar("T")
U = TypeVar("U")

EnsureImage = Callable[[Engine], str]
"""Builds or pulls the workers' image on an engine, and returns its tag."""

_PROBE_TIMEOUT = 10.0  # seconds to wait for an engine's answer
_PROBE_INTERVAL = 15.0  # seconds between two requests to an engine
_MAX_FAILED_PROBES = 3  # number of consecutive failed probes after which an engine is lost
_START_TIMEOUT = 20.0  # seconds to wait at the end of the run for containers that are still being started


class WorkerSlot(NamedTuple):
    """A worker's number, counted from 0, and the spec of its first engine, or `rootless`.

    If the worker is lost, its replacement takes the same slot, possibly on another engine.
    """

    number: int
    spec: str


class WorkerPool:
    """The workers of a run and their engines.

    Attributes:
        slots: One slot per worker, sorted by engine.
        lost: The engines that no longer answer, with the last error of each.
        unremoved: The names of the containers that could not be removed, by engine.
    """

    def __init__(self, specs: Sequence[WorkerSpec]) -> None:
        """Connect to the engines. Raises EngineError if one does not answer."""
        self._engines: dict[str, Engine] = {}
        self._images: dict[str, str] = {}
        self._created: list[Container] = []
        self._start_threads: list[Thread] = []
        self._workers: dict[int, WorkerContainer] = {}
        self._closing = Event()
        self._broker: StreamBroker | None = None
        self._probe_thread: Thread | None = None
        self._settings: ContainerSettings | None = None
        self.lost: dict[str, str] = {}
        self.unremoved: dict[str, list[str]] = {}
        try:
            if any(spec == ROOTLESS for spec, _ in specs):
                check_rootless()
            for spec, engine in run_parallel(_connect, [spec for spec, _ in specs if spec != ROOTLESS]):
                self._engines[spec] = engine
            per_worker = (spec for spec, workers in specs for _ in range(workers or self._processors(spec)))
            self.slots = [WorkerSlot(number, spec) for number, spec in enumerate(per_worker)]
        except BaseException:
            self.close()
            raise

    def _processors(self, spec: str) -> int:
        if spec == ROOTLESS:
            return len(os.sched_getaffinity(0))
        engine = self._engines[spec]
        with engine.translate_errors("read its number of processors"):
            return int(engine.api.info()["NCPU"])

    @property
    def container_slots(self) -> list[WorkerSlot]:
        """The slots of the workers in containers."""
        return [slot for slot in self.slots if slot.spec != ROOTLESS]

    def start(self, settings: ContainerSettings, ensure_image: EnsureImage) -> str:
        """Start the containers in parallel; return the broker's name for tunlab.engines.workers.stream_bridge.

        Raises:
            EngineError: An image cannot be built or pulled, or a container does not start.
        """
        self._settings = settings
        for spec, image in run_parallel(lambda spec: ensure_image(self._engines[spec]), list(self._engines)):
            self._images[spec] = image
        start = run_parallel(lambda slot: self._start_worker(slot.spec), self.container_slots, self._start_threads)
        self._workers = {slot.number: worker for slot, worker in start}
        self._broker = StreamBroker(self._open_stream)
        self._probe_thread = Thread(target=self._probe_engines, name="tunlab probe", daemon=True)
        self._probe_thread.start()
        return self._broker.name

    def _start_worker(self, spec: str) -> WorkerContainer:
        assert self._settings is not None
        worker = WorkerContainer.start(self._engines[spec], self._images[spec], self._settings, self._created)
        if self._closing.is_set():  # remove_workers may have run before this container existed.
            worker.remove()
        return worker

    def worker(self, slot: int) -> WorkerContainer | None:
        """Return the current worker of a slot, None for a rootless one."""
        return self._workers.get(slot)

    def _open_stream(self, slot: int) -> WorkerStream | None:
        worker = self._workers.get(slot)
        return None if worker is None else (worker.open_stream(), worker.set_stderr_tail)

    def replace(self, slot: int) -> str:
        """Start a new worker for a slot, on the same engine if it answers, else on the one with the fewest workers.

        Returns:
            The engine's name.

        Raises:
            EngineError: No engine answers; the error has the last error of each.
        """
        previous = self._workers[slot].engine
        last_error: EngineError | None = None
        while engine := self._choose_engine(previous):
            try:
                self._workers[slot] = self._start_worker(engine.name)
            except EngineError as error:
                last_error = error
                self.lost.setdefault(engine.name, error.problem)
                continue
            return engine.name
        errors = "; ".join(f"{name}: {problem}" for name, problem in self.lost.items())
        raise EngineError("no engine is left", log=errors) from last_error

    def _choose_engine(self, preferred: Engine) -> Engine | None:
        if self._answers(preferred):
            return preferred
        others = [engine for engine in self._engines.values() if self._answers(engine)]
        used = [worker.engine for worker in self._workers.values()]
        return min(others, key=used.count, default=None)

    def _answers(self, engine: Engine) -> bool:
        """Return True if the engine answers. An engine that once failed to answer is not asked again."""
        if engine.name in self.lost:
            return False
        try:
            Engine.connect(engine.name, timeout=_PROBE_TIMEOUT).close()
        except EngineError as error:
            self.lost.setdefault(engine.name, error.problem)
            return False
        return True

    def _probe_engines(self) -> None:
        """Close the streams of engines that no longer answer because they are frozen or cut off from the network."""
        failures = dict.fromkeys(self._engines, 0)
        while not self._closing.wait(_PROBE_INTERVAL):
            for spec in list(failures):
                try:
                    Engine.connect(spec, timeout=_PROBE_TIMEOUT).close()
                    failures[spec] = 0
                except EngineError as error:
                    failures[spec] += 1
                    if failures[spec] < _MAX_FAILED_PROBES:
                        continue
                    self.lost.setdefault(spec, error.problem)
                    del failures[spec]
                    for worker in list(self._workers.values()):
                        if worker.engine.name == spec:
                            worker.close_stream()

    def remove_workers(self) -> None:
        """Remove all containers in parallel. If an engine does not answer, its containers exit as their streams close.

        May be called more than once.
        """
        self._closing.set()
        self._remove_created()
        deadline = time.monotonic() + _START_TIMEOUT
        for thread in self._start_threads:
            if thread.ident is not None:  # Only a started thread can be joined.
                thread.join(max(0.0, deadline - time.monotonic()))
        self._remove_created()

    def _remove_created(self) -> None:
        def remove(container: Container) -> None:
            try:
                container.remove()
            except EngineError:
                self._give_up(container)

        created, self._created[:] = list(self._created), []
        # Probe the engines first: on a frozen engine each removal would take a minute to fail, even after Ctrl-C.
        answers = dict(run_parallel(self._answers, list({each.engine for each in created})))
        for each in created:
            if not answers[each.engine]:
                self._give_up(each)
        run_parallel(remove, [each for each in created if answers[each.engine]])

    def _give_up(self, container: Container) -> None:
        container.detach()
        self.unremoved.setdefault(container.engine.name, []).append(container.name)

    def close(self) -> None:
        """Remove the containers, and close the broker and the connections to the engines."""
        self.remove_workers()
        if self._broker is not None:
            self._broker.close()
        if self._probe_thread is not None:
            self._probe_thread.join(_PROBE_TIMEOUT)
        for engine in self._engines.values():
            engine.close()


def _connect(spec: str) -> Engine:
    engine = Engine.connect(spec)
    try:
        # A killed run may have left containers that were created but never started.
        remove_abandoned_containers(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def run_parallel(call: Callable[[T], U], items: Sequence[T], threads: list[Thread] | None = None) -> list[tuple[T, U]]:
    """Call a function for each item, each in a thread; return (item, result) in the order of the items.

    If a call raises an exception, it is raised once all threads have ended.

    Args:
        call: The function.
        items: Its arguments.
        threads: The threads are appended, so that the caller can join them after an interrupt.
    """
    results: dict[int, U] = {}
    errors: dict[int, BaseException] = {}

    def run(index: int) -> None:
        try:
            results[index] = call(items[index])
        except BaseException as error:
            errors[index] = error

    started = [Thread(target=run, args=(index,), name="tunlab engines", daemon=True) for index in range(len(items))]
    if threads is not None:
        threads += started
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [(item, results[index]) for index, item in enumerate(items)]
