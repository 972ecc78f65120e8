"""Strict tests in real pytest runs: a packet that the test does not expect, capture or read fails the test."""

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
    """Return a function that runs the source of a test module with pytest in a subprocess."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def run(source, *arguments, ini=""):
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(test_it=HEAD + source)
        return pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)

    return run


@pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
def test_strict_test_with_unread_or_skipped_packets_fails(run, parallel):
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
            "ExpectationError: strict: the test did not expect, capture or read 2 packets from tun0 (a packet *",
            "*1. +0.00 ms  IP * ICMP echo reply, id 1, seq 1, length 13   <-- skipped at test_it.py:12",
            "*2. +* ms  IP 10.1.2.1 > 10.1.2.2: ICMP echo reply, id 1, seq 3, length 13   <-- never read",
        ]
    )
    assert "strict.py" not in result.stdout.str()
    result.stdout.no_fnmatch_line("*traceback*")


def test_error_of_strict_test_with_one_unexpected_packet_uses_the_singular(run):
    result = run(
        """
    @pytest.mark.tun(strict=True)
    def test_it(tun):
        ping(tun, 1)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["ExpectationError: strict: the test did not expect, capture or read 1 packet from tun0 (*"]
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
def test_strict_test_that_reads_every_packet_passes(run, read):
    source = f"""
    @pytest.mark.tun(strict=True)
    def test_it(tun):
        ping(tun, 1, 2, 3)
        {read}
    """
    run(source).assert_outcomes(passed=1)


def test_strict_test_with_own_failure_skip_or_xfail_keeps_its_outcome(run):
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
    # Only test_closed fails for being strict. Its report and pytest's summary each have "strict: ".
    assert text.count("strict: ") == 2


def test_strict_is_off_by_default_and_set_by_ini_marker_or_make_tun(run):
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


def test_strict_test_with_tun_without_address_fails_for_arrived_packets(run):
    source = """
    @pytest.mark.tun(strict=True, address="")
    def test_it(tun):
        tun.device.add_address("10.1.2.1/24")
        tun.inject(IPv4(src="10.1.2.2", dst="10.1.2.1"), ICMP.echo_request(1, 1), b"hello")
    """
    run(source).assert_outcomes(failed=1)


def test_strict_test_with_deleted_device_fails_for_arrived_packets(run):
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
        ("strict='yes'", "", "*strict='yes' is invalid. Give True or False.*"),
        ("", "tunlab_strict = perhaps", "*tunlab_strict in the pytest configuration is invalid. Give true or false.*"),
        ("strikt=True", "", "*has no setting 'strikt'. Did you mean strict[?]*"),
    ],
)
def test_invalid_strict_setting_fails_with_one_sentence(run, marker, ini, sentence):
    source = f"""
    @pytest.mark.tun({marker})
    def test_it(tun):
        pass
    """
    result = run(source, ini=ini)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([sentence])
