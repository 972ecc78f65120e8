"""Tests of workers on an engine that is reached through ssh."""

import signal

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TWO = """
    def test_passes():
        pass

    def test_fails():
        assert {"ttl": 64} == {"ttl": 63}
"""


class TestWorkers:
    def test_failure_over_ssh_is_reported_with_differences(self, pytester, start, specs, ssh_server, left_by):
        pytester.makepyfile(TWO)
        run = start(f"{ssh_server.spec}*1", environment=ssh_server.environment).ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 1}), run.text + ssh_server.log
        assert "{'ttl': 64} != {'ttl': 63}" in run.text
        assert "INTERNALERROR" not in run.text
        assert f"{ssh_server.spec}: 1 worker, 2 tests" in run.text
        assert "{'ttl': 64}" in run.junit()["test_fails"].find("failure").text
        assert left_by(run.pid, specs) == []

    def test_local_and_ssh_engines_share_the_tests(self, pytester, start, specs, ssh_server, left_by):
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.parametrize("number", range(40))
            def test_number(number):
                print("x" * 200_000)
            """
        )
        run = start(f"{ssh_server.spec}*2", f"{specs[0]}*1", environment=ssh_server.environment).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 40}), run.text + ssh_server.log
        assert len(run.junit()) == 40
        assert left_by(run.pid, specs) == []

    def test_ctrl_c_removes_containers_over_ssh(self, pytester, start, specs, ssh_server, left_by):
        pytester.makepyfile(
            """
            import signal

            def test_quick():
                pass

            def test_stuck():
                signal.pause()
            """
        )
        run = start(f"{ssh_server.spec}*1", environment=ssh_server.environment).until("PASSED")
        run.signal(signal.SIGINT, group=True)
        run.ended()
        assert run.status == 2, run.text
        assert left_by(run.pid, specs) == []

    def test_lost_ssh_connection_moves_tests_to_other_engine(self, pytester, start, specs, ssh_server, left_by):
        pytester.makepyfile(
            """
            import os, signal
            import pytest

            @pytest.mark.parametrize("number", range(20))
            def test_number(number, request):
                if request.config.workerinput["workerid"] == "gw0":
                    os.write(request.config.standard_error, b"waiting\\n")
                    signal.pause()
            """
        )
        pytester.makeconftest(
            """
            import os

            def pytest_configure(config):
                config.standard_error = os.dup(2)  # before pytest captures standard error
            """
        )
        run = start(f"{ssh_server.spec}*1", f"{specs[0]}*1", environment=ssh_server.environment)
        run.until_waiting()
        ssh_server.close()
        run.ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 1, "passed": 19}), run.text
        assert left_by(run.pid, specs) == []
