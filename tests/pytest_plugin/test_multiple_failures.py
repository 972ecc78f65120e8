"""Reports and recordings of unittest tests, and of tests that fail more than once, in real pytest runs."""

import re

import pytest

from tunlab.recorder import read_pcapng

HEAD = """
    import socket
    import unittest
    import pytest
    from tunlab.packet import ICMP, TCP, IPv4

    def ping(tun, number):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number))

    class Case(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _tun(self, tun):
            self.tun = tun
"""


@pytest.fixture
def sections():
    """Return a function that returns the tunlab sections in pytest's output."""

    def sections(result):
        parts = re.split(r"^-+ tunlab -+$", result.stdout.str(), flags=re.MULTILINE)[1:]
        return [re.split(r"^(?:===|___)", part, maxsplit=1, flags=re.MULTILINE)[0] for part in parts]

    return sections


def recording(pytester, name):
    (path,) = pytester.path.rglob(f"{name}.pcapng")
    return list(read_pcapng(path))


def numbers(records):
    """Return the ICMP sequence numbers of the injected echo requests."""
    return [int.from_bytes(each.data[26:28], "big") for each in records if each.direction == "in"]


def test_failed_unittest_has_section_recording_and_junit_link(pytester, run, parallel, sections):
    pytester.makepyfile(
        test_x=HEAD
        + """
        def test_expecting(self):
            left_open = socket.socket()  # failing tests are not checked for leaks
            ping(self.tun, 1)
            self.tun.expect(TCP, timeout=0.01)
    """
    )
    result = run(*parallel, "--junitxml=report.xml", warnings="default")
    result.assert_outcomes(failed=1)
    (section,) = sections(result)
    assert "injected at test_x.py:" in section
    result.stdout.fnmatch_lines(["E *recorded in .tunlab/records/*.pcapng"])
    assert numbers(recording(pytester, "test_x.Case.test_expecting")) == [1]
    assert (pytester.path / "report.xml").read_text().count("tunlab_recorded") == 1


def test_unittest_strict_failure_is_recorded_but_skip_and_expected_failure_are_not(pytester, run, sections):
    pytester.makepyfile(
        test_x=HEAD
        + """
        @pytest.mark.tun(strict=True)
        def test_strict(self):
            ping(self.tun, 1)
        def test_skipped(self):
            ping(self.tun, 1)
            self.skipTest("later")
        @unittest.expectedFailure
        def test_expected(self):
            ping(self.tun, 1)
            self.fail()
    """
    )
    result = run()
    result.assert_outcomes(failed=1, skipped=1, xfailed=1)
    assert len(sections(result)) == 1
    assert [path.stem for path in pytester.path.rglob("*.pcapng")] == ["test_x.Case.test_strict"]


SUBTESTS = """
    def test_x(tun, subtests):
        for number in (1, 2, 3):
            with subtests.test(number=number):
                ping(tun, number)
                tun.expect(TCP if number < 3 else ICMP, timeout=0.01)
"""
UNITTEST_SUBTESTS = """
        def test_x(self):
            for number in (1, 2, 3):
                with self.subTest(number=number):
                    ping(self.tun, number)
                    self.tun.expect(TCP if number < 3 else ICMP, timeout=0.01)
"""


@pytest.mark.parametrize(("name", "tests"), [("test_x.test_x", SUBTESTS), ("test_x.Case.test_x", UNITTEST_SUBTESTS)])
def test_failed_subtests_have_own_sections_and_one_recording(pytester, run, parallel, sections, name, tests):
    pytester.makepyfile(test_x=HEAD + tests)
    result = run(*parallel, "--junitxml=report.xml")
    first, second = sections(result)
    assert "seq 1," in first
    assert "seq 2," not in first
    assert "2 packets shown above" in second
    assert "seq 1," not in second
    assert "seq 2," in second
    records = recording(pytester, name)
    assert numbers(records) == [1, 2, 3]
    assert records[-1].comment.startswith("matched expectation 3")
    (page,) = pytester.path.rglob("*.html")
    assert page.read_text().count("1 packet arrived") == 2, "the page has both failures"
    assert (pytester.path / "report.xml").read_text().count("tunlab_recorded") == 1


def test_failed_call_and_teardown_have_one_section_each(pytester, run, parallel, sections):
    pytester.makepyfile(
        test_x=HEAD
        + """
    @pytest.fixture
    def late(tun):
        yield
        ping(tun, 2)
        tun.expect(TCP, timeout=0.01)
    def test_x(tun, late):
        ping(tun, 1)
        tun.expect(TCP, timeout=0.01)
    """
    )
    result = run(*parallel, "--junitxml=report.xml")
    result.assert_outcomes(failed=1, errors=1)
    told = sections(result)
    assert sorted(("seq 1," in each, "seq 2," in each) for each in told) == [(False, True), (True, False)]
    assert numbers(recording(pytester, "test_x.test_x")) == [1, 2]
    assert (pytester.path / "report.xml").read_text().count("tunlab_recorded") == 1


def test_recording_of_failed_test_has_no_packets_of_the_teardown(pytester, run):
    pytester.makepyfile(
        test_x=HEAD
        + """
    @pytest.fixture
    def late(tun):
        yield
        ping(tun, 2)
    def test_x(tun, late):
        ping(tun, 1)
        assert False
    """
    )
    run().assert_outcomes(failed=1)
    assert numbers(recording(pytester, "test_x.test_x")) == [1]


def test_strict_xfail_that_passes_has_section_and_recording(pytester, run, sections):
    pytester.makepyfile(
        test_x=HEAD
        + """
    @pytest.mark.xfail(strict=True)
    def test_x(tun):
        ping(tun, 1)
    """
    )
    result = run()
    result.assert_outcomes(failed=1)
    (section,) = sections(result)
    assert "seq 1," in section
    assert numbers(recording(pytester, "test_x.test_x")) == [1]


def test_file_comment_of_recording_has_the_outcome_of_the_test(pytester, run):
    pytester.makepyfile(
        test_x=HEAD
        + """
    def test_bad(tun):
        ping(tun, 1)
        assert False
    @pytest.mark.xfail
    def test_expected(tun):
        ping(tun, 1)
        assert False
    def test_good(tun):
        ping(tun, 1)
    """
    )
    run("--tunlab-record=always").assert_outcomes(passed=1, failed=1, xfailed=1)
    for name, outcome in {"bad": "failed", "expected": "skipped", "good": "passed"}.items():
        (path,) = pytester.path.rglob(f"test_x.test_{name}.pcapng")
        assert f"test_x.py::test_{name}: {outcome}".encode() in path.read_bytes()
