"""Hooks of pytest-xdist's controller for a run with workers in containers. They use only public hooks of pytest-xdist.

In tunlab.engines.workers, worker_pool starts the containers. pytest-xdist starts stream_bridge as the "python" of a
worker, and worker_remote is the first module that a worker runs.
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
    from tunlab.engines.workers.worker_container import WorkerContainer
    from tunlab.engines.workers.worker_pool import WorkerPool, WorkerSlot
    from tunlab.engines.workers.worker_setup import WorkerSetup


def exit_with_error(error: TunlabError) -> NoReturn:
    """Exit pytest before the session starts, with the error's message and exit code."""
    raise pytest.exit.Exception(f"tunlab: {error}", returncode=error.exit_code) from None


class EngineWorkers:
    """A plugin of pytest-xdist's controller that starts and removes the workers' containers and counts the tests."""

    def __init__(self, config: pytest.Config, pool: WorkerPool, setup: WorkerSetup) -> None:
        self._config, self._pool, self._setup = config, pool, setup
        self._states: dict[str, WorkerState] = {}  # The keys are IDs of pytest-xdist workers, such as "gw3".
        self._collected: dict[int, set[str]] = {}  # The IDs of collected tests, by the number of the worker slot.
        self._done: dict[int, set[str]] = {}  # The IDs of finished tests, by the number of the worker slot.
        self._test_counts: Counter[str] = Counter()  # The number of finished tests, by the name of the engine.
        self._exit_reports: list[str] = []
        self._exit_code = 0
        self._session_started = False
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, number: int, _: object) -> None:
        """Stop the run on SIGTERM. pytest then reports the finished tests and the containers are removed."""
        self._stop(TunlabError("ended by SIGTERM"), 128 + number)

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Start all containers in parallel before pytest-xdist starts its workers one by one, and compare versions."""
        from tunlab.engines.workers import stream_bridge
        from tunlab.engines.workers.worker_spec import rootless_python

        try:
            broker = self._pool.start(self._setup.container_settings(), self._ensure_image)
            self._check_versions()
        except TunlabError as error:
            exit_with_error(error)
        for slot, spec in zip(self._pool.slots, specs, strict=True):
            # The options -I -S make Python start in a few milliseconds.
            bridge = [sys.executable, "-I", "-S", stream_bridge.__file__, broker, str(slot.number)]
            spec.python = shlex.join(rootless_python() if self._pool.worker(slot.number) is None else bridge)
            spec.tunlab_slot = slot.number

    def _check_versions(self) -> None:
        from tunlab.engines.workers.compat import check_compatible, check_same_python, differences

        controller = self._local_environment()
        workers = [worker for slot in self._pool.container_slots if (worker := self._pool.worker(slot.number))]
        for worker in workers:
            check_compatible(controller, worker.environment, engine=worker.engine.name, image=worker.image)
        environments = [(worker.engine.name, worker.environment) for worker in workers]
        if self._config.option.dist != "each":
            rootless = [("rootless", controller)] if len(workers) < len(self._pool.slots) else []
            check_same_python([*rootless, *environments])
        for line in differences(controller, environments):
            self._write_line(f"tunlab: {line}", even_quiet=True)

    def _local_environment(self) -> Environment:
        from tunlab.engines.workers.compat import local_environment

        return local_environment(
            {dist.project_name: dist.version for _, dist in self._config.pluginmanager.list_plugin_distinfo()}
        )

    def _ensure_image(self, engine: Engine) -> str:
        return self._setup.ensure_image(engine, lambda text: self._write_line(f"tunlab: {text}"))

    def _write_line(self, line: str, *, even_quiet: bool = False) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and (even_quiet or self._config.option.verbose >= 0):
            reporter.write_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Record that the session has started. After that, pytest calls pytest_sessionfinish at the end of the run."""
        self._session_started = True

    @pytest.hookimpl
    def pytest_xdist_newgateway(self, gateway: Any) -> None:
        """Record which container a new worker runs in."""
        slot = self._pool.slots[gateway.spec.tunlab_slot]
        self._states[gateway.id] = WorkerState(slot, self._pool.worker(slot.number))

    @pytest.hookimpl
    def pytest_xdist_getremotemodule(self) -> Any:
        """Return the module that pytest-xdist runs in a worker: worker_remote, made for containers."""
        from tunlab.engines.workers import worker_remote

        return worker_remote

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        """Send the worker the name of its engine and the entries of sys.path that exist in its container."""
        state = self._states[node.gateway.id]
        node.workerinput["tunlab_engine"] = state.engine_name
        if state.worker is not None:
            prefixes = sorted({sys.prefix, sys.base_prefix})
            node.workerinput["tunlab_path"] = self._setup.container_sys_path(sys.path, prefixes)

    @pytest.hookimpl
    def pytest_testnodeready(self, node: Any) -> None:
        """Add the engine's name to the worker's description, which pytest prints above each failure."""
        state = self._states[node.gateway.id]
        state.ready = True
        if self._config.option.verbose > 0:
            self._write_line(f"[{node.gateway.id}] {state}")
        node.workerinfo["executable"] += f", {state}"

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Record which tests a worker has collected."""
        self._collected[self._states[node.gateway.id].slot.number] = set(ids)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """Add the engine's name to a test's report, which the junit file shows, and record that the test was run.

        Signals are deferred so that Ctrl-C cannot end the run between the terminal's output and the junit file.
        """
        __tracebackhide__ = True
        if (node := getattr(report, "node", None)) is not None:
            self._record(report, self._states[node.gateway.id])
        with defer_signals():
            yield

    def _record(self, report: pytest.TestReport, state: WorkerState) -> None:
        report.user_properties.append(("tunlab-engine", str(state)))
        done = self._done.setdefault(state.slot.number, set())
        if (report.when != "setup" or not report.passed) and report.nodeid not in done:
            done.add(report.nodeid)
            self._test_counts[state.engine_name] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Record why a worker's container exited, and start another container. Stop the run if no engine is left."""
        state = self._states[node.gateway.id]
        if not state.ready and (traceback := getattr(error, "formatted", "")).startswith("Traceback"):
            self._stop_on_startup_error(state, traceback)
        if not error or state.worker is None or error == "keyboard-interrupt":
            return
        state.exit_report = state.worker.exit_report()
        if state.exit_report not in self._exit_reports:
            self._exit_reports.append(f"{node.gateway.id}: {state.exit_report}")
        if len(self._exit_reports) > int(self._config.option.maxworkerrestart):
            return  # pytest-xdist starts no worker beyond the limit --max-worker-restart.
        try:
            self._pool.replace(state.slot.number)
        except EngineError as no_engine:
            self._stop(EngineError(f"{no_engine.problem}, {self._not_run_text()}", log=no_engine.log))

    def _stop_on_startup_error(self, state: WorkerState, traceback: str) -> NoReturn:
        """Stop the run because a worker failed before its first test, and another worker would fail too."""
        from tunlab.engines.workers.compat import missing_plugins, startup_error

        if (worker := state.worker) is None:
            self._stop(startup_error(traceback, (), engine=state.engine_name, image=""))
        missing = missing_plugins(self._local_environment(), worker.environment)
        self._stop(startup_error(traceback, missing, engine=state.engine_name, image=worker.image))

    @pytest.hookimpl
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """Add the reason why a container exited to the report of the test that ran in it."""
        state = self._states[report.node.gateway.id]
        if state.exit_report:
            report.longrepr = f"{report.longrepr}\n{state.exit_report}"

    def not_run(self) -> tuple[int, int]:
        """Return two numbers: tests that did not finish, and all tests. With --dist each, every worker has its own."""
        if self._config.option.dist == "each":
            missing = sum(len(ids - self._done.get(slot, set())) for slot, ids in self._collected.items())
            return missing, sum(map(len, self._collected.values()))
        collected = set[str]().union(*self._collected.values())
        return len(collected.difference(*self._done.values())), len(collected)

    def _not_run_text(self) -> str:
        missing, total = self.not_run()
        return f"and {missing} of {total} tests were not run" if total else "and no test was run"

    def _stop(self, error: Exception, exit_code: int = EngineError.exit_code) -> NoReturn:
        """Stop the run with an error message.

        pytest prints its summary only for its own exit codes, so pytest_sessionfinish sets `exit_code` after that.
        """
        self._exit_code = exit_code
        code = pytest.ExitCode.INTERRUPTED if self._session_started else exit_code
        raise pytest.exit.Exception(f"tunlab: {error}", returncode=code)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Remove the containers before pytest-xdist waits for its workers. Fail the run if a test did not finish."""
        self._pool.remove_workers()
        if self._exit_code:
            session.exitstatus = self._exit_code
        elif session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and self.not_run()[0]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the number of tests per engine, and which engines and containers were lost."""
        terminalreporter.section("tunlab: engines")
        for name, workers in Counter(slot.spec for slot in self._pool.slots).items():
            reason = self._pool.lost.get(name)
            lost = f", lost: {reason}" if reason else ""
            tests = _count(self._test_counts[name], "test")
            terminalreporter.line(f"{name}: {_count(workers, 'worker')}, {tests}{lost}")
        for line in self._exit_reports:
            terminalreporter.line(line)
        self._report_unremoved()
        if self.not_run()[0]:
            terminalreporter.line(self._not_run_text().removeprefix("and "), red=True)

    def pytest_unconfigure(self) -> None:
        """Remove the containers of a run that ended before its session started, and close the connections."""
        self._pool.close()
        self._report_unremoved()
        if signal.getsignal(signal.SIGTERM) == self._terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _report_unremoved(self) -> None:
        """Print which containers could not be removed. A second call prints only new ones."""
        while self._pool.unremoved:
            engine, names = self._pool.unremoved.popitem()
            containers = f"container{'' if len(names) == 1 else 's'} {', '.join(names)}"
            line = f"{engine}: could not remove {containers}: the engine does not answer; they exit once it does"
            self._write_line(line, even_quiet=True)


class WorkerState:
    """The state of one pytest-xdist worker.

    Attributes:
        slot: The worker's slot in the worker pool.
        worker: The worker's container; None for a worker in a user namespace.
        ready: True after pytest-xdist has connected to the worker.
        exit_report: Why the container exited; "" if it runs.
    """

    def __init__(self, slot: WorkerSlot, worker: WorkerContainer | None) -> None:
        self.slot, self.worker = slot, worker
        self.ready = False
        self.exit_report = ""

    @property
    def engine_name(self) -> str:
        """Name of the engine that runs the worker, as given to --tunlab-workers; `rootless` without an engine."""
        return self.slot.spec if self.worker is None else self.worker.engine.name

    def __str__(self) -> str:
        if self.worker is None:
            return self.engine_name
        return f"container {self.worker.container.name} on {self.engine_name}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
