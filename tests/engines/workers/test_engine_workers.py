"""pytest-xdist's workers in containers, by real runs on real engines."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.engines.workers.socket_forwarder import SocketForwarder
from tunlab.engines.connection.endpoint import endpoint

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
    """Which test ran on which engine, by the junit file."""
    found = {}
    for name, case in run.junit().items():
        (value,) = [each.get("value") for each in case.iter("property") if each.get("name") == "tunlab-engine"]
        found[name] = re.sub(r"container \w+ on ", "", value)
    return found


class TestTwoEngines:
    def test_the_tests_are_split_and_there_is_one_report(self, pytester, start, two, left_by):
        pytester.makepyfile(EXCHANGES)
        run = start(*(f"{spec}*2" for spec in two)).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 24}), run.text
        assert set(engines_of(run).values()) == set(two)
        for spec in two:
            assert re.search(rf"^{re.escape(spec)}: 2 workers, \d+ tests$", run.text, re.MULTILINE)
        assert left_by(run.pid, two) == []

    def test_a_failure_on_the_second_arrives_with_its_difference_its_packets_and_its_engine(self, pytester, start, two):
        pytester.makepyfile(
            f"""
            import pytest

            @pytest.mark.parametrize("number", range(4))
            def test_number(number, request, tun):
                tun.inject(b"\\x45" + bytes(19))
                if request.config.workerinput["tunlab_engine"] == {two[1]!r}:
                    assert b"one octet \\x01" == b"one octet \\x02"
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

    def test_each_runs_every_test_on_every_engine(self, pytester, start, two):
        pytester.makepyfile("def test_one(tun): pass\ndef test_other(): pass\n")
        run = start(*(f"{spec}*1" for spec in two), "--dist=each").ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 4}), run.text

    def test_more_on_a_report_comes_home(self, pytester, start, specs):
        """What hooks on the worker's side put on a report, as a record of packets in base64."""
        pytester.makeconftest(
            """
            import pytest

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport(item, call):
                report = yield
                if hasattr(item.config, "workerinput") and call.when == "call":
                    report.brought = "AAAA" * 50_000
                return report

            def pytest_runtest_logreport(report):
                if hasattr(report, "node") and report.when == "call":
                    open("brought", "w").write(report.brought)
            """
        )
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1").ended()
        assert run.status == 0, run.text
        assert (pytester.path / "brought").read_text() == "AAAA" * 50_000

    def test_what_the_table_mounts_is_there(self, pytester, start, specs, tmp_path):
        (tmp_path / "given").mkdir()
        (tmp_path / "given" / "packets").write_text("some")
        pytester.makepyprojecttoml(f'[tool.tunlab.test]\nmounts = ["{tmp_path}/given:/given"]\n')
        pytester.makepyfile("def test_one(): assert open('/given/packets').read() == 'some'\n")
        run = start(f"{specs[0]}*1").ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 1}), run.text


class TestCoverage:
    def test_of_both_workers_is_in_one_report(self, pytester, start, two):
        """pytest-cov decides before any conftest is read whether the tests are distributed."""
        pytester.makefile(".txt", requirements="pytest-cov\n")
        pytester.mkpydir("measured").joinpath("lines.py").write_text(
            "def which(worker):\n    if worker == 'gw0':\n        return 0\n    return 1\n"
        )
        pytester.makepyfile(
            """
            import pytest
            from measured.lines import which

            @pytest.mark.parametrize("number", range(4))  # pytest-xdist gives two of them to each
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


class TestTheProject:
    def test_is_at_its_own_path_with_its_python_path_and_without_the_rest_of_the_machine(self, pytester, start, specs):
        pytester.mkdir("src").joinpath("carried_in.py").write_text("VALUE = 7\n")
        pytester.mkdir("data").joinpath("octets").write_bytes(b"\0\1\2")
        pytester.makepyfile(
            f"""
            from pathlib import Path
            import carried_in

            def test_here(tmp_path):
                assert Path.cwd() == Path({str(pytester.path)!r})
                assert Path("data/octets").read_bytes() == b"\\0\\1\\2"
                assert carried_in.VALUE == 7
                assert not Path({str(Path(__file__))!r}).exists()
                assert not str(tmp_path).startswith({str(pytester.path.parent)!r})
            """
        )
        run = start(f"{specs[0]}*1", environment={"PYTHONPATH": "src"}).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 1}), run.text

    def test_the_workers_may_do_what_tunlab_needs_and_more_only_when_asked(self, pytester, start, specs):
        pytester.makepyfile(
            """
            from pathlib import Path

            def test_rights():
                status = Path("/proc/self/status").read_text()
                print("rights", status.split("CapEff:")[1].split()[0])
                assert False
            """
        )

        def rights(*options):
            run = start(f"{specs[0]}*1", *options).ended()
            return int(re.search(r"^rights ([0-9a-f]+)$", run.text, re.MULTILINE)[1], 16)

        least = 1 << 12 | 1 << 13 | 1 << 21  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
        assert rights() == least
        assert rights("--tunlab-privileged") > least
        pytester.makepyprojecttoml("[tool.tunlab.test]\ncapabilities = ['SYS_PTRACE']\n")
        assert rights() == least | 1 << 19


class TestTheController:
    def test_runs_no_docker_program(self, pytester, start, specs, need):
        pytester.makepyfile("def test_one(tun): pass\n")
        log = pytester.path / "trace"
        run = start(f"{specs[0]}*1", prefix=[need("strace"), "-f", "-qq", "-e", "trace=execve", "-o", str(log)]).ended()
        assert run.status == 0, run.text
        started = re.findall(r'execve\("([^"]+)"[^\n]* = 0$', log.read_text(), re.MULTILINE)
        assert {Path(path).name for path in started} == {Path(sys.executable).name, "git"}

    def test_needs_no_root_but_the_right_to_the_socket(self, pytester, start, specs, as_nobody):
        pytester.makepyfile(EXCHANGES)
        forwarder = SocketForwarder(pytester.path / "engine.sock", endpoint(specs[0]).socket)
        try:
            forwarder.path.chmod(0o660)
            prefix = as_nobody(work=pytester.path)
            there = "unix:///mnt/work/engine.sock*1"
            run = start(there, prefix=prefix).ended()
            assert run.status == 69, run.text
            assert "user 65534 has no right to the engine's socket" in run.text
            os.chown(forwarder.path, 0, 65534)
            run = start(there, prefix=prefix).ended()
            assert (run.status, run.outcomes()) == (0, {"passed": 24}), run.text
        finally:
            forwarder.cut()

    def test_without_an_engine_rootless_is_the_same(self, pytester, start, as_nobody):
        pytester.makepyfile(EXCHANGES)
        run = start("rootless*2", prefix=as_nobody(work=pytester.path), default_image=True).ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 24}), run.text
        assert "rootless: 2 workers, 24 tests" in run.text

    def test_rootless_and_containers_share_a_run(self, pytester, start, specs):
        pytester.makepyfile(EXCHANGES)
        run = start(f"{specs[0]}*1", "rootless*1", "--dist=each").ended()
        assert (run.status, run.outcomes()) == (0, {"passed": 48}), run.text
