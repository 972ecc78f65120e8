"""A run whose workers are in containers: pytest-xdist's hooks on the controller's side.

Public hooks of pytest-xdist only. What they stand on is in tunlab.engines: fleet for the containers, claim for the
program that is a worker's "python", worker_remote for what a worker runs first.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tunlab.errors import EngineError, TunlabError
from tunlab.kernel.process import defer_signals

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine
    from tunlab.engines.workers.compat import Environment
    from tunlab.engines.workers.provision import Provision
    from tunlab.engines.workers.worker_container import WorkerContainer
    from tunlab.engines.workers.worker_pool import WorkerPool, WorkerSlot


def end(error: TunlabError) -> NoReturn:
    """End the run before it has begun, with what the error says, and its exit code."""
    raise pytest.exit.Exception(f"tunlab: {error}", returncode=error.exit_code) from None


class EngineWorkers:
    """The controller's side of a run: its fleet, and what became of each test."""

    def __init__(self, config: pytest.Config, fleet: WorkerPool, provision: Provision) -> None:
        """For `pytest_configure`."""
        self._config, self._fleet, self._provision = config, fleet, provision
        self._crew: dict[str, WorkerState] = {}  # by the worker's id, as "gw3"
        self._collected: dict[int, set[str]] = {}  # by the seat's number
        self._done: dict[int, set[str]] = {}
        self._ran: Counter[str] = Counter()
        self._lost: list[str] = []
        self._exit_code = 0
        self._begun = False
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, number: int, _: object) -> None:
        """On SIGTERM: what has come in is reported, and nothing stays."""
        self._stop(TunlabError("ended by SIGTERM"), 128 + number)

    # ---- the start

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Start the containers side by side, for pytest-xdist opens its gateways one by one; compare both sides."""
        from tunlab.engines.workers import stream_bridge
        from tunlab.engines.workers.worker_spec import rootless

        try:
            gate = self._fleet.start(self._provision.settings(), self._image)
            self._compare()
        except TunlabError as error:
            end(error)
        for seat, spec in zip(self._fleet.seats, specs, strict=True):
            # -I -S: it stands on the standard library, and starts in a few milliseconds.
            inside = [sys.executable, "-I", "-S", stream_bridge.__file__, gate, str(seat.number)]
            spec.python = shlex.join(rootless() if self._fleet.at(seat.number) is None else inside)
            spec.tunlab_seat = seat.number

    def _compare(self) -> None:
        from tunlab.engines.workers.compat import check_compatible, check_same_python, differences

        controller = self._here()
        workers = [worker for seat in self._fleet.in_containers if (worker := self._fleet.at(seat.number))]
        for worker in workers:
            check_compatible(controller, worker.side, engine=worker.engine.name, image=worker.image)
        sides = [(worker.engine.name, worker.side) for worker in workers]
        if self._config.option.dist != "each":
            alike = [("rootless", controller)] if len(workers) < len(self._fleet.seats) else []
            check_same_python([*alike, *sides])
        for line in differences(controller, sides):
            self._say(f"tunlab: {line}", even_quiet=True)

    def _here(self) -> Environment:
        from tunlab.engines.workers.compat import here

        return here({dist.project_name: dist.version for _, dist in self._config.pluginmanager.list_plugin_distinfo()})

    def _image(self, engine: Engine) -> str:
        return self._provision.image(engine, lambda what: self._say(f"tunlab: {what}"))

    def _say(self, line: str, *, even_quiet: bool = False) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and (even_quiet or self._config.option.verbose >= 0):
            reporter.write_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Remember that the session has begun: from here on pytest_sessionfinish sees the end."""
        self._begun = True

    # ---- each worker, first ones and replacements

    @pytest.hookimpl
    def pytest_xdist_newgateway(self, gateway: Any) -> None:
        """Remember which container the worker of this name is."""
        seat = self._fleet.seats[gateway.spec.tunlab_seat]
        self._crew[gateway.id] = WorkerState(seat, self._fleet.at(seat.number))

    @pytest.hookimpl
    def pytest_xdist_getremotemodule(self) -> Any:
        """Keep the container's own Python path and directories, and go on as pytest-xdist's."""
        from tunlab.engines.workers import worker_remote

        return worker_remote

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        """Tell the worker where it is, and which directories of the Python path are with it."""
        crew = self._crew[node.gateway.id]
        node.workerinput["tunlab_engine"] = crew.place
        if crew.worker is not None:
            prefixes = sorted({sys.prefix, sys.base_prefix})
            node.workerinput["tunlab_path"] = self._provision.path_inside(sys.path, prefixes)

    @pytest.hookimpl
    def pytest_testnodeready(self, node: Any) -> None:
        """Name the engine where pytest names the worker: above each failure, and with -v at the start."""
        crew = self._crew[node.gateway.id]
        crew.ready = True
        if self._config.option.verbose > 0:
            self._say(f"[{node.gateway.id}] {crew}")
        node.workerinfo["executable"] += f", {crew}"

    # ---- each test

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Remember what is to be run."""
        self._collected[self._crew[node.gateway.id].seat.number] = set(ids)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """Name the engine in the report, and so in the junit file; remember what was run.

        What is on the terminal is in the junit file too: a Ctrl-C does not come between them.
        """
        __tracebackhide__ = True
        if (node := getattr(report, "node", None)) is not None:
            self._remember(report, self._crew[node.gateway.id])
        with defer_signals():
            yield

    def _remember(self, report: pytest.TestReport, crew: WorkerState) -> None:
        report.user_properties.append(("tunlab-engine", str(crew)))
        done = self._done.setdefault(crew.seat.number, set())
        if (report.when != "setup" or not report.passed) and report.nodeid not in done:
            done.add(report.nodeid)
            self._ran[crew.place] += 1

    # ---- losses

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Ask a lost container how it ended, and put another in its place; end the run if no engine is left."""
        crew = self._crew[node.gateway.id]
        if not crew.ready and (traceback := getattr(error, "formatted", "")).startswith("Traceback"):
            self._refuse(crew, traceback)
        if not error or crew.worker is None or error == "keyboard-interrupt":
            return
        crew.evidence = crew.worker.evidence()
        if crew.evidence not in self._lost:
            self._lost.append(f"{node.gateway.id}: {crew.evidence}")
        if len(self._lost) > int(self._config.option.maxworkerrestart):
            return  # pytest-xdist replaces no more
        try:
            self._fleet.replace(crew.seat.number)
        except EngineError as none_left:
            self._stop(EngineError(f"{none_left.problem}, {self._not_run_text()}", log=none_left.log))

    def _refuse(self, crew: WorkerState, traceback: str) -> NoReturn:
        """End the run by what a worker refuses, before its first test: another in its place would do the same."""
        from tunlab.engines.workers.compat import lacking, startup_error

        if (worker := crew.worker) is None:
            self._stop(startup_error(traceback, (), engine=crew.place, image=""))
        self._stop(startup_error(traceback, lacking(self._here(), worker.side), engine=crew.place, image=worker.image))

    @pytest.hookimpl
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """Add the evidence to the report of the test that was running."""
        crew = self._crew[report.node.gateway.id]
        if crew.evidence:
            report.longrepr = f"{report.longrepr}\n{crew.evidence}"

    # ---- the end

    def not_run(self) -> tuple[int, int]:
        """How many tests were not run to their end, and of how many: with --dist each, of each worker's."""
        if self._config.option.dist == "each":
            missing = sum(len(ids - self._done.get(seat, set())) for seat, ids in self._collected.items())
            return missing, sum(map(len, self._collected.values()))
        all_of_them = set[str]().union(*self._collected.values())
        return len(all_of_them.difference(*self._done.values())), len(all_of_them)

    def _not_run_text(self) -> str:
        missing, of = self.not_run()
        return f"and {missing} of {of} tests were not run" if of else "and no test was run"

    def _stop(self, error: Exception, exit_code: int = EngineError.exit_code) -> NoReturn:
        """End the run with what the error says; pytest shows its summary only with an exit code that it knows."""
        self._exit_code = exit_code
        known = pytest.ExitCode.INTERRUPTED if self._begun else exit_code
        raise pytest.exit.Exception(f"tunlab: {error}", returncode=known)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the containers before pytest-xdist waits for them; fewer tests than collected are no success."""
        self._fleet.end_workers()
        if self._exit_code:
            session.exitstatus = self._exit_code
        elif session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and self.not_run()[0]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """How many tests ran where, and what was lost."""
        terminalreporter.section("tunlab: engines")
        for place, workers in Counter(seat.spec for seat in self._fleet.seats).items():
            reason = self._fleet.lost.get(place)
            lost = f", lost: {reason}" if reason else ""
            terminalreporter.line(f"{place}: {_count(workers, 'worker')}, {_count(self._ran[place], 'test')}{lost}")
        for line in self._lost:
            terminalreporter.line(line)
        self._tell_left()
        if self.not_run()[0]:
            terminalreporter.line(self._not_run_text().removeprefix("and "), red=True)

    def pytest_unconfigure(self) -> None:
        """Leave nothing, however it ended."""
        self._fleet.close()
        self._tell_left()  # of a run that ended before its session began
        if signal.getsignal(signal.SIGTERM) == self._terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _tell_left(self) -> None:
        """Say once what could not be removed."""
        while self._fleet.left:
            place, names = self._fleet.left.popitem()
            what = f"container{'' if len(names) == 1 else 's'} {', '.join(names)}"
            line = f"{place}: could not remove {what}: the engine does not answer; they end by themselves when it does"
            self._say(line, even_quiet=True)


class WorkerState:
    """A worker that pytest-xdist has a name for: its seat, and the container it is in; None without one."""

    def __init__(self, seat: WorkerSlot, worker: WorkerContainer | None) -> None:
        """For a worker that begins."""
        self.seat, self.worker = seat, worker
        self.ready = False
        self.evidence = ""

    @property
    def place(self) -> str:
        """The engine's spec, or `rootless`."""
        return self.seat.spec if self.worker is None else self.worker.engine.name

    def __str__(self) -> str:
        return self.place if self.worker is None else f"container {self.worker.container.name} on {self.place}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
