"""What is lost in the middle of a run, and what the run makes of it: containers, engines, all of them, itself."""

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

ONE_THAT_WAITS = """
    import os, signal
    import pytest

    ran = []

    @pytest.mark.parametrize("number", range(40))
    def test_number(number, request):
        if request.config.workerinput["workerid"] == "gw0" and len(ran) == 2:
            os.write(request.config.stash_of_stderr, b"waiting\\n")
            signal.pause()
        ran.append(number)
"""

TELLING = """
    import os

    def pytest_configure(config):
        config.stash_of_stderr = os.dup(2)  # before capture takes it
"""
"""A test that says on the worker's standard error that it is running: that comes through, and is told from a report."""

SIGNALLED_BY_THE_FOURTH_REPORT = """
    import os, signal
    import pytest

    came = []

    @pytest.hookimpl(tryfirst=True)  # before the terminal's and the junit file's
    def pytest_runtest_logreport(report):
        if "PYTEST_XDIST_WORKER" not in os.environ and report.when == "call":
            came.append(report)
            if len(came) == 4:
                signal.raise_signal(NUMBER)
"""

IMPATIENT = """
    from tunlab.engines.workers import worker_pool

    worker_pool._WATCH, worker_pool._ANSWERING = 0.1, 1.0  # seconds, where a user's run is given more
"""


def kill(spec, container):
    with Engine.connect(spec) as engine:
        engine.api.kill(container)


@pytest.fixture
def waiting(pytester):
    """Forty tests, of which the third on the first worker waits for ever, and says so."""
    pytester.makepyfile(ONE_THAT_WAITS)
    pytester.makeconftest(TELLING)


class TestAContainerThatIsKilled:
    def test_costs_its_one_test_and_is_replaced(self, start, two, waiting, left_by):
        run = start(f"{two[0]}*1", f"{two[1]}*1").until_waiting()
        (container,) = re.findall(rf"container (\w+) on {re.escape(two[0])}$", run.text, re.MULTILINE)
        kill(two[0], container)
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        assert "replacing crashed worker gw0" in run.text
        evidence = f"container {container} on {two[0]}: exit status 137: it was killed"
        assert evidence in run.text
        (crashed,) = [case for case in run.junit().values() if case.find("failure") or case.find("error") is not None]
        assert evidence in crashed.find("error").text
        assert left_by(run.pid, two) == []

    def test_the_end_of_what_it_said_is_told_and_what_ended_before_is_kept(self, pytester, start, specs):
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

    def test_replacements_have_a_bound_and_what_was_not_run_is_told(self, pytester, start, specs, left_by):
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

    def test_no_test_is_left_out_in_silence(self, pytester, start, specs):
        """Without any replacement pytest-xdist ends early, with a green bar where no test was running."""
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


class TestAnEngineThatIsLost:
    def test_its_work_moves_to_the_others(self, start, specs, forwarder, waiting, left_by):
        here = specs[-1]
        run = start(f"{forwarder.spec}*1", f"{here}*1").until_waiting()
        forwarder.cut()
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        assert re.search(rf"^{re.escape(forwarder.spec)}: 1 worker, \d+ tests?, lost: ", run.text, re.MULTILINE)
        assert left_by(run.pid, specs) == []  # those on the lost one ended by themselves

    def test_one_that_is_frozen_is_given_up_and_its_work_moves_to_the_others(
        self, pytester, start, specs, forwarder, waiting, left_by
    ):
        pytester.makeconftest(TELLING + IMPATIENT)
        here = specs[-1]
        run = start(f"{forwarder.spec}*1", f"{here}*1").until_waiting()
        forwarder.freeze()
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 39}), run.text
        assert re.search(rf"^{re.escape(forwarder.spec)}: 1 worker, \d+ tests?, lost: ", run.text, re.MULTILINE)
        forwarder.cut()
        assert left_by(run.pid, specs) == []

    def test_with_the_last_one_the_run_ends_red_and_says_what_was_not_run(
        self, start, specs, forwarder, waiting, left_by
    ):
        run = start(f"{forwarder.spec}*1").until_waiting()
        forwarder.cut()
        run.ended()
        assert run.status == 69, run.text
        assert "no engine is left, and 38 of 40 tests were not run" in run.text
        assert len(run.junit()) == 2
        assert left_by(run.pid, specs) == []


class TestARunThatIsEnded:
    @pytest.mark.parametrize("group", [True, False], ids=["terminal", "controller"])
    def test_by_ctrl_c_in_the_middle(self, pytester, start, specs, left_by, group):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2").until(r"PASSED", times=4)
        run.signal(signal.SIGINT, group=group)
        run.ended()
        assert run.status == 2, run.text
        assert "KeyboardInterrupt" in run.text
        assert "1 of 5 tests were not run" in run.text
        assert len(run.junit()) == 4
        assert left_by(run.pid, specs) == []

    def test_by_ctrl_c_while_the_engine_is_frozen(self, pytester, start, specs, forwarder, left_by):
        pytester.makepyfile(STUCK)
        pytester.makeconftest("from tunlab.engines.workers import worker_pool\nworker_pool._ANSWERING = 1.0\n")
        run = start(f"{forwarder.spec}*2").until(r"PASSED", times=4)
        forwarder.freeze()
        run.signal(signal.SIGINT)
        run.ended()
        assert run.status == 2, run.text
        told = rf"^{re.escape(forwarder.spec)}: could not remove containers \w+, \w+: the engine does not answer; "
        assert len(re.findall(told, run.text, re.MULTILINE)) == 1, run.text
        assert len(run.junit()) == 4
        forwarder.cut()
        assert left_by(run.pid, specs) == []

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 2), (signal.SIGTERM, 128 + signal.SIGTERM)])
    def test_at_the_start(self, pytester, start, specs, left_by, number, status):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2")
        with Engine.connect(specs[0]) as engine:
            of_it = {"label": f"{container_labels.PID}={run.pid}", "event": "create"}
            next(iter(engine.api.events(filters=of_it, since=0, decode=True)))
        run.signal(number, group=True)
        run.ended()
        assert run.status == status, run.text
        assert left_by(run.pid, specs) == []

    def test_by_sigterm(self, pytester, start, specs, left_by):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2").until(r"PASSED", times=4)
        run.signal(signal.SIGTERM)
        run.ended()
        assert run.status == 128 + signal.SIGTERM, run.text
        assert "ended by SIGTERM" in run.text
        assert len(run.junit()) == 4
        assert left_by(run.pid, specs) == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_what_the_terminal_shows_the_junit_file_has_too(self, pytester, start, specs, left_by, number):
        pytester.makepyfile(STUCK)
        pytester.makeconftest(SIGNALLED_BY_THE_FOURTH_REPORT.replace("NUMBER", str(int(number))))
        run = start(f"{specs[0]}*2").ended()
        assert run.status == {signal.SIGINT: 2, signal.SIGTERM: 128 + signal.SIGTERM}[number], run.text
        assert (run.text.count(" PASSED "), len(run.junit())) == (4, 4), run.text
        assert left_by(run.pid, specs) == []

    def test_by_sigkill(self, pytester, start, specs, left_by):
        pytester.makepyfile(STUCK)
        run = start(f"{specs[0]}*2").until(r"PASSED", times=4)
        run.signal(signal.SIGKILL)
        run.ended()
        assert left_by(run.pid, specs) == []
        with Engine.connect(specs[0]) as engine:
            died = {"label": f"{container_labels.PID}={run.pid}", "event": "die"}
            events = list(engine.api.events(filters=died, since=0, until=int(time.time()) + 1, decode=True))
        # The stuck one by worker_boot: execnet would end it fifteen seconds later, with status 1. The other is idle.
        assert "137" in {each["Actor"]["Attributes"]["exitCode"] for each in events}
