"""Tests of runs with pytest-xdist's workers in containers."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.engines.workers.socket_forwarder import SocketForwarder
from tunlab.engines.connection.endpoint import resolve_endpoint

pytestmark = [pytest.mark.docker, pytest.mark.slow]

EXCHANGES = """
    import pytest
    from tunlab.packet import ICMP, IPv4

    @pytest.mark.parametrize("number", range(24))
    def test_exchange(tun, number):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number), b"payload")
        assert tun.expect(ICMP.where(type=0)).icmp.sequence_number == number
"""


def engines_of(run):
    """Return the engine of each test, from the junit file."""
    found = {}
    for name, case in run.junit().items():
        (value,) = [each.get("value") for each in case.iter("property") if each.get("name") == "tunlab-engine"]
        found[name] = re.sub(r"container \w+ on ", "", value)
    return found


class TestTwoEngines:
    def test_two_engines_share_the_tests_and_make_one_report(self, pytester, start, two, left_by):
        pytester.makepyfile(EXCHANGES)
        run = start(*(f"{spec}*2" for spec in two)).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 24}), run.text
        assert set(engines_of(run).values()) == set(two)
        for spec in two:
            assert re.search(rf"^{re.escape(spec)}: 2 workers, \d+ tests$", run.text, re.MULTILINE)
        assert left_by(run.pid, two) == []

    def test_failure_report_has_differences_packets_and_engine(self, pytester, start, two):
        pytester.makepyfile(
            f"""
            import pytest

            @pytest.mark.parametrize("number", range(4))
            def test_number(number, request, tun):
                tun.inject(b"\\x45" + bytes(19))
                if request.config.workerinput["tunlab_engine"] == {two[1]!r}:
                    assert b"last byte \\x01" == b"last byte \\x02"
            """
        )
        run = start(*(f"{spec}*1" for spec in two)).ended()
        assert (run.status, run.outcomes()) == (1, {"failed": 2, "passed": 2}), run.text
        assert re.search(rf"^\[gw1\] linux .*, container \w+ on {re.escape(two[1])}$", run.text, re.MULTILINE)
        failed = [case.find("failure").text for case in run.junit().values() if case.find("failure") is not None]
        assert len(failed) == 2
        assert all("At index 10 diff: b'\\x01' != b'\\x02'" in text for text in failed)
        recordings = list((pytester.path / ".tunlab/records").rglob("*.pcapng"))
        assert len(recordings) == 2
        assert all(b"\x45" + bytes(19) in file.read_bytes() for file in recordings)

    def test_option_dist_each_runs_every_test_on_every_engine(self, pytester, start, two):
        pytester.makepyfile("def test_one(tun): pass\ndef test_other(): pass\n")
        run = start(*(f"{spec}*1" for spec in two), "--dist=each").ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 4}), run.text

    def test_large_report_attribute_reaches_the_controller(self, pytester, start, specs):
        pytester.makeconftest(
            """
            import pytest

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport(item, call):
                report = yield
                if hasattr(item.config, "workerinput") and call.when == "call":
                    report.attachment = "AAAA" * 50_000
                return report

            def pytest_runtest_logreport(report):
                if hasattr(report, "node") and report.when == "call":
                    open("attachment", "w").write(report.attachment)
            """
        )
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1").ended()
        assert run.status == 0, run.text
        assert (pytester.path / "attachment").read_text() == "AAAA" * 50_000

    def test_mounts_setting_mounts_a_directory_in_each_worker(self, pytester, start, specs, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "file").write_text("text")
        pytester.makepyprojecttoml(f'[tool.tunlab.test]\nmounts = ["{tmp_path}/data:/data"]\n')
        pytester.makepyfile("def test_one(): assert open('/data/file').read() == 'text'\n")
        run = start(f"{specs[0]}*1").ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 1}), run.text


class TestCoverage:
    def test_coverage_of_two_workers_is_in_one_report(self, pytester, start, two):
        pytester.makefile(".txt", requirements="pytest-cov\n")
        pytester.mkpydir("measured").joinpath("lines.py").write_text(
            "def which(worker):\n    if worker == 'gw0':\n        return 0\n    return 1\n"
        )
        pytester.makepyfile(
            """
            import pytest
            from measured.lines import which

            @pytest.mark.parametrize("number", range(4))  # two for each worker
            def test_one(request, number):
                assert which(request.config.workerinput["workerid"]) in (0, 1)
            """
        )
        run = start(
            *(f"{spec}*1" for spec in two), "--cov=measured", "--cov-report=term-missing",
            environment={"PYTHONPATH": "."}, default_image=True,
        ).ended()  # fmt: skip
        assert (run.status, run.outcomes()) == (0, {"passed": 4}), run.text
        assert re.search(r"^measured/lines\.py +4 +0 +100%", run.text, re.MULTILINE), run.text


class TestProject:
    def test_worker_has_project_files_and_sys_path_but_no_other_files(self, pytester, start, specs):
        pytester.mkdir("src").joinpath("copied.py").write_text("VALUE = 7\n")
        pytester.mkdir("data").joinpath("binary").write_bytes(b"\0\1\2")
        pytester.makepyfile(
            f"""
            from pathlib import Path
            import copied

            def test_here(tmp_path):
                assert Path.cwd() == Path({str(pytester.path)!r})
                assert Path("data/binary").read_bytes() == b"\\0\\1\\2"
                assert copied.VALUE == 7
                assert not Path({str(Path(__file__))!r}).exists()
                assert not str(tmp_path).startswith({str(pytester.path.parent)!r})
            """
        )
        run = start(f"{specs[0]}*1", environment={"PYTHONPATH": "src"}).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 1}), run.text

    def test_worker_capabilities_depend_on_privileged_option_and_setting(self, pytester, start, specs):
        pytester.makepyfile(
            """
            from pathlib import Path

            def test_capabilities():
                status = Path("/proc/self/status").read_text()
                print("capabilities", status.split("CapEff:")[1].split()[0])
                assert False
            """
        )

        def capabilities(*options):
            run = start(f"{specs[0]}*1", *options).ended()
            return int(re.search(r"^capabilities ([0-9a-f]+)$", run.text, re.MULTILINE)[1], 16)

        least = 1 << 12 | 1 << 13 | 1 << 21  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
        assert capabilities() == least
        assert capabilities("--tunlab-privileged") > least
        pytester.makepyprojecttoml("[tool.tunlab.test]\ncapabilities = ['SYS_PTRACE']\n")
        assert capabilities() == least | 1 << 19  # CAP_SYS_PTRACE


class TestController:
    def test_controller_starts_no_docker_client(self, pytester, start, specs, need):
        pytester.makepyfile("def test_one(tun): pass\n")
        log = pytester.path / "trace"
        run = start(f"{specs[0]}*1", prefix=[need("strace"), "-f", "-qq", "-e", "trace=execve", "-o", str(log)]).ended()
        assert run.status == 0, run.text
        started = re.findall(r'execve\("([^"]+)"[^\n]* = 0$', log.read_text(), re.MULTILINE)
        assert {Path(path).name for path in started} == {Path(sys.executable).name, "git"}

    def test_unprivileged_controller_needs_only_the_socket(self, pytester, start, specs, as_nobody):
        pytester.makepyfile(EXCHANGES)
        forwarder = SocketForwarder(pytester.path / "engine.sock", resolve_endpoint(specs[0]).socket)
        try:
            forwarder.path.chmod(0o660)
            prefix = as_nobody(work=pytester.path)
            spec = "unix:///mnt/work/engine.sock*1"
            run = start(spec, prefix=prefix).ended()
            assert run.status == 69, run.text
            assert "user 65534 may not use the engine's socket" in run.text
            os.chown(forwarder.path, 0, 65534)
            run = start(spec, prefix=prefix).ended()
            assert (run.status, run.outcomes()) == (0, {"passed": 24}), run.text
        finally:
            forwarder.close()

    def test_rootless_workers_need_no_engine(self, pytester, start, as_nobody):
        pytester.makepyfile(EXCHANGES)
        run = start("rootless*2", prefix=as_nobody(work=pytester.path), default_image=True).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 24}), run.text
        assert "rootless: 2 workers, 24 tests" in run.text

    def test_option_dist_each_runs_tests_on_rootless_and_container_workers(self, pytester, start, specs):
        pytester.makepyfile(EXCHANGES)
        run = start(f"{specs[0]}*1", "rootless*1", "--dist=each").ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 48}), run.text
