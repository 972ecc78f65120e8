"""Strict tests, by real pytest runs: what nobody expected fails the test itself, and hides nothing."""

import sys

import pytest

HEAD = """
    import pytest
    from tunlab.packet import ICMP, TCP, IPv4

    def ping(tun, *numbers):
        for number in numbers:
            tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number), b"hello")

"""


@pytest.fixture
def run(pytester, monkeypatch):
    """A pytest run in a process of its own, as a user would start it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def run(source, *arguments, ini=""):
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(test_it=HEAD + source)
        return pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)

    return run


@pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
def test_what_was_passed_over_or_never_read_fails_the_test_with_the_packets(run, parallel):
    result = run(
        """
    @pytest.mark.tun(strict=True)
    def test_it(tun):
        ping(tun, 1, 2, 3)
        tun.expect(ICMP.where(sequence_number=2))
        """,
        *parallel,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "ExpectationError: strict: 2 packets came out of tun0 that nobody expected, captured or read (what *",
            "*1. +0.00 ms  IP * ICMP echo reply, id 1, seq 1, length 13   <-- passed over at test_it.py:12",
            "*2. +* ms  IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 1, seq 3, length 13   <-- never read",
        ]
    )
    assert "strict.py" not in result.stdout.str()
    result.stdout.no_fnmatch_line("*traceback*")


def test_one_is_told_in_the_singular(run):
    result = run(
        """
    @pytest.mark.tun(strict=True)
    def test_it(tun):
        ping(tun, 1)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["ExpectationError: strict: a packet came out of tun0 that nobody expected, captured or read (*"]
    )


@pytest.mark.parametrize(
    "read",
    [
        "tun.expect_all([ICMP.where(sequence_number=n) for n in (3, 1, 2)])",
        "tun.capture()",
        "[tun.read() for _ in range(3)]",
        "[tun.expect(ICMP) for _ in range(3)]; tun.emit(b'of my own'); tun.fence(); tun.unread()",
    ],
)
def test_what_was_read_in_any_way_is_well(run, read):
    source = f"""
    @pytest.mark.tun(strict=True)
    def test_it(tun):
        ping(tun, 1, 2, 3)
        {read}
    """
    run(source).assert_outcomes(passed=1)


def test_the_tests_own_failure_skip_and_expected_failure_stand(run):
    result = run(
        """
    @pytest.mark.tun(strict=True)
    def test_own(tun):
        ping(tun, 1)
        assert "this" == "that"

    @pytest.mark.tun(strict=True)
    def test_skip(tun):
        ping(tun, 1)
        pytest.skip("not now")

    @pytest.mark.xfail(strict=True)
    @pytest.mark.tun(strict=True)
    def test_known(tun):
        ping(tun, 1)

    @pytest.mark.tun(strict=True)
    def test_closed(tun):
        ping(tun, 1)
        tun.unread()
        tun.close()
        """
    )
    result.assert_outcomes(failed=2, skipped=1, xfailed=1)
    text = result.stdout.str()
    assert "assert 'this' == 'that'" in text
    assert text.count("strict: ") == 2  # test_closed, there and in the summary


def test_for_all_by_the_configuration_for_one_by_its_call_and_not_unless_asked_for(run):
    source = """
    def test_ini(tun):
        ping(tun, 1)

    @pytest.mark.tun(strict=False)
    def test_marker(tun):
        ping(tun, 1)

    def test_calls(make_tun):
        ping(make_tun(strict=False), 1)
        ping(make_tun(strict=True), 1)
    """
    run(source, ini="tunlab_strict = true").assert_outcomes(failed=2, passed=1)
    result = run(source)
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_calls*"])


def test_where_no_fence_holds_what_has_come_counts(run):
    source = """
    @pytest.mark.tun(strict=True, address="")
    def test_it(tun):
        tun.device.add_address("10.1.2.1/24")
        tun.inject(IPv4(src="10.1.2.2", dst="10.1.2.1"), ICMP.echo_request(1, 1), b"hello")
    """
    run(source).assert_outcomes(failed=1)


def test_where_the_device_is_gone_what_had_come_counts(run):
    source = """
    @pytest.mark.tun(strict=True)
    @pytest.mark.parametrize("read", [True, False])
    def test_it(tun, read):
        ping(tun, 1)
        tun.unread()
        if read:
            tun.expect(ICMP)
        tun.device.delete()
    """
    run(source).assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("marker", "ini", "sentence"),
    [
        ("strict='yes'", "", "*strict='yes' cannot be; it is True or False*"),
        ("", "tunlab_strict = perhaps", "*tunlab_strict in the configuration is neither true nor false*"),
        ("strikt=True", "", "*has no setting 'strikt'; did you mean strict[?]*"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(run, marker, ini, sentence):
    source = f"""
    @pytest.mark.tun({marker})
    def test_it(tun):
        pass
    """
    result = run(source, ini=ini)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([sentence])
