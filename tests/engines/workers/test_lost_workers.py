"""Tests of runs that lose containers or engines, or are ended by a signal."""

import re
import signal
import time

import pytest

from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import container_labels

pytestmark = [pytest.mark.docker, pytest.mark.slow]

STUCK = """
    import signal
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_quick(number):
        pass

    def test_stuck():
        signal.pause()
"""

THIRD_TEST_WAITS = """
    import os, signal
    import pytest

    ran = []

    @pytest.mark.parametrize("number", range(40))
    def test_number(number, request):
        if request.config.workerinput["workerid"] == "gw0" and len(ran) == 2:
            os.write(request.config.standard_error, b"waiting\\n")
            signal.pause()
        ran.append(number)
"""

KEEP_STDERR = """
    import os

    def pytest_configure(config):
        config.standard_error = os.dup(2)  # before pytest captures standard error
"""
"""A conftest that lets a test write to the worker's standard error, which arrives while the test is running."""

SIGNAL_ON_FOURTH_REPORT = """
    import os, signal
    import pytest

    reports = []

    @pytest.hookimpl(tryfirst=True)  # before the terminal and the junit file
    def pytest_runtest_logreport(report):
        if "PYTEST_XDIST_WORKER" not in os.environ and report.when == "call":
            reports.append(report)
            if len(reports) == 4:
                signal.raise_signal(NUMBER)
"""

SHORT_TIMEOUTS = """
    from tunlab.engines.workers import worker_pool

    worker_pool._PROBE_INTERVAL, worker_pool._PROBE_TIMEOUT = 0.1, 4.0
"""


def kill(spec, container):
    with Engine.connect(spec) as engine:
        engine.api.kill(container)


@pytest.fixture
def waiting(pytester):
    """A suite of 40 tests. The third test on the worker gw0 writes "waiting" and never ends."""
    pytester.makepyfile(THIRD_TEST_WAITS)
    pytester.makeconftest(KEEP_STDERR)


class TestLostContainer:
    def test_killed_worker_container_fails_one_test_and_is_replaced(self, start, two, waiting, left_by):
        run = start(f"{two[0]}*1", f"{two[1]}*1").until_waiting()
        (container,) = re.findall(rf"container (\w+) on {re.escape(two[0])}$", run.text, re.MULTILINE)
        kill(two[0], container)
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        assert "replacing crashed worker gw0" in run.text
        exit_report = f"container {container} on {two[0]}: exit status 137: it was killed"
        assert exit_report in run.text
        (crashed,) = [case for case in run.junit().values() if case.find("failure") or case.find("error") is not None]
        assert exit_report in crashed.find("error").text
        assert left_by(run.pid, two) == []

    def test_report_of_crashed_worker_has_its_stderr(self, pytester, start, specs):
        pytester.makepyfile(
            """
            import os
            import pytest

            @pytest.mark.parametrize("number", range(40))
            def test_number(number):
                if number == 30:
                    os.abort()
            """
        )
        run = start(f"{specs[0]}*1").ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        (crashed,) = [case for case in run.junit().values() if case.find("error") is not None]
        text = crashed.find("error").text
        assert re.search(r"crashed while running '.*::test_number\[30\]'", text)
        assert "exit status 134" in text
        assert "Fatal Python error: Aborted" in text

    def test_run_that_reaches_max_worker_restart_reports_number_of_tests_not_run(self, pytester, start, specs, left_by):
        pytester.makepyfile(
            """
            import os
            import pytest

            @pytest.mark.parametrize("number", range(12))
            def test_number(number):
                os.abort()
            """
        )
        run = start(f"{specs[0]}*1", "--max-worker-restart=1").ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 2}), run.text
        assert "10 of 12 tests were not run" in run.text
        assert left_by(run.pid, specs) == []

    def test_worker_lost_between_tests_fails_the_run(self, pytester, start, specs):
        """If a worker that runs no test is lost, pytest-xdist alone would end the run with exit code 0."""
        pytester.makepyfile("\n".join(f"def test_{number}(): pass" for number in range(12)))
        pytester.makeconftest(
            """
            import os
            import pytest

            @pytest.hookimpl(tryfirst=True)
            def pytest_runtestloop(session):
                if getattr(session.config, "workerinput", {}).get("workerid") == "gw1":
                    os.abort()
            """
        )
        run = start(f"{specs[0]}*2", "--max-worker-restart=0").ended()
        assert run.status == 1, run.text
        assert "of 12 tests were not run" in run.text


class TestLostEngine:
    def test_tests_of_lost_engine_run_on_other_engine(self, start, specs, forwarder, waiting, left_by):
        here = specs[-1]
        run = start(f"{forwarder.spec}*1", f"{here}*1").until_waiting()
        forwarder.close()
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        assert re.search(rf"^{re.escape(forwarder.spec)}: 1 worker, \d+ tests?, lost: ", run.text, re.MULTILINE)
        assert left_by(run.pid, specs) == []  # Containers of the lost engine exited when their streams closed.

    def test_tests_of_frozen_engine_run_on_other_engine(self, pytester, start, specs, forwarder, waiting, left_by):
        pytester.makeconftest(KEEP_STDERR + SHORT_TIMEOUTS)
        here = specs[-1]
        run = start(f"{forwarder.spec}*1", f"{here}*1").until_waiting()
        forwarder.freeze()
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        assert re.search(rf"^{re.escape(forwarder.spec)}: 1 worker, \d+ tests?, lost: ", run.text, re.MULTILINE)
        forwarder.close()
        assert left_by(run.pid, specs) == []

    def test_loss_of_last_engine_exits_69_and_reports_tests_not_run(self, start, specs, forwarder, waiting, left_by):
        run = start(f"{forwarder.spec}*1").until_waiting()
        forwarder.close()
        run.ended()
        assert run.status == 69, run.text
        assert "no engine is left, and 38 of 40 tests were not run" in run.text
        assert len(run.junit()) == 2
        assert left_by(run.pid, specs) == []


class TestSignals:
    @pytest.mark.parametrize("group", [True, False], ids=["terminal", "controller"])
    def test_ctrl_c_during_test_exits_2_with_report(self, pytester, start, specs, left_by, group):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2").until(r"PASSED", times=4)
        run.signal(signal.SIGINT, group=group)
        run.ended()
        assert run.status == 2, run.text
        assert "KeyboardInterrupt" in run.text
        assert "1 of 5 tests were not run" in run.text
        assert len(run.junit()) == 4
        assert left_by(run.pid, specs) == []

    def test_ctrl_c_with_frozen_engine_reports_unremoved_containers(self, pytester, start, specs, forwarder, left_by):
        pytester.makepyfile(STUCK)
        pytester.makeconftest("from tunlab.engines.workers import worker_pool\nworker_pool._PROBE_TIMEOUT = 1.0\n")
        run = start(f"{forwarder.spec}*2").until(r"PASSED", times=4)
        forwarder.freeze()
        run.signal(signal.SIGINT)
        run.ended()
        assert run.status == 2, run.text
        line = rf"^{re.escape(forwarder.spec)}: could not remove containers \w+, \w+: the engine does not answer; "
        assert len(re.findall(line, run.text, re.MULTILINE)) == 1, run.text
        assert len(run.junit()) == 4
        forwarder.close()
        assert left_by(run.pid, specs) == []

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 2), (signal.SIGTERM, 128 + signal.SIGTERM)])
    def test_signal_while_containers_start_removes_all_containers(
        self, pytester, start, specs, left_by, number, status
    ):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2")
        with Engine.connect(specs[0]) as engine:
            created = {"label": f"{container_labels.PID}={run.pid}", "event": "create"}
            next(iter(engine.api.events(filters=created, since=0, decode=True)))
        run.signal(number, group=True)
        run.ended()
        assert run.status == status, run.text
        assert left_by(run.pid, specs) == []

    def test_sigterm_exits_143_with_report(self, pytester, start, specs, left_by):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2").until(r"PASSED", times=4)
        run.signal(signal.SIGTERM)
        run.ended()
        assert run.status == 128 + signal.SIGTERM, run.text
        assert "ended by SIGTERM" in run.text
        assert len(run.junit()) == 4
        assert left_by(run.pid, specs) == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal_during_report_keeps_terminal_and_junit_equal(self, pytester, start, specs, left_by, number):
        pytester.makepyfile(STUCK)
        pytester.makeconftest(SIGNAL_ON_FOURTH_REPORT.replace("NUMBER", str(int(number))))
        run = start(f"{specs[0]}*2").ended()
        assert run.status == {signal.SIGINT: 2, signal.SIGTERM: 128 + signal.SIGTERM}[number], run.text
        assert (run.text.count(" PASSED "), len(run.junit())) == (4, 4), run.text
        assert left_by(run.pid, specs) == []

    def test_sigkill_of_controller_makes_all_containers_exit(self, pytester, start, specs, left_by):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2").until(r"PASSED", times=4)
        run.signal(signal.SIGKILL)
        run.ended()
        assert left_by(run.pid, specs) == []
        with Engine.connect(specs[0]) as engine:
            died = {"label": f"{container_labels.PID}={run.pid}", "event": "die"}
            events = list(engine.api.events(filters=died, since=0, until=int(time.time()) + 1, decode=True))
        # worker_boot kills the worker in test_stuck with status 137. execnet would exit 15 seconds later with status 1.
        assert "137" in {each["Actor"]["Attributes"]["exitCode"] for each in events}
