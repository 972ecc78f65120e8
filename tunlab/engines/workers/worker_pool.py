"""The workers of a run on any number of engines: started side by side, replaced where one is lost, ended together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers.cleanup import remove_abandoned_containers
from tunlab.engines.workers.stream_broker import StreamBroker
from tunlab.engines.workers.worker_container import Settings, WorkerContainer
from tunlab.engines.workers.worker_spec import ROOTLESS, WorkerSpec, check_rootless
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.containers.container import Container

T = TypeVar("T")
U = TypeVar("U")

ImageOf = Callable[[Engine], str]
"""The image of the workers on an engine, made there if need be."""

_ANSWERING = 10.0  # seconds that an engine has to answer when it is asked whether it lives
_WATCH = 15.0  # seconds between two questions to an engine that seems well
_STARTING = 20.0  # seconds that a container may take that was being made when the end came
_SILENCES = 3  # unanswered ones that make it a lost one


class WorkerSlot(NamedTuple):
    """A worker's place: its number from 0, and the spec of the engine that it begins on, or `rootless`."""

    number: int
    spec: str


class WorkerPool:
    """Engines and the workers on them.

    seats   a worker's place each, engine by engine
    lost    the engines that were lost, each with what it last said
    left    containers that could not be removed in the end, by their engine
    """

    def __init__(self, asked: Sequence[WorkerSpec]) -> None:
        """Connect to the engines. Raises EngineError for one that is not there."""
        self._engines: dict[str, Engine] = {}
        self._images: dict[str, str] = {}
        self._made: list[Container] = []
        self._starting: list[Thread] = []
        self._at: dict[int, WorkerContainer] = {}
        self._closing = Event()
        self._gate: StreamBroker | None = None
        self._watching: Thread | None = None
        self._settings: Settings | None = None
        self.lost: dict[str, str] = {}
        self.left: dict[str, list[str]] = {}
        try:
            if any(spec == ROOTLESS for spec, _ in asked):
                check_rootless()
            for spec, engine in run_parallel(_connected, [spec for spec, _ in asked if spec != ROOTLESS]):
                self._engines[spec] = engine
            numbers = (spec for spec, workers in asked for _ in range(workers or self._processors(spec)))
            self.seats = [WorkerSlot(number, spec) for number, spec in enumerate(numbers)]
        except BaseException:
            self.close()
            raise

    def _processors(self, spec: str) -> int:
        if spec == ROOTLESS:
            return len(os.sched_getaffinity(0))
        engine = self._engines[spec]
        with engine.asking("ask for its processors"):
            return int(engine.api.info()["NCPU"])

    @property
    def in_containers(self) -> list[WorkerSlot]:
        """The seats that are containers."""
        return [seat for seat in self.seats if seat.spec != ROOTLESS]

    def start(self, settings: Settings, image_of: ImageOf) -> str:
        """Start every container, all side by side; returns the gate's name for tunlab.engines.workers.stream_bridge.

        Raises EngineError: an image that does not build, a container that does not start.
        """
        self._settings = settings
        for spec, image in run_parallel(lambda spec: image_of(self._engines[spec]), list(self._engines)):
            self._images[spec] = image
        for seat, worker in run_parallel(lambda seat: self._worker(seat.spec), self.in_containers, self._starting):
            self._at[seat.number] = worker
        self._gate = StreamBroker(self._claimed)
        self._watching = Thread(target=self._watch, name="tunlab watch", daemon=True)
        self._watching.start()
        return self._gate.name

    def _worker(self, spec: str) -> WorkerContainer:
        assert self._settings is not None
        worker = WorkerContainer.start(self._engines[spec], self._images[spec], self._settings, self._made)
        if self._closing.is_set():  # meanwhile; what is made is not looked for any more
            worker.remove()
        return worker

    def at(self, seat: int) -> WorkerContainer | None:
        """The worker that has the seat now; None for a rootless one."""
        return self._at.get(seat)

    # ---- the gate, from its threads

    def _claimed(self, seat: int) -> tuple[int, Callable[[bytes], None]] | None:
        worker = self._at.get(seat)
        return None if worker is None else (worker.stream(), worker.tell)

    # ---- losses

    def replace(self, seat: int) -> str:
        """Put a new worker on a seat, on its engine or on the least busy of those that live: that engine's name.

        Raises EngineError if there is none left, with what each last said.
        """
        down = self._at[seat].engine
        refused: EngineError | None = None
        while engine := self._next(down):
            try:
                self._at[seat] = self._worker(engine.name)
            except EngineError as error:
                refused = error
                self.lost.setdefault(engine.name, error.problem)
                continue
            return engine.name
        told = "; ".join(f"{name}: {why}" for name, why in self.lost.items())
        raise EngineError("no engine is left", log=told) from refused

    def _next(self, preferred: Engine) -> Engine | None:
        if self.lives(preferred):
            return preferred
        others = [engine for engine in self._engines.values() if self.lives(engine)]
        busy = [worker.engine for worker in self._at.values()]
        return min(others, key=busy.count, default=None)

    def lives(self, engine: Engine) -> bool:
        """Whether the engine answers; one that did not once stays lost."""
        if engine.name in self.lost:
            return False
        try:
            Engine.connect(engine.name, timeout=_ANSWERING).close()
        except EngineError as error:
            self.lost.setdefault(engine.name, error.problem)
            return False
        return True

    def _watch(self) -> None:
        """Cut the streams of an engine that is silent without having ended: a frozen one, a network that is gone."""
        silences = dict.fromkeys(self._engines, 0)
        while not self._closing.wait(_WATCH):
            for spec in list(silences):
                try:
                    Engine.connect(spec, timeout=_ANSWERING).close()
                    silences[spec] = 0
                except EngineError as error:
                    silences[spec] += 1
                    if silences[spec] < _SILENCES:
                        continue
                    self.lost.setdefault(spec, error.problem)
                    del silences[spec]
                    for worker in list(self._at.values()):
                        if worker.engine.name == spec:
                            worker.cut()

    # ---- the end

    def end_workers(self) -> None:
        """Remove every container, side by side; an engine that does not answer is passed over: they end by themselves.

        May be called more than once.
        """
        self._closing.set()
        self._remove_made()
        deadline = time.monotonic() + _STARTING
        for thread in self._starting:
            if thread.ident is not None:  # it was started
                thread.join(max(0.0, deadline - time.monotonic()))
        self._remove_made()

    def _remove_made(self) -> None:
        def remove(container: Container) -> None:
            try:
                container.remove()
            except EngineError:
                self._leave(container)

        made, self._made[:] = list(self._made), []
        # Asked first: a frozen engine would let each removal wait for a minute, at a Ctrl-C too.
        living = dict(run_parallel(self.lives, list({each.engine for each in made})))
        for each in made:
            if not living[each.engine]:
                self._leave(each)
        run_parallel(remove, [each for each in made if living[each.engine]])

    def _leave(self, container: Container) -> None:
        container.detach()
        self.left.setdefault(container.engine.name, []).append(container.name)

    def close(self) -> None:
        """End the workers, and close the gate and the engines."""
        self.end_workers()
        if self._gate is not None:
            self._gate.close()
        if self._watching is not None:
            self._watching.join(_ANSWERING)
        for engine in self._engines.values():
            engine.close()


def _connected(spec: str) -> Engine:
    engine = Engine.connect(spec)
    try:
        remove_abandoned_containers(engine)  # of a run that was killed between making a container and starting it
    except BaseException:
        engine.close()
        raise
    return engine


def run_parallel(work: Callable[[T], U], over: Sequence[T], threads: list[Thread] | None = None) -> list[tuple[T, U]]:
    """Each with what the work made of it, in order. When one fails all others have ended before its error is raised.

    threads   gets those that work: they go on when the caller is interrupted, and keep no process from its end
    """
    made: dict[int, U] = {}
    failed: dict[int, BaseException] = {}

    def run(index: int) -> None:
        try:
            made[index] = work(over[index])
        except BaseException as error:
            failed[index] = error

    working = [Thread(target=run, args=(index,), name="tunlab engines", daemon=True) for index in range(len(over))]
    if threads is not None:
        threads += working
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    if failed:
        raise failed[min(failed)]
    return [(each, made[index]) for index, each in enumerate(over)]
