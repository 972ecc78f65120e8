"""Recordings of tests: for which tests they are written, where, and what they contain, in real pytest runs."""

import re
import subprocess
from types import SimpleNamespace

import pytest

from tunlab.pytest_plugin.recording_files import recording_name
from tunlab.recorder import read_pcapng

PASSING_AND_FAILING = """
    import pytest
    from tunlab.packet import ICMP, IPv4

    def ping(tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
        tun.expect(ICMP.where(type=0))

    def test_good(tun):
        ping(tun)

    def test_bad(tun):
        ping(tun)
        tun.expect(timeout=0.01)

    def test_none(tun):
        assert False

    def test_without():
        assert False
"""


def recordings(pytester):
    folder = pytester.path / ".tunlab/records"
    return {str(path.relative_to(folder)): path for path in folder.rglob("*.pcapng")}


class TestWriting:
    def test_failed_test_is_recorded_with_packet_comments(self, pytester, run, parallel):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        result = run(*parallel)
        result.assert_outcomes(passed=1, failed=3)
        ((name, path),) = recordings(pytester).items()
        assert re.fullmatch(r"(gw\d/)?test_x\.test_bad\.pcapng", name)
        assert name.startswith("gw") == bool(parallel)
        records = list(read_pcapng(path))
        assert [(each.interface.name, each.direction) for each in records] == [("tun0", "in"), ("tun0", "out")]
        assert [each.comment for each in records] == [
            "injected at test_x.py:5",
            "matched expectation 1 at test_x.py:6",
        ]
        result.stdout.fnmatch_lines(
            [f"recorded  .tunlab/records/{name}", f"replay    tunlab replay .tunlab/records/{name}"]
        )
        assert (pytester.path / ".tunlab/records/.gitignore").read_text() == "*\n"

    def test_record_mode_always_writes_recordings_of_passing_tests(self, pytester, run, parallel):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        run(*parallel, "--tunlab-record=always").assert_outcomes(passed=1, failed=3)
        found = {name.rpartition("/")[2]: path for name, path in recordings(pytester).items()}
        assert sorted(found) == ["test_x.test_bad.pcapng", "test_x.test_good.pcapng", "test_x.test_none.pcapng"]
        assert [len(list(read_pcapng(found[f"test_x.test_{name}.pcapng"]))) for name in ("bad", "good", "none")] == [
            2,
            2,
            0,
        ]
        assert b"test_x.py::test_good: passed" in found["test_x.test_good.pcapng"].read_bytes()

    def test_record_mode_never_writes_no_file(self, pytester, run, parallel):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        result = run(*parallel, "--tunlab-record=never")
        result.assert_outcomes(passed=1, failed=3)
        assert recordings(pytester) == {}
        assert not (pytester.path / ".tunlab").exists()
        result.stdout.no_fnmatch_line("recorded *")
        result.stdout.fnmatch_lines(["*injected at test_x.py:5"])  # Without a recording, the report shows packets.

    def test_ini_options_set_record_mode_and_directory(self, pytester, run):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        pytester.makeini("[pytest]\ntunlab_record = always\ntunlab_record_dir = build/packets\n")
        run()
        assert (pytester.path / "build/packets/test_x.test_good.pcapng").exists()
        pytester.makeini("[pytest]\ntunlab_record = sometimes\n")
        result = run()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*tunlab_record is 'sometimes'. Set it to one of failed, always, never.*"])

    def test_record_dir_option_sets_the_directory(self, pytester, run, tmp_path):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        run(f"--tunlab-record-dir={tmp_path / 'elsewhere'}")
        assert (tmp_path / "elsewhere/test_x.test_bad.pcapng").exists()

    def test_failed_write_of_recording_is_shown_in_section_and_summary(self, pytester, run, parallel):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        (pytester.path / ".tunlab").write_text("a file where the directory should be")
        result = run(*parallel, "-p", "no:warnings")
        result.assert_outcomes(passed=1, failed=3)
        result.stdout.fnmatch_lines(
            [
                "rerun     pytest test_x.py::test_bad",
                "could not write the recording: Not a directory",
                "*= tunlab: files not written =*",
                "test_x.py::test_bad: could not write the recording to *: Not a directory",
                "Free some space, or give another directory with --tunlab-record-dir.",
            ]
        )
        for line in ("*recorded *", "page *", "replay *"):
            result.stdout.no_fnmatch_line(line)

    @pytest.mark.parametrize("ending", ["pcapng", "html"])
    def test_failed_write_of_recording_or_page_leaves_no_partial_file(self, pytester, run, ending):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        pytester.makeconftest(
            f"""
            import errno
            from pathlib import Path
            original = Path.write_bytes
            def write_bytes(self, data):
                if ".{ending}" in self.name:
                    original(self, data[:9])
                    raise OSError(errno.ENOSPC, "")
                return original(self, data)
            Path.write_bytes = write_bytes
            """
        )
        result = run("-k", "bad")
        kind = {"pcapng": "recording", "html": "page"}[ending]
        result.stdout.fnmatch_lines(
            [
                f"could not write the {kind}: No space left on device",
                f"test_x.py::test_bad: could not write the {kind} to */test_x.test_bad.{ending}: No space*",
            ]
        )
        files = sorted(path.name for path in (pytester.path / ".tunlab/records").iterdir())
        assert files == [".gitignore", "test_x.test_bad.pcapng"][: 2 if kind == "page" else 1]
        labels = ("recorded  ", "page  ", "replay  ")
        pointers = [line.split()[0] for line in result.outlines if line.startswith(labels)]
        assert pointers == (["recorded", "replay"] if kind == "page" else [])

    def test_record_dir_that_is_a_file_is_a_usage_error(self, pytester, run):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        (pytester.path / "file").touch()
        result = run("--tunlab-record-dir=file")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--tunlab-record-dir: */file is a file. Give a directory*"])
        run("--tunlab-record-dir=file", "--tunlab-record=never").assert_outcomes(passed=1, failed=3)

    def test_recording_replaces_older_one_of_the_same_test_by_any_worker(self, pytester, run):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        run("-n", "2", "-k", "bad")
        run("-k", "bad")
        assert list(recordings(pytester)) == ["test_x.test_bad.pcapng"]
        assert [path.name for path in (pytester.path / ".tunlab").rglob("*.html")] == ["test_x.test_bad.html"]

    def test_xfailed_and_skipped_tests_are_not_recorded(self, pytester, run):
        pytester.makepyfile(
            """
            import pytest
            @pytest.mark.xfail
            def test_x(tun):
                tun.ping(tun.peer)
                assert False
            def test_y(tun):
                tun.ping(tun.peer)
                pytest.skip("later")
            """
        )
        run().assert_outcomes(xfailed=1, skipped=1)
        assert recordings(pytester) == {}

    @pytest.mark.parametrize("phase", ["setup", "teardown"])
    def test_failed_setup_or_teardown_is_recorded(self, pytester, run, phase):
        pytester.makepyfile(
            f"""
            import pytest
            @pytest.fixture
            def broken(tun):
                if {phase!r} == "setup":
                    tun.ping(tun.peer)
                    assert False
                yield
                assert False
            def test_x(broken, tun):
                tun.ping(tun.peer)
            """
        )
        result = run()
        result.assert_outcomes(errors=1, passed=int(phase == "teardown"))
        ((_, path),) = recordings(pytester).items()
        assert len(list(read_pcapng(path))) == 1
        result.stdout.fnmatch_lines(["*ICMP echo request*"])

    def test_recording_of_teardown_failure_after_device_removal_has_device_name(self, pytester, run):
        pytester.makepyfile(
            """
            import pytest
            @pytest.fixture
            def late():
                yield
                assert False
            def test_x(late, tun):
                tun.ping(tun.peer)
            """
        )
        result = run()
        result.assert_outcomes(errors=1, passed=1)
        ((_, path),) = recordings(pytester).items()
        assert [each.interface.name for each in read_pcapng(path)] == ["tun0"]
        result.stdout.fnmatch_lines(["*Icmp.OutEchos 1*"])


class TestLabs:
    def test_recording_of_lab_has_every_node_from_the_first_packet(self, pytester, run, need):
        pytester.makepyfile(
            """
            import pytest
            @pytest.mark.lab("router")
            def test_x(lab):
                lab["client"].run(["ping", "-c", "1", "server"], check=True, capture_output=True)
                assert False
            """
        )
        result = run()
        ((_, path),) = recordings(pytester).items()
        names = {each.interface.name for each in read_pcapng(path)}
        assert {name.partition(":")[0] for name in names} >= {"client", "router", "server"}
        assert len([name for name in names if name.startswith("router:")]) == 2
        command = [need("tshark"), "-r", path, "-Y", "icmp", "-T", "fields", "-e", "frame.interface_name"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert shown.count("client:eth0") == 2
        result.stdout.re_match_lines([r".*client +router +server", r".*├─+▶│ +│ +ARP who has"])

    def test_packets_injected_into_lab_node_tun_have_comments(self, pytester, run):
        pytester.makepyfile(
            """
            import pytest
            from tunlab.packet import ICMP, IPv4
            @pytest.mark.lab(nodes={"host": {"tun": "10.9.0.1/24"}})
            def test_x(lab):
                tun = lab["host"].tun
                tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1))
                assert False
            """
        )
        run().stdout.re_match_lines(
            [".*test +host", ".*├─+▶│ +IP 10.9.0.2 > 10.9.0.1: ICMP echo request", ".*· injected at"]
        )


class TestLinks:
    def test_junit_report_names_the_recording_and_shows_the_packets(self, pytester, run, parallel):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        run(*parallel, "--junitxml=report.xml")
        text = (pytester.path / "report.xml").read_text()
        assert re.search(r'name="tunlab_recorded" value="\.tunlab/records/(gw\d/)?test_x\.test_bad\.pcapng"', text)
        assert "matched expectation 1 at test_x.py:6" in text
        assert text.count("tunlab_recorded") == 1

    def test_html_page_is_written_next_to_the_recording(self, pytester, run, parallel):
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        result = run(*parallel)
        ((_, path),) = recordings(pytester).items()
        page = path.with_suffix(".html").read_text()
        assert re.search("<summary>Failure: (<[^>]*>)?(ExpectationError|assert|AssertionError|Failed)", page)
        assert "test_x.py::test_bad" in page
        assert "matched expectation 1 at test_x.py:6" in page
        result.stdout.fnmatch_lines([f"page      {path.with_suffix('.html').relative_to(pytester.path)}"])

    def test_pytest_html_links_to_files_are_relative_to_its_report(self, pytester, run, parallel):
        """pytest-html shows the `extras` of a test's report. Its own report is at the path in the option htmlpath."""
        pytester.makepyfile(test_x=PASSING_AND_FAILING)
        pytester.makepyfile(
            stand_in="""
            from importlib.util import find_spec
            is_real = find_spec("pytest_html") is not None  # then this plugin only prints the links
            def pytest_addoption(parser):
                if not is_real:
                    parser.addoption("--html", dest="htmlpath")
            def pytest_configure(config):
                if not is_real:
                    config.pluginmanager.register(object(), "html")
            def pytest_runtest_logreport(report):
                for extra in getattr(report, "extras", []):
                    assert extra["format_type"] == "url"
                    print("EXTRA", report.nodeid, extra["name"], extra["content"])
            """
        )
        result = run(*parallel, "-s", "-p", "stand_in", "--html", "out/report.html", warnings="default")
        lines = [line.split()[-3:] for line in result.outlines if "EXTRA" in line]
        assert [(test, name) for test, name, _ in lines] == [
            ("test_x.py::test_bad", name) for name in ("recorded", "page")
        ]
        assert all((pytester.path / "out" / content).resolve().exists() for _, _, content in lines)


class TestNames:
    @pytest.mark.parametrize(
        ("nodeid", "name"),
        [
            ("test_x.py::test_y", "test_x.test_y"),
            ("tests/deep/test_x.py::TestA::test_y", "tests.deep.test_x.TestA.test_y"),
            ("test_x.py::test_y[80-tcp]", "test_x.test_y-80-tcp"),
        ],
    )
    def test_recording_name_of_simple_test_id_is_readable(self, nodeid, name):
        assert recording_name(SimpleNamespace(), nodeid) == name

    @pytest.mark.parametrize(
        "nodeid", ["x.py::t[a/b c]", "x.py::t[" + "y" * 400 + "]", "x.py::t[ü\0]", "x.py::t[../../etc]"]
    )
    def test_recording_name_of_test_id_with_special_characters_is_safe_and_unique(self, nodeid):
        name = recording_name(SimpleNamespace(), nodeid)
        assert re.fullmatch(r"[\w.+=,@-]{1,160}", name)
        assert name != recording_name(SimpleNamespace(), nodeid.replace("]", "-]"))

    def test_recording_name_in_xdist_worker_has_a_subdirectory_for_the_worker(self):
        assert recording_name(SimpleNamespace(workerinput={"workerid": "gw3"}), "x.py::t") == "gw3/x.t"
